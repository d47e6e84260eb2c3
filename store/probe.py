"""What a bucket really honours, found out by trying it."""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from . import ulid
from .backends import Backend
from .errors import BucketNotFound, KeyNotFound, Refused, StoreError
from .layout import FORMAT_KEY

FOLDER = "probe/"
MiB = 1024 * 1024
LARGE = 20 * MiB
_CHUNK = 1 * MiB
_SKEW_SECONDS = 300.0  # S3 refuses signatures that are 15 minutes off
_ENTRY_SKEW_SECONDS = 600.0  # a journal entry further ahead of its object than this is ignored by every reader


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise of a bucket: kept (True), broken (False), or not tried or not needed (None), and what was seen."""

    name: str
    ok: bool | None
    detail: str


class _Broken(Exception):
    """A promise that llstore relies on is not kept."""


class _Unsettled(Exception):
    """A promise could not be tried, or llstore does without it."""


@dataclass(slots=True)
class _Trial:
    """A probe at work: what it writes lies in `folder`, and is noted so that it can be removed."""

    backend: Backend
    folder: str
    clock: Callable[[], float]
    elsewhere: Backend | None = None
    written: list[str] = field(default_factory=list)

    def write(self, name: str, data: bytes) -> str:
        key = self.folder + name
        self.written += [] if key in self.written else [key]
        self.backend.write(key, [data], size=len(data))
        return key

    def read(self, key: str, **span: int) -> bytes:
        return b"".join(self.backend.read(key, **span))


Check = Callable[[_Trial], str]


def probe(
    backend: Backend, *, elsewhere: Backend | None = None, clock: Callable[[], float] = time.time
) -> tuple[Finding, ...]:
    """Try the bucket's promises under keys of its own, which it removes again; `elsewhere` is a bucket that is none.

    A bucket that cannot be written is tried on `llstore.json`. Raises BucketNotFound, Unreachable, or Refused when
    nothing at all is allowed.
    """
    trial = _Trial(backend, f"{FOLDER}{ulid.mint(clock())}/", clock, elsewhere)
    _meet(trial)
    checks = _WRITABLE if backend.properties.writable else _READ_ONLY
    found: list[Finding] = []
    try:
        for name, check in checks.items():
            found.append(_finding(name, check, trial))
    finally:
        left = _clear(trial)
    if left:
        found.append(Finding("cleaning up", None, f"could not be removed: {' '.join(left)}"))
    return tuple(found)


def nowhere(url: str) -> str | None:
    """The URL of a bucket beside this one that nobody has made, or None where there can be none."""
    parts = urlsplit(url)
    name = ulid.mint(time.time()).lower()
    if parts.scheme == "s3":
        # The longest name that S3 takes is 63 letters.
        return urlunsplit(parts._replace(netloc=f"{parts.netloc[:36]}-{name}"))
    if parts.scheme == "file":
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}-{name}"))
    return None


def _meet(trial: _Trial) -> None:
    # What fails here fails everywhere: it is an error, not a finding. A missing key may be refused, though.
    try:
        trial.read(FORMAT_KEY)
    except KeyNotFound:
        return
    except Refused:
        if not trial.backend.properties.writable:
            raise
        trial.write("meeting", b"hello")


def _finding(name: str, check: Check, trial: _Trial) -> Finding:
    try:
        return Finding(name, True, check(trial))
    except _Unsettled as error:
        return Finding(name, None, str(error))
    except _Broken as error:
        return Finding(name, False, str(error))
    except StoreError as error:
        return Finding(name, False, f"{error}" + (f" ({error.hint})" if error.hint else ""))


def _write(trial: _Trial) -> str:
    data = b"written by llstore store probe\n"
    key = trial.write("small", data)
    _expect(trial.read(key), data)
    size = trial.backend.stat(key).size
    if size != len(data):
        raise _Broken(f"{len(data)} bytes were written, the server says {size}")
    return f"{len(data)} bytes came back"


def _read(trial: _Trial) -> str:
    try:
        data = trial.read(FORMAT_KEY)
    except KeyNotFound:
        raise _Unsettled(f"there is no {FORMAT_KEY} to read") from None
    return f"{FORMAT_KEY}: {len(data)} bytes"


def _large(trial: _Trial) -> str:
    key = f"{trial.folder}large"
    trial.written.append(key)
    began = time.monotonic()
    trial.backend.write(key, _noise(), size=LARGE)
    between = time.monotonic()
    found, count = hashlib.sha256(), 0
    for piece in trial.backend.read(key):
        found.update(piece)
        count += len(piece)
    ended = time.monotonic()
    if count != LARGE:
        raise _Broken(f"{count} of {LARGE} bytes came back")
    if found.hexdigest() != _digest(_noise()):
        raise _Broken(f"{LARGE} bytes came back, but not those that were written")
    speed = f"{LARGE / 1e6 / (between - began):.0f} MB/s out, {LARGE / 1e6 / (ended - between):.0f} MB/s back"
    return f"{LARGE // MiB} MiB came back, SHA-256 equal ({speed})"


def _ranges(trial: _Trial) -> str:
    data = b"".join(_noise(2 * MiB))
    key = trial.write("ranges", data)
    return _try_ranges(trial, key, data)


def _format_ranges(trial: _Trial) -> str:
    try:
        return _try_ranges(trial, FORMAT_KEY, trial.read(FORMAT_KEY))
    except KeyNotFound:
        raise _Unsettled(f"there is no {FORMAT_KEY} to read") from None


def _try_ranges(trial: _Trial, key: str, data: bytes) -> str:
    size = len(data)
    spans = ((0, 1), (1, size // 2), (size // 3, 5), (size - 3, 3))
    for start, length in spans:
        _expect(trial.read(key, start=start, length=length), data[start : start + length])
    _expect(trial.read(key, start=size // 2), data[size // 2 :])
    if not trial.backend.properties.ranges:
        raise _Unsettled("ignored: whole objects are sent, so a model comes in one stream")
    return f"{len(spans) + 1} exact"


def _overwrite(trial: _Trial) -> str:
    for number in range(5):
        data = bytes([65 + number]) * (10 + number)
        key = trial.write("again", data)
        if trial.backend.stat(key).size != len(data) or trial.read(key) != data:
            raise _Broken(f"after writing {number + 1} times, an older object was read")
    return "5 times, the newest was read each time"


def _order(trial: _Trial) -> str:
    _require_listing(trial)
    names = ("c", "a", "b.x", "b", "B")
    keys = sorted(trial.write(f"order/{name}", b"x") for name in names)
    listed = [stat.key for stat in trial.backend.list(f"{trial.folder}order/")]
    if listed != keys:
        raise _Broken(f"listed as {_names(listed)}, not {_names(keys)}")
    after = [stat.key for stat in trial.backend.list(f"{trial.folder}order/", after=keys[2])]
    if after != keys[3:]:
        raise _Broken(f"after {_names(keys[2:3])} came {_names(after)}, not {_names(keys[3:])}")
    return f"{len(keys)} keys in order, and from a key on"


def _listed_at_once(trial: _Trial) -> str:
    _require_listing(trial)
    for number in range(5):
        key = trial.write(f"fresh/{number}", b"x" * number)
        found = {stat.key: stat.size for stat in trial.backend.list(f"{trial.folder}fresh/")}
        if found.get(key) != number:
            raise _Broken(f"the object written just now was {'not listed' if key not in found else 'listed as older'}")
    return "5 times, each was listed at once"


def _delete(trial: _Trial) -> str:
    key = trial.write("gone", b"x")
    try:
        trial.backend.delete(key)
    except Refused as error:
        raise _Unsettled(f"refused; put and get do without ({error})") from error
    with suppress(KeyNotFound):
        trial.backend.stat(key)
        raise _Broken("a deleted object was still there")
    trial.written.remove(key)
    return "gone at once"


def _missing_key(trial: _Trial) -> str:
    key = f"{trial.folder}missing"
    try:
        trial.read(key)
    except KeyNotFound:
        return "said to be missing"
    except Refused as error:
        raise _Broken(f"refused instead of missing: s3:ListBucket is needed to tell the two apart ({error})") from error
    except BucketNotFound as error:
        raise _Broken("the whole bucket is said to be missing") from error
    raise _Broken("bytes came for a key that nobody wrote")


def _missing_bucket(trial: _Trial) -> str:
    if trial.elsewhere is None:
        raise _Unsettled("not tried with this kind of store")
    try:
        list(trial.elsewhere.read(FORMAT_KEY))
    except BucketNotFound:
        return "said to be missing"
    except KeyNotFound as error:
        raise _Broken("a missing bucket looks like an empty one: a mistyped store URL will not be noticed") from error
    except Refused as error:
        raise _Unsettled(f"cannot be told: other buckets are refused ({error})") from error
    raise _Broken("bytes came from a bucket that nobody made")


def _time(trial: _Trial) -> str:
    skew = trial.backend.clock() - trial.clock()
    shown = f"{skew:+.1f} s from this machine's"
    if abs(skew) > _SKEW_SECONDS:
        raise _Unsettled(f"{shown}: set this machine's clock, S3 refuses requests that are 15 minutes off")
    return shown


def _age(trial: _Trial) -> str:
    behind = trial.backend.clock() - trial.backend.stat(trial.write("age", b"x")).modified
    if abs(behind) > _ENTRY_SKEW_SECONDS:
        raise _Broken(f"an object written now is dated {behind:.0f} s ago by the store's own clock")
    return f"an object written now is dated {abs(behind):.1f} s {'ago' if behind >= 0 else 'ahead'}"


_READ_ONLY: dict[str, Check] = {
    "read": _read,
    "ranges": _format_ranges,
    "missing key": _missing_key,
    "clock": _time,
}
_WRITABLE: dict[str, Check] = {
    "write and read back": _write,
    "large write": _large,
    "ranges": _ranges,
    "read after overwrite": _overwrite,
    "listing order": _order,
    "list after write": _listed_at_once,
    "delete": _delete,
    "missing key": _missing_key,
    "missing bucket": _missing_bucket,
    "clock": _time,
    "object age": _age,
}


def _clear(trial: _Trial) -> list[str]:
    left = []
    for key in trial.written:
        try:
            trial.backend.delete(key)
        except StoreError:
            left.append(key)
    return left


def _require_listing(trial: _Trial) -> None:
    if not trial.backend.properties.listable:
        raise _Unsettled("not tried: this kind of store cannot be listed")


def _expect(found: bytes, wanted: bytes) -> None:
    if len(found) != len(wanted):
        raise _Broken(f"{len(found)} bytes came, not {len(wanted)}")
    if found != wanted:
        raise _Broken(f"{len(found)} bytes came, but not those that were written")


def _names(keys: list[str]) -> str:
    return " ".join(key.rpartition("/")[2] for key in keys) or "nothing"


def _noise(size: int = LARGE) -> Iterator[bytes]:
    # The same each time, and no part like another: a part in the wrong place shows.
    source = random.Random(size)
    for _ in range(size // _CHUNK):
        yield source.randbytes(_CHUNK)


def _digest(chunks: Iterator[bytes]) -> str:
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
    return found.hexdigest()
