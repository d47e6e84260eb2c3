"""The keys, tenants and usage of this machine, in a file that the command and its servers share."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, replace
from pathlib import Path

from ...store.closing import Closing
from ..errors import InvalidKey, InvalidTenant, NoSuchKey, NoSuchTenant
from .db import KeyDb, damaged
from .key import LONGEST_SECONDS, Issued, Key, Terms, fingerprint, id_in, key_text, new_id, new_secret
from .keyring import Entry, Keyring
from .tenant import UNCHANGED, Changes, Tenant
from .usage import UsageRow

_KEY = "id, tenant, created, expires, disabled, note, metrics, replaced_by"
_TENANT = "name, models, requests_per_minute, tokens_per_minute, concurrency, priority, share"
_ADD = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, model, day) DO UPDATE SET
    requests = requests + excluded.requests, prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    reused_tokens = reused_tokens + excluded.reused_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens
"""

_PLAIN = Terms()


class KeyFile(Closing):
    """The file at `path`, made where there is none, with mode 0600. Threads and processes may share it.

    Every verb raises DiskError, NoSpace and KeyFileDamaged, opening it also FormatTooNew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = KeyDb(path)
        self._loaded: int | None = None  # the version that was loaded last

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def create(self, tenant: str, *, now: float, terms: Terms = _PLAIN, changes: Changes = UNCHANGED) -> Issued:
        """A new key of a tenant, which is made where there is none, and changed where changes are given.

        Raises InvalidTenant and InvalidKey.
        """
        fresh = Tenant(tenant)
        _check_expiry(terms.expires, now)
        with self._db.writing() as connection:
            before = self._tenant(connection, tenant)
            _put_tenant(connection, changes.applied(before or fresh))
            issued = _issue(connection, Key(new_id(), tenant, now, terms.expires, False, terms.note, terms.metrics))
        self._loaded = None
        return issued

    def rotate(self, id: str, *, now: float, grace: float = 0.0) -> Issued:
        """A new key for the same tenant, with the same note and lifetime; the old one goes on for `grace` seconds.

        Raises NoSuchKey, and InvalidKey for a key that opens nothing any more or was rotated before.
        """
        with self._db.writing() as connection:
            old = self._key(connection, id)
            _check_rotation(old, now=now, grace=grace)
            expires = None if old.expires is None else now + (old.expires - old.created)
            issued = _issue(connection, replace(old, id=new_id(), created=now, expires=expires))
            ends = min(now + grace, old.expires if old.expires is not None else now + grace)
            values = (ends, issued.key.id, old.id)
            connection.execute("UPDATE keys SET expires = ?, replaced_by = ? WHERE id = ?", values)
        self._loaded = None
        return issued

    def disable(self, id: str) -> bool:
        """Let a key open nothing any more, for good. Whether that changed anything; raises NoSuchKey."""
        with self._db.writing() as connection:
            before = self._key(connection, id)
            connection.execute("UPDATE keys SET disabled = 1 WHERE id = ?", (before.id,))
        self._loaded = None
        return not before.disabled

    def key(self, id: str) -> Key:
        """One key; raises NoSuchKey."""
        with self._db.reading() as connection:
            return self._key(connection, id)

    def keys(self) -> list[Key]:
        """All keys that were ever made, oldest first."""
        with self._db.reading() as connection:
            return [_key(row) for row in connection.execute(f"SELECT {_KEY} FROM keys ORDER BY created, id")]

    def set_tenant(self, name: str, changes: Changes) -> Tenant:
        """Change a tenant; returns what it is then. Raises NoSuchTenant and InvalidTenant."""
        with self._db.writing() as connection:
            after = changes.applied(self._known(connection, name))
            _put_tenant(connection, after)
        self._loaded = None
        return after

    def tenant(self, name: str) -> Tenant:
        """One tenant; raises NoSuchTenant."""
        with self._db.reading() as connection:
            return self._known(connection, name)

    def tenants(self) -> list[Tenant]:
        """All tenants, by name."""
        with self._db.reading() as connection:
            return self._tenants(connection)

    def add_usage(self, rows: Iterable[UsageRow]) -> None:
        """Add to what was used before: all of the rows, or none when it raises."""
        with self._db.writing() as connection:
            connection.executemany(_ADD, map(astuple, rows))

    def usage(self, tenant: str | None = None) -> list[UsageRow]:
        """What was used, by day, tenant and model; of one tenant, or of all."""
        query = "SELECT * FROM usage WHERE tenant = ? OR ? IS NULL ORDER BY day, tenant, model"
        with self._db.reading() as connection:
            return [UsageRow(*row) for row in connection.execute(query, (tenant, tenant))]

    def load(self) -> Keyring:
        """The keys and tenants of this moment."""
        # Asked first: what is written between the two is loaded once more than it must, not once less.
        self._loaded = self._db.version()
        with self._db.reading() as connection:
            tenants = self._tenants(connection)
            rows = connection.execute(f"SELECT {_KEY}, secret_sha256 FROM keys").fetchall()
        entries = [Entry(_key(row[:-1]), bytes(row[-1])) for row in rows]
        if stray := {entry.key.tenant for entry in entries} - {tenant.name for tenant in tenants}:
            raise damaged(self._path, f"it has keys of {sorted(stray)[0]}, which is no tenant of it")
        return Keyring(entries, tenants)

    def changed(self) -> bool:
        """Whether the file may say something else than what was loaded last. Cheap: for asking once a second.

        Usage that others added counts too.
        """
        return self._loaded is None or self._loaded != self._db.version()

    def _key(self, connection: sqlite3.Connection, id: str) -> Key:
        wanted = id_in(id)
        row = connection.execute(f"SELECT {_KEY} FROM keys WHERE id = ?", (wanted,)).fetchone()
        if row is None:
            raise NoSuchKey(f"no key has the id {wanted}", hint="llstore key list shows them")
        return _key(row)

    def _tenant(self, connection: sqlite3.Connection, name: str) -> Tenant | None:
        row = connection.execute(f"SELECT {_TENANT} FROM tenants WHERE name = ?", (name,)).fetchone()
        return None if row is None else self._checked(row)

    def _known(self, connection: sqlite3.Connection, name: str) -> Tenant:
        found = self._tenant(connection, name)
        if found is None:
            raise NoSuchTenant(
                f"no tenant is called {name[:80]!r}", hint="llstore key create makes one with its first key"
            )
        return found

    def _tenants(self, connection: sqlite3.Connection) -> list[Tenant]:
        rows = connection.execute(f"SELECT {_TENANT} FROM tenants ORDER BY name")
        return [self._checked(row) for row in rows]

    def _checked(self, row: tuple[object, ...]) -> Tenant:
        name, models, *rest = row
        try:
            return Tenant(name, tuple(json.loads(str(models))), *rest)  # type: ignore[arg-type]
        except (InvalidTenant, ValueError, TypeError) as error:
            raise damaged(self._path, str(error)) from error


def _issue(connection: sqlite3.Connection, key: Key) -> Issued:
    secret = new_secret()
    connection.execute(
        "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (key.id, key.tenant, fingerprint(secret), key.created, key.expires, key.disabled, key.note, key.metrics, None),
    )
    return Issued(key, key_text(key.id, secret))


def _put_tenant(connection: sqlite3.Connection, tenant: Tenant) -> None:
    name, models, *rest = astuple(tenant)
    connection.execute("INSERT OR REPLACE INTO tenants VALUES (?, ?, ?, ?, ?, ?, ?)", (name, json.dumps(models), *rest))


def _key(row: tuple[object, ...]) -> Key:
    id, tenant, created, expires, disabled, note, metrics, replaced_by = row
    return Key(
        id=str(id),
        tenant=str(tenant),
        created=float(created),  # type: ignore[arg-type]
        expires=None if expires is None else float(expires),  # type: ignore[arg-type]
        disabled=bool(disabled),
        note=str(note),
        metrics=bool(metrics),
        replaced_by=None if replaced_by is None else str(replaced_by),
    )


def _check_rotation(old: Key, *, now: float, grace: float) -> None:
    if old.replaced_by is not None:
        raise InvalidKey(f"key {old.id} was rotated before", hint=f"rotate {old.replaced_by}, which took its place")
    if old.state(now) != "open":
        raise InvalidKey(f"key {old.id} is {old.state(now)}", hint=f"make a new one: llstore key create {old.tenant}")
    if not 0 <= grace <= LONGEST_SECONDS:
        raise InvalidKey(f"a key may go on for 100 years at most, not for {grace:g} s")


def _check_expiry(expires: float | None, now: float) -> None:
    if expires is not None and not now < expires <= now + LONGEST_SECONDS:
        raise InvalidKey("a key expires after now, and within 100 years")
