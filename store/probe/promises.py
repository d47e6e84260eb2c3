"""The promises that llstore relies on, each a trial that says what it saw, or raises Broken or Unsettled."""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from ..errors import BucketNotFound, KeyNotFound, Refused
from ..layout import FORMAT_KEY
from .trial import Broken, Trial, Unsettled

MiB = 1024 * 1024
LARGE = 20 * MiB
_CHUNK = 1 * MiB
_SKEW_SECONDS = 300.0  # S3 refuses signatures that are 15 minutes off
_ENTRY_SKEW_SECONDS = 600.0  # a journal entry further ahead of its object than this is ignored by every reader

Check = Callable[[Trial], str]


def _write(trial: Trial) -> str:
    data = b"written by llstore store probe\n"
    key = trial.write("small", data)
    _expect(trial.read(key), data)
    size = trial.backend.stat(key).size
    if size != len(data):
        raise Broken(f"{len(data)} bytes were written, the server says {size}")
    return f"{len(data)} bytes came back"


def _read(trial: Trial) -> str:
    try:
        data = trial.read(FORMAT_KEY)
    except KeyNotFound:
        raise Unsettled(f"there is no {FORMAT_KEY} to read") from None
    return f"{FORMAT_KEY}: {len(data)} bytes"


def _large(trial: Trial) -> str:
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
        raise Broken(f"{count} of {LARGE} bytes came back")
    if found.hexdigest() != _digest(_noise()):
        raise Broken(f"{LARGE} bytes came back, but not those that were written")
    speed = f"{LARGE / 1e6 / (between - began):.0f} MB/s out, {LARGE / 1e6 / (ended - between):.0f} MB/s back"
    return f"{LARGE // MiB} MiB came back, SHA-256 equal ({speed})"


def _ranges(trial: Trial) -> str:
    data = b"".join(_noise(2 * MiB))
    key = trial.write("ranges", data)
    return _try_ranges(trial, key, data)


def _format_ranges(trial: Trial) -> str:
    try:
        return _try_ranges(trial, FORMAT_KEY, trial.read(FORMAT_KEY))
    except KeyNotFound:
        raise Unsettled(f"there is no {FORMAT_KEY} to read") from None


def _try_ranges(trial: Trial, key: str, data: bytes) -> str:
    size = len(data)
    spans = ((0, 1), (1, size // 2), (size // 3, 5), (size - 3, 3))
    for start, length in spans:
        _expect(trial.read(key, start=start, length=length), data[start : start + length])
    _expect(trial.read(key, start=size // 2), data[size // 2 :])
    if not trial.backend.properties.ranges:
        raise Unsettled("ignored: whole objects are sent, so a model comes in one stream")
    return f"{len(spans) + 1} exact"


def _overwrite(trial: Trial) -> str:
    for number in range(5):
        data = bytes([65 + number]) * (10 + number)
        key = trial.write("again", data)
        if trial.backend.stat(key).size != len(data) or trial.read(key) != data:
            raise Broken(f"after writing {number + 1} times, an older object was read")
    return "5 times, the newest was read each time"


def _order(trial: Trial) -> str:
    _require_listing(trial)
    names = ("c", "a", "b.x", "b", "B", "d/2", "d/1")
    keys = sorted(trial.write(f"order/{name}", b"x") for name in names)
    listed = [stat.key for stat in trial.backend.list(f"{trial.folder}order/")]
    if listed != keys:
        raise Broken(f"listed as {_names(listed)}, not {_names(keys)}")
    for number in range(1, len(keys)):
        after = [stat.key for stat in trial.backend.list(f"{trial.folder}order/", after=keys[number - 1])]
        if after != keys[number:]:
            raise Broken(f"after {_names([keys[number - 1]])} came {_names(after)}, not {_names(keys[number:])}")
    return f"{len(keys)} keys in order, and from a key on"


def _listed_at_once(trial: Trial) -> str:
    _require_listing(trial)
    for number in range(5):
        key = trial.write(f"fresh/{number}", b"x" * number)
        found = {stat.key: stat.size for stat in trial.backend.list(f"{trial.folder}fresh/")}
        if found.get(key) != number:
            raise Broken(f"the object written just now was {'not listed' if key not in found else 'listed as older'}")
    return "5 times, each was listed at once"


def _delete(trial: Trial) -> str:
    key = trial.write("gone", b"x")
    try:
        trial.backend.delete(key)
    except Refused as error:
        raise Unsettled(f"refused; put and get do without ({error})") from error
    with suppress(KeyNotFound):
        trial.backend.stat(key)
        raise Broken("a deleted object was still there")
    trial.written.remove(key)
    return "gone at once"


def _missing_key(trial: Trial) -> str:
    key = f"{trial.folder}missing"
    try:
        trial.read(key)
    except KeyNotFound:
        return "said to be missing"
    except Refused as error:
        raise Broken(f"refused instead of missing: s3:ListBucket is needed to tell the two apart ({error})") from error
    except BucketNotFound as error:
        raise Broken("the whole bucket is said to be missing") from error
    raise Broken("bytes came for a key that nobody wrote")


def _missing_bucket(trial: Trial) -> str:
    if trial.elsewhere is None:
        raise Unsettled("not tried with this kind of store")
    try:
        list(trial.elsewhere.read(FORMAT_KEY))
    except BucketNotFound:
        return "said to be missing"
    except KeyNotFound as error:
        raise Broken("a missing bucket looks like an empty one: a mistyped store URL will not be noticed") from error
    except Refused as error:
        raise Unsettled(f"cannot be told: other buckets are refused ({error})") from error
    raise Broken("bytes came from a bucket that nobody made")


def _time(trial: Trial) -> str:
    skew = trial.backend.clock() - trial.clock()
    shown = f"{skew:+.1f} s from this machine's"
    if abs(skew) > _SKEW_SECONDS:
        raise Unsettled(f"{shown}: set this machine's clock, S3 refuses requests that are 15 minutes off")
    return shown


def _age(trial: Trial) -> str:
    behind = trial.backend.clock() - trial.backend.stat(trial.write("age", b"x")).modified
    if abs(behind) > _ENTRY_SKEW_SECONDS:
        raise Broken(f"an object written now is dated {behind:.0f} s ago by the store's own clock")
    return f"an object written now is dated {abs(behind):.1f} s {'ago' if behind >= 0 else 'ahead'}"


READ_ONLY: dict[str, Check] = {
    "read": _read,
    "ranges": _format_ranges,
    "missing key": _missing_key,
    "clock": _time,
}
WRITABLE: dict[str, Check] = {
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


def _require_listing(trial: Trial) -> None:
    if not trial.backend.properties.listable:
        raise Unsettled("not tried: this kind of store cannot be listed")


def _expect(found: bytes, wanted: bytes) -> None:
    if len(found) != len(wanted):
        raise Broken(f"{len(found)} bytes came, not {len(wanted)}")
    if found != wanted:
        raise Broken(f"{len(found)} bytes came, but not those that were written")


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
