"""A read-only mirror: a folder that some web server, or a signed URL, hands out."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import NoReturn, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from ..closing import Closing
from ..errors import KeyNotFound, Refused, Unreachable
from .base import Properties, Stat
from .wire import Answer, Declined, Wire, failure, whole_size

MOST_HOPS = 5
_MOVED = (301, 302, 303, 307, 308)
_NO_HEAD = (400, 403, 405, 501)  # a URL signed for GET answers HEAD with 403

Outcome = TypeVar("Outcome")


class HttpsBackend(Closing):
    """The objects under `url`, http or https; `query`, which may be a secret, ends the URL of every one."""

    def __init__(self, url: str, *, query: str = "", ca: str | None = None) -> None:
        self._root = url.rstrip("/")
        self._query = f"?{query}" if query else ""
        self.properties = Properties(url=self._root, writable=False, listable=False)
        self._wire = Wire(url, ca=ca)
        self._ahead: float | None = None

    def close(self) -> None:
        """See Backend."""
        self._wire.close()

    def stat(self, key: str) -> Stat:
        """See Backend. Where the server tells no date, the age is 0."""
        answer = self._followed(key, self._head)
        size = whole_size(answer)
        if size is None:
            raise Unreachable(f"{self.properties.url} does not tell the size of {key}", hint="ask another mirror")
        return Stat(key, size, _seconds(answer, "Last-Modified") or 0.0)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Backend."""
        if length == 0:
            self.stat(key)
            return

        def begun(url: str) -> tuple[bytes, Generator[bytes, None, None]]:
            pieces = self._wire.read(url, start=start, length=length)
            return next(pieces, b""), pieces

        first, rest = self._followed(key, begun)
        self._note_ranges()
        with closing(rest):
            if first:
                yield first
            yield from rest

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """Raises Refused."""
        self._refuse("put into the store that it mirrors")

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        """Raises Refused."""
        self._refuse("a mirror cannot list what it has: ask for a model by its full digest")

    def delete(self, key: str) -> None:
        """Raises Refused."""
        self._refuse("delete in the store that it mirrors")

    def clock(self) -> float:
        """See Backend. Read from the Date header of an answer, good to a second."""
        if self._ahead is None:
            answer = self._wire.ask("HEAD", self._url(""))
            self._ahead = (_seconds(answer, "Date") or time.time()) - time.time()
        return time.time() + self._ahead

    def _refuse(self, hint: str) -> NoReturn:
        raise Refused(f"{self.properties.url} is a read-only mirror", hint=hint)

    def _head(self, url: str) -> Answer:
        answer = self._wire.ask("HEAD", url)
        if answer.status in _NO_HEAD or (answer.status == 200 and whole_size(answer) is None):
            answer = self._wire.first_byte(url)
            self._note_ranges()
            return answer
        if answer.status != 200:
            raise Declined(answer)
        return answer

    def _note_ranges(self) -> None:
        if self.properties.ranges != self._wire.ranges:
            self.properties = replace(self.properties, ranges=self._wire.ranges)

    def _followed(self, key: str, attempt: Callable[[str], Outcome]) -> Outcome:
        """What `attempt` makes of the object's URL, or of the one that the server sends it on to."""
        url = self._url(key)
        for _ in range(MOST_HOPS + 1):
            try:
                return attempt(url)
            except Declined as declined:
                if declined.answer.status not in _MOVED:
                    raise failure(declined.answer, self.properties.url, key=key) from declined
                url = self._next(url, declined.answer, key=key)
        raise Refused(f"{self.properties.url} redirects {key} more than {MOST_HOPS} times", hint="check the URL")

    def _next(self, url: str, answer: Answer, *, key: str) -> str:
        try:
            target = urljoin(url, answer.headers.get("Location", ""))
            old, new = urlsplit(url), urlsplit(target)
        except ValueError as error:
            raise Refused(f"{self.properties.url} redirects {key} to what is no URL", hint="check the URL") from error
        if new.path == f"{old.path}/":
            raise KeyNotFound(f"no object {key} in {self.properties.url}")  # a folder
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
            raise Refused(
                f"{self.properties.url} redirects {key} to {new.scheme}://{new.hostname}",
                hint="use a mirror that stays on https",
            )
        return target

    def _url(self, key: str) -> str:
        return f"{self._root}/{quote(key)}{self._query}"


def _seconds(answer: Answer, header: str) -> float | None:
    try:
        return parsedate_to_datetime(answer.headers[header]).timestamp()
    except (KeyError, ValueError):
        return None
