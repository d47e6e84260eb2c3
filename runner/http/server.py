"""The server's life: it listens, serves until it is told to stop, finishes what it has taken on, and goes."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from ..serve.rules import Live
from .asgi import App
from .connection import Connection
from .journal import Journal


class HttpServer:
    """Serves an application on sockets that listen already. `run` returns once it was stopped."""

    def __init__(self, app: App, live: Live, journal: Journal) -> None:
        kind = type("BoundedConnection", (Connection,), {"live": live, "journal": journal})
        config = uvicorn.Config(
            app,
            http=kind,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
        )
        # Of clients our own log tells, of faults the envelope; uvicorn would print both as it likes.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        self._server = _Quiet(config)

    async def run(self, sockets: list[socket.socket]) -> None:
        """Serves; closes the sockets at the end."""
        await self._server.serve(sockets=sockets)

    def stop(self) -> None:
        """Listens no more, closes idle connections; `run` returns when answers that are being sent have been."""
        self._server.should_exit = True

    def abort(self) -> None:
        """Waits for nothing."""
        self._server.should_exit = self._server.force_exit = True


class _Quiet(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int, *, backlog: int = 2048) -> list[socket.socket]:
    """Sockets on all addresses of `host`; port 0 takes a free one. Raises OSError."""
    found: list[socket.socket] = []
    try:
        for family, kind, _, _, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            one = socket.socket(family, kind)
            found.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # On port 0 all addresses get the one that the first was given.
            one.bind((address[0], found[0].getsockname()[1] if port == 0 and len(found) > 1 else port, *address[2:]))
            one.listen(backlog)
    except BaseException as error:
        for one in found:
            one.close()
        if isinstance(error, OSError):
            error.filename = f"{host}:{port}"  # the system does not say where
        raise
    return found
