"""Server-sent events out of bytes: https://html.spec.whatwg.org/multipage/server-sent-events.html, as far as `data`."""

import re
from collections.abc import Iterator

from ..errors import AnswerBroken

MAX_EVENT = 16 * 1024 * 1024  # bytes, of an event or of a line

_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Events:
    """Takes bytes as they come, gives the data of whole events; comments and other fields are passed over."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The events that `data` ends. Raises AnswerBroken for one of more than MAX_EVENT bytes."""
        if not data:
            return
        # This newline ended a line already, with the carriage return before it.
        rest = data[1:] if self._after_cr and data.startswith(b"\n") else data
        self._after_cr = data.endswith(b"\r")
        *ends, rest = _END.split(rest)
        for end in ends:
            self._keep(end)
            yield from self._ended()
        self._keep(rest)

    def _keep(self, part: bytes) -> None:
        self._line += part
        if self._size + len(self._line) > MAX_EVENT:
            raise AnswerBroken(f"the server streams an event of more than {MAX_EVENT} bytes")

    def _ended(self) -> Iterator[bytes]:
        line = bytes(self._line)
        self._line.clear()
        if not self._begun:
            self._begun, line = True, line.removeprefix(_BOM)
        if not line:
            if self._data:
                yield b"\n".join(self._data)
            self._data, self._size = [], 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value) + 1
