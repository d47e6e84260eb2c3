"""Buckets of every kind, opened by URL. A kind's heavy library is loaded when the kind is."""

from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from ..errors import InvalidUrl
from .base import Backend, Properties, Stat
from .memory import MemoryBackend

__all__ = ["Backend", "MemoryBackend", "Properties", "Stat", "open_backend"]

_KINDS = "file:///path or s3://bucket/prefix?endpoint=http://host:port"


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
    raise InvalidUrl(f"not a store URL: {url!r}", hint=f"use {_KINDS}")


def refuse_credentials(url: str) -> None:
    """Raises InvalidUrl for a URL that holds credentials: URLs are printed and logged."""
    endpoint = parse_qs(_split(url).query).get("endpoint", [""])[0]
    if "@" in _split(url).netloc or "@" in _split(endpoint).netloc:
        raise InvalidUrl("a store URL holds no credentials", hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


def _split(url: str) -> SplitResult:
    if not url.isprintable() or " " in url or "#" in url:
        raise InvalidUrl(f"not a store URL: {url!r}", hint=f"use {_KINDS}")
    try:
        return urlsplit(url)
    except ValueError as error:
        raise InvalidUrl(f"not a store URL: {url!r}", hint=f"use {_KINDS}") from error


def _open_local(parts: SplitResult) -> Backend:
    from .local import LocalBackend

    if parts.netloc not in ("", "localhost") or parts.query or not parts.path.startswith("/"):
        raise InvalidUrl(f"not a folder: {parts.geturl()!r}", hint="a folder is file:///path, with three slashes")
    return LocalBackend(Path(unquote(parts.path)))


def _open_s3(parts: SplitResult) -> Backend:
    query = parse_qs(parts.query, keep_blank_values=True)
    unknown = sorted(set(query) - {"endpoint", "region"})
    empty = sorted(name for name, values in query.items() if not values[0])
    if not parts.netloc or unknown or empty:
        raise InvalidUrl(
            f"not an S3 store: {parts.geturl()!r}" + (f" ({', '.join(unknown + empty)}?)" if unknown or empty else ""),
            hint="use s3://bucket/prefix?endpoint=http://host:port&region=name",
        )
    from .s3 import S3Backend, S3Location

    location = S3Location(
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        endpoint=query.get("endpoint", [None])[0],
        region=query.get("region", [None])[0],
    )
    return S3Backend(location)
