"""How a client asks, and whom: plain facts, checked once."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import InvalidCall

MAX_RETRIES = 100


def _is_span(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and math.isfinite(value)


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How a client asks.

    `key` goes into the Authorization header and nowhere else. `model` is a ref; None is the model that is served.
    `timeout` is how many seconds of silence between two bytes of an answer are borne; an answer that is not streamed
    is one silence. `connect_timeout` is in seconds, `retries` counts the attempts after the first, and `most_wait`
    is the longest Retry-After, in seconds, that is waited for. `ca` is a file of certificates to trust instead of the
    system's. Raises InvalidCall.
    """

    key: str | None = field(default=None, repr=False)
    model: str | None = None
    timeout: float = 600.0
    connect_timeout: float = 5.0
    retries: int = 3
    most_wait: float = 60.0
    ca: Path | None = None

    def __post_init__(self) -> None:
        # What it says instead must not be said: an error is shown and logged.
        if self.key is not None and not (self.key and self.key.isascii() and self.key.isprintable()):
            raise InvalidCall("the key is empty or has characters that no header can hold", hint="look at its ends")
        for name in ("timeout", "connect_timeout"):
            if not _is_span(getattr(self, name)) or not getattr(self, name):
                raise InvalidCall(f"{name} is {getattr(self, name)!r:.100}; it must be a number of seconds above 0")
        if not _is_span(self.most_wait):
            raise InvalidCall(f"most_wait is {self.most_wait!r:.100}; it must be a number of seconds from 0")
        if type(self.retries) is not int or not 0 <= self.retries <= MAX_RETRIES:
            raise InvalidCall(f"retries is {self.retries!r:.100}; it must be a whole number from 0 to {MAX_RETRIES}")


DEFAULTS = ClientOptions()


def address(host: str, port: int) -> str:
    """The URL of a server on a host; an IPv6 address may come without brackets. Raises InvalidCall."""
    if type(port) is not int or not 0 < port < 65536:
        raise InvalidCall(f"port is {port!r:.100}; it must be a whole number from 1 to 65535")
    return checked(f"http://[{host}]:{port}" if ":" in host and not host.startswith("[") else f"http://{host}:{port}")


def checked(url: str) -> str:
    """The URL under which a server's paths lie, without a `/` or the `/v1` at its end. Raises InvalidCall."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    # A URL with a password would be printed, and so would not be shown even here.
    if not usable or parts.username is not None or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise InvalidCall(
            "not the address of a server",
            hint="http://HOST:PORT or https://HOST; a key goes into options; InferenceClient.at(HOST, PORT) makes one",
        )
    return url.rstrip("/").removesuffix("/v1").rstrip("/")
