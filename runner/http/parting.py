"""The end of a connection: the last answer is to arrive, and nobody may put the end off."""

from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import Callable
from typing import Any

from ..serve.rules import Live

LINGER_SECONDS = 2.0  # for who was answered before all was said to notice it


class Parting:
    """A client's transport, as uvicorn uses it, that closes with care.

    Where a client is still sending (`unread`), the kernel would answer a close by a reset, which takes the answer away
    from who has not read it yet: RFC 9112, 9.6. So only our side is closed, and what comes is let go for a while. Who
    takes nothing of what there is left to send is not waited for longer than the rules say.
    """

    def __init__(self, transport: Transport, loop: AbstractEventLoop, live: Live, unread: Callable[[], bool]) -> None:
        self._transport = transport
        self._loop = loop
        self._live = live
        self._unread = unread
        self._closing = False
        self._end: TimerHandle | None = None

    def close(self) -> None:
        """Sends what there is to send, and closes."""
        if self.is_closing():
            return
        self._closing = True
        if self._unread():
            self._transport.write_eof()
            self._transport.resume_reading()
            seconds = LINGER_SECONDS
        else:
            self._transport.close()
            seconds = self._live.rules.stall_seconds
        self._end = self._loop.call_later(seconds, self._transport.abort)

    def abort(self) -> None:
        """Closes at once."""
        self._closing = True
        self._transport.abort()

    def lost(self) -> None:
        """It is closed."""
        if self._end:
            self._end.cancel()

    def is_closing(self) -> bool:
        """Whether nothing more is to be read or sent."""
        return self._closing or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Sends; nothing once it is closing."""
        if not self._closing:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """See asyncio.ReadTransport."""
        if not self.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See asyncio.ReadTransport."""
        if not self.is_closing():
            self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See asyncio.BaseTransport."""
        return self._transport.get_extra_info(name, default)
