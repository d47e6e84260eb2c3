"""Which key opens what: all keys of a moment, in memory."""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .key import Key, fingerprint, split
from .tenant import Tenant

_NOBODYS = bytes(32)


@dataclass(frozen=True, slots=True)
class Access:
    """What a key opens: its tenant's part of the server or, with `metrics`, the metrics and nothing else."""

    tenant: Tenant
    key: str
    metrics: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A key, and the fingerprint that its secret must have."""

    key: Key
    fingerprint: bytes


class Keyring:
    """The keys of a moment; it never changes. `empty` says that no key was ever made, not even one that is closed."""

    __slots__ = ("_entries", "_tenants", "empty")

    def __init__(self, entries: Iterable[Entry] = (), tenants: Iterable[Tenant] = ()) -> None:
        self._entries: Mapping[str, Entry] = {entry.key.id: entry for entry in entries}
        self._tenants: Mapping[str, Tenant] = {tenant.name: tenant for tenant in tenants}
        self.empty = not self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyring) and (self._entries, self._tenants) == (other._entries, other._tenants)

    __hash__ = None  # type: ignore[assignment]

    def find(self, authorization_key: str, now: float) -> Access | None:
        """What a whole key opens at `now`, in seconds since 1970; None is nothing. Microseconds, without I/O."""
        parts = split(authorization_key)
        if parts is None:
            return None
        id, secret = parts
        entry = self._entries.get(id)
        # An unknown id is compared too, with what no secret fits: the time that it takes tells nothing.
        fits = hmac.compare_digest(fingerprint(secret), entry.fingerprint if entry else _NOBODYS)
        if not fits or entry is None or entry.key.state(now) != "open":
            return None
        return Access(self._tenants[entry.key.tenant], id, entry.key.metrics)
