"""Buckets of every kind, opened by URL. A kind's heavy library is loaded when the kind is."""

import re
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from ..errors import InvalidUrl
from .base import Backend, Properties, Stat
from .memory import MemoryBackend

__all__ = ["Backend", "MemoryBackend", "Properties", "Stat", "open_backend", "public"]

_HOST = re.compile(r"[^/?#@]+:\d+")
_KINDS = "file:///path, s3://bucket/prefix?endpoint=http://host:port, seaweedfs://host:port/path or https://host/path"


def open_backend(url: str) -> Backend:
    """The bucket at `url`; raises InvalidUrl. Nothing is asked of it yet."""
    refuse_credentials(url)
    parts = _split(url)
    if parts.scheme == "memory":
        return MemoryBackend()
    if parts.scheme == "file":
        return _open_local(parts)
    if parts.scheme == "s3":
        return _open_s3(parts)
    if parts.scheme == "seaweedfs":
        return _open_seaweedfs(parts)
    if parts.scheme in ("http", "https"):
        return _open_https(parts)
    raise _no_store(url)


def public(url: str) -> str:
    """A store URL without what may be secret in it: the query of a mirror, and credentials."""
    bare = re.sub("//[^/?]*@", "//", url)
    return bare if bare.lower().startswith(("s3:", "seaweedfs:")) else bare.partition("?")[0]


def refuse_credentials(url: str) -> None:
    """Raises InvalidUrl for a URL that holds credentials: URLs are printed and logged."""
    endpoint = parse_qs(_split(url).query).get("endpoint", [""])[0]
    if "@" in _split(url).netloc or "@" in _split(endpoint).netloc:
        raise InvalidUrl("a store URL holds no credentials", hint="S3 finds them where boto3 does")


def _split(url: str) -> SplitResult:
    if not url.isprintable() or " " in url or "#" in url:
        raise _no_store(url)
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - read, for it raises when it is none
    except ValueError as error:
        raise _no_store(url) from error
    return parts


def _no_store(url: str) -> InvalidUrl:
    return InvalidUrl(f"not a store URL: {public(url)!r}", hint=f"use {_KINDS}")


def _open_local(parts: SplitResult) -> Backend:
    from .local import LocalBackend

    if parts.netloc not in ("", "localhost") or parts.query or not parts.path.startswith("/"):
        raise InvalidUrl(f"not a folder: {parts.geturl()!r}", hint="a folder is file:///path, with three slashes")
    return LocalBackend(Path(unquote(parts.path)))


def _open_s3(parts: SplitResult) -> Backend:
    query = parse_qs(parts.query, keep_blank_values=True)
    values = {"style": ("path", "virtual"), "anonymous": ("0", "1")}
    known = {"endpoint", "region", "profile", "ca", *values}
    wrong = {name for name, found in query.items() if name not in known or len(found) > 1 or not found[0]}
    wrong |= {name for name, allowed in values.items() if name in query and query[name][0] not in allowed}
    options = {name: found[0] for name, found in query.items()}
    if "endpoint" in options and not _is_server(options["endpoint"]):
        wrong.add("endpoint")
    if "ca" in options and not Path(options["ca"]).is_file():
        wrong.add("ca")
    if not parts.netloc or wrong:
        raise InvalidUrl(
            # The names of the options only: who puts a secret there shall not see it printed.
            f"not an S3 store: s3://{parts.netloc}{parts.path}" + (f" ({', '.join(sorted(wrong))}?)" if wrong else ""),
            hint="use s3://bucket/prefix?endpoint=http://host:port&region=name; docs/backends.md lists the options",
        )
    from .s3 import S3Backend, S3Location

    location = S3Location(
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        endpoint=options.get("endpoint"),
        region=options.get("region"),
        style=options.get("style"),
        profile=options.get("profile"),
        anonymous=options.get("anonymous") == "1",
        ca=options.get("ca"),
    )
    return S3Backend(location)


def _is_server(url: str) -> bool:
    parts = _split(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _open_seaweedfs(parts: SplitResult) -> Backend:
    query = parse_qs(parts.query, keep_blank_values=True)
    master = query.pop("master", [None])[0]
    if not parts.hostname or query or (master is not None and not _HOST.fullmatch(master)):
        raise InvalidUrl(
            f"not a SeaweedFS filer: {parts.geturl()!r}",
            hint="use seaweedfs://host:8888/path, the path of a folder, or …?master=host:9333",
        )
    from .seaweedfs import PORT, SeaweedBackend

    address = f"{parts.netloc.rstrip(':')}:{PORT}" if parts.port is None else parts.netloc
    return SeaweedBackend(address, parts.path, master=master)


def _open_https(parts: SplitResult) -> Backend:
    if not parts.hostname:
        raise InvalidUrl(f"not a mirror: {public(parts.geturl())!r}", hint="use https://host/path?query")
    from .https import HttpsBackend

    return HttpsBackend(f"{parts.scheme}://{parts.netloc}{parts.path}", query=parts.query)
