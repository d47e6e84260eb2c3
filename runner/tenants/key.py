"""Keys: `llstore-<id>-<secret>`. The id is public, the secret is shown once and kept nowhere."""

import hashlib
import re
import secrets
from dataclasses import dataclass, field

from ..errors import InvalidKey, NoSuchKey

LONGEST_SECONDS = 100 * 365 * 86_400.0
LONGEST_NOTE = 200

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ID = "[a-z2-7]{12}"
_KEY = re.compile(f"llstore-({_ID})-([0-9a-f]{{64}})")
_MEANT = re.compile(f"(?:llstore-)?({_ID})(?:-[0-9a-f]{{64}})?")


@dataclass(frozen=True, slots=True)
class Terms:
    """How a key is to be. Raises InvalidKey.

    `expires` is in seconds since 1970, None is never. A key for `metrics` may read those and nothing else.
    """

    expires: float | None = None
    note: str = ""
    metrics: bool = False

    def __post_init__(self) -> None:
        if len(self.note) > LONGEST_NOTE or not self.note.isprintable():
            raise InvalidKey(f"a key's note is printable text of at most {LONGEST_NOTE} characters")


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key; times are in seconds since 1970, None is never or none.

    `replaced_by` is the id of the key that it was rotated into.
    """

    id: str
    tenant: str
    created: float
    expires: float | None = None
    disabled: bool = False
    note: str = ""
    metrics: bool = False
    replaced_by: str | None = None

    def state(self, now: float) -> str:
        """One word: open, disabled or expired."""
        if self.disabled:
            return "disabled"
        return "expired" if self.expires is not None and now >= self.expires else "open"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key, and its whole text: there is no other moment to learn it."""

    key: Key
    text: str = field(repr=False)


def new_id() -> str:
    """A random id, 60 bits."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(12))


def new_secret() -> str:
    """A random secret, 256 bits."""
    return secrets.token_hex(32)


def key_text(id: str, secret: str) -> str:
    """The whole key."""
    return f"llstore-{id}-{secret}"


def split(text: str) -> tuple[str, str] | None:
    """The id and the secret of a whole key; None for any other text."""
    match = _KEY.fullmatch(text)
    return (match[1], match[2]) if match else None


def fingerprint(secret: str) -> bytes:
    """What is kept of a secret: its SHA-256."""
    # A slow hash makes guessing dear where there is something to guess. This secret is 256 random bits: nobody
    # guesses it however cheap a guess is, and a slow hash would only make each request dear.
    return hashlib.sha256(secret.encode()).digest()


def id_in(text: str) -> str:
    """The id that a person means by an id, with or without `llstore-`, or by a whole key. Raises NoSuchKey."""
    match = _MEANT.fullmatch(text)
    if not match:
        # Not shown: it may hold a secret.
        raise NoSuchKey("that is no key's id", hint="an id has 12 letters and digits: llstore key list")
    return match[1]
