"""The door to llama.cpp, and a model loaded through it. No other module imports llama_cpp; others take `ll` from here.

Some calls of llama.cpp abort the process instead of failing; each method checks what would lead there first.
"""

import ctypes
import os
import stat
import time
from pathlib import Path
from typing import Any

from ..store.closing import Closing
from .errors import ExtraMissing, LoadFailed, RunnerError
from .llama_log import ErrorLines

try:
    import llama_cpp.llama_cpp
except ImportError as error:
    raise ExtraMissing("llama-cpp-python") from error
except (OSError, RuntimeError) as error:  # its shared library is there, but the system cannot load it
    raise LoadFailed(f"llama.cpp's library cannot be loaded: {error}") from error

VERSION: str = llama_cpp.__version__
ll: Any = llama_cpp.llama_cpp  # the C functions as ctypes declares them

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fdopen.restype = ctypes.c_void_p
_libc.fdopen.argtypes = [ctypes.c_int, ctypes.c_char_p]
_libc.fclose.argtypes = [ctypes.c_void_p]

errors_logged = ErrorLines()
# llama.cpp keeps this pointer for good, so the object must live as long as the process.
_log_callback = ll.llama_log_callback(lambda level, text, _: errors_logged.write(level, text))
ll.llama_log_set(_log_callback, None)
ll.llama_backend_init()


class LlamaModel(Closing):
    """A model's weights, mapped into memory, and its vocabulary. Closing it closes its contexts.

    `source` is a path, opened once, or a file descriptor of the caller's, read from its start and left open: either
    way what is loaded is the very file that was opened. `load_seconds` is how long that took. Raises LoadFailed.
    """

    def __init__(self, source: Path | int) -> None:
        started = time.perf_counter()
        self.contexts: set[Closing] = set()
        self._open = _load(source)
        self._vocab = ll.llama_model_get_vocab(self._open)
        self.vocabulary_size: int = ll.llama_vocab_n_tokens(self._vocab)
        self.load_seconds = time.perf_counter() - started
        problem = _unfit(self._open, self._vocab)
        if problem:
            self.close()
            raise LoadFailed(f"{source}: {problem}")

    def close(self) -> None:
        """Frees the model and every context over it."""
        for context in tuple(self.contexts):
            context.close()
        handle, self._open = self._open, None
        if handle:
            ll.llama_model_free(handle)

    @property
    def context_length(self) -> int:
        """How many tokens the model was trained to attend to."""
        return int(ll.llama_model_n_ctx_train(self.handle))

    @property
    def bos(self) -> str:
        """The text of the token that begins a sequence; "" when there is none."""
        return self._token_text(ll.llama_vocab_bos(self._vocabulary))

    @property
    def eos(self) -> str:
        """The text of the token that ends a sequence; "" when there is none."""
        return self._token_text(ll.llama_vocab_eos(self._vocabulary))

    @property
    def add_bos(self) -> bool:
        """Whether `add_special` puts the BOS token in front."""
        return bool(ll.llama_vocab_get_add_bos(self._vocabulary))

    @property
    def chat_template(self) -> str | None:
        """The model's own chat template, a Jinja source."""
        source = ll.llama_model_chat_template(self.handle, None)
        return None if source is None else source.decode("utf-8", errors="replace")

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The tokens of `text`: `add_special` adds BOS and EOS as the vocabulary says, `parse_special` reads
        `<|im_start|>` and its kin as the one token they name. Raises RunnerError for a text of 2 GiB."""
        data = text.encode("utf-8", errors="replace")
        if len(data) >= 2**30:
            raise RunnerError(f"a text of {len(data)} bytes is more than llama.cpp can tokenize")
        room = len(data) + 8
        tokens = (ll.llama_token * room)()
        args = (self._vocabulary, data, len(data), tokens, room, add_special, parse_special)
        count = ll.llama_tokenize(*args)
        if count < 0:
            raise RunnerError(f"llama.cpp makes more than {room} tokens of a text of {len(data)} bytes")
        return list(tokens[:count])

    def piece(self, token: int) -> bytes:
        """The bytes of `token`, which may be part of a character; b"" for a special token."""
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = ll.llama_token_to_piece(self._vocabulary, self.known(token), buffer, room, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            room = -count

    def is_end(self, token: int) -> bool:
        """Whether `token` ends a generation: end of sequence, of turn or of message."""
        return bool(ll.llama_vocab_is_eog(self._vocabulary, self.known(token)))

    @property
    def handle(self) -> Any:
        """llama.cpp's pointer. Raises RunnerError once the model is closed."""
        if self._open is None:
            raise RunnerError("the model is closed")
        return self._open

    @property
    def _vocabulary(self) -> Any:
        return self.handle and self._vocab

    def known(self, token: int) -> int:
        """`token`, if the vocabulary has it; raises RunnerError if not."""
        if not 0 <= token < self.vocabulary_size:
            raise RunnerError(f"the vocabulary has {self.vocabulary_size} tokens, there is no {token}")
        return token

    def _token_text(self, token: int) -> str:
        if token < 0:
            return ""
        text: bytes = ll.llama_vocab_get_text(self._vocabulary, token)
        return text.decode("utf-8", errors="replace")


def _load(source: Path | int) -> Any:
    params = ll.llama_model_default_params()
    params.load_mode = 1  # LLAMA_LOAD_MODE_MMAP
    params.n_gpu_layers = -1 if ll.llama_supports_gpu_offload() else 0
    try:
        file = _open_file(source)
    except OSError as error:
        raise LoadFailed(f"{source}: {error.strerror}") from error
    errors_logged.clear()
    try:
        model = ll.llama_model_load_from_file_ptr(file, params)
    finally:
        _libc.fclose(file)
    if not model:
        raise LoadFailed(f"{source}: llama.cpp cannot load it: {errors_logged.summary()}")
    return model


def _open_file(source: Path | int) -> int:
    fd = os.dup(source) if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise LoadFailed(f"{source}: not a regular file")
        os.lseek(fd, 0, os.SEEK_SET)
        file: int | None = _libc.fdopen(fd, b"rb")
        if not file:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except BaseException:
        os.close(fd)
        raise
    return file


def _unfit(model: Any, vocab: Any) -> str | None:
    """Why a model that loads cannot be run; each reason would abort the process later."""
    if ll.llama_vocab_type(vocab) == 0:
        return "the file has no vocabulary"
    if ll.llama_model_has_encoder(model) or not ll.llama_model_has_decoder(model):
        return "an encoder model, which does not continue text"
    return None
