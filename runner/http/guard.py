"""Who may come in: keys, and without keys only this machine's own pages and programs."""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from ..serve.call import Caller
from ..serve.rules import Live
from ..tenants.keyring import Keyring
from ..tenants.tenant import Tenant
from .asgi import App, Receive, Scope, Send
from .errors import DENIED, ApiError, Problem

OPEN = frozenset({"/health", "/ready"})
METRICS = "/metrics"
ANYONE = Tenant("anyone")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """Lets requests in, and notes in `scope["state"]["caller"]` who asks.

    With keys, all but /health and /ready need one. Before the first key was made everybody may come in whose request
    is addressed to this machine, or to one of the rules' hosts: not a page of elsewhere whose own name was made to
    mean this machine.
    """

    def __init__(self, app: App, keys: Callable[[], Keyring], live: Live) -> None:
        self._app = app
        self._keys = keys
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "http":
            scope["state"]["caller"] = self._caller(scope)
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller:
        request = scope["state"]["request"]
        keyring = self._keys()
        if keyring.empty:
            self._check_address(scope)
            return Caller(ANYONE, request=request)
        if scope["path"] in OPEN:
            return Caller(ANYONE, request=request)
        access = keyring.find(_key(scope), time.time())
        if access is None:
            said = "this server needs a key that it knows: Authorization: Bearer llstore-…"
            raise ApiError(Problem(401, said, DENIED, code="invalid_api_key"))
        if access.metrics != (scope["path"] == METRICS):
            said = "this key reads /metrics and nothing else" if access.metrics else "this key does not read /metrics"
            raise ApiError(Problem(403, said, DENIED, code="not_allowed"))
        return Caller(access.tenant, access.key, request)

    def _check_address(self, scope: Scope) -> None:
        host, origin = header(scope, b"host"), header(scope, b"origin")
        hosts = _LOCAL | self._live.rules.hosts
        if "*" in hosts:
            return
        if _host(f"//{host}") not in hosts:
            said = f"this server is not {host[:100]!r}; --allow-host names other hosts that it may be"
            raise ApiError(Problem(403, said, DENIED, code="wrong_host"))
        if origin and _host(origin) not in hosts:
            said = f"pages of {origin[:100]!r} may not ask this server; --allow-host names hosts that may"
            raise ApiError(Problem(403, said, DENIED, code="wrong_origin"))


def header(scope: Scope, name: bytes) -> str:
    """The first header of that name in lower case; "" when there is none."""
    found = next((value for key, value in scope["headers"] if key == name), b"")
    return str(found.decode("latin-1"))


def _key(scope: Scope) -> str:
    scheme, _, key = header(scope, b"authorization").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
