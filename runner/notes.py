"""What this process has llama.cpp do, noted where its parent finds it when llama.cpp ends the process."""

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine.black_box import BlackBox

LOADED = "loaded"  # the first word of a load, which may take long
GENERATED = "generated"  # of a step of rows


class Notes:
    """The notes of one process. They go nowhere until a page is named; `model` is what people call the model."""

    def __init__(self) -> None:
        self.model = "the model"
        self._page: BlackBox | None = None

    def into(self, page: "BlackBox | None") -> None:
        """From now on notes go to `page`."""
        self._page = page

    def begin(self, what: str) -> None:
        """A call into llama.cpp begins; it ends with the next one, or with ""."""
        if self._page:
            self._page.begin(what)

    def loading(self) -> None:
        """Loading begins."""
        self.begin(f"{LOADED} {self.model}")

    def reading(self, tokens: int, *, prompts: int = 1, whole: bool = True) -> None:
        """So many tokens are read: of several prompts, of one, or a `whole` one."""
        count = f"{tokens} token{'' if tokens == 1 else 's'}"
        if prompts > 1:
            self.begin(f"read {count} of {prompts} prompts")
        else:
            self.begin(f"read a prompt of {count}" if whole else f"read {count} of a prompt")

    def generating(self, number: int | None) -> None:
        """A step of rows; the `number` of its token, from 1, where there is one sequence."""
        self.begin(f"{GENERATED} tokens" if number is None else f"{GENERATED} token {number}")

    def aborted(self, message: bytes) -> None:
        """ggml is about to end the process, and says why. Without a page it is printed, as ggml itself would do."""
        text = message.decode("utf-8", errors="replace").strip()
        if self._page:
            self._page.leave(without_folder(text))
            return
        with suppress(OSError):
            os.write(2, f"{text}\n".encode())


def without_folder(text: str) -> str:
    """`/build/ggml/src/ggml.c:5: GGML_ASSERT(…) failed` from its last slash before the colon on."""
    place, colon, rest = text.partition(": ")
    return f"{place.rpartition('/')[2]}{colon}{rest}"


notes = Notes()
