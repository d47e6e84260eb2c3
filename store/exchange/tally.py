"""The progress of several blobs at once, told as that of one."""

from threading import Event, Lock

from ..digest import Digest
from ..errors import StoreError
from ..progress import Progress


class Tally:
    """Adds up what was sent of each blob; `total` are the bytes of all. Once stopped, whoever tells more is ended."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._progress = progress
        self._lock = Lock()
        self._sent: dict[Digest, int] = {}
        self._sum = 0
        self._stopped = Event()

    def stop(self) -> None:
        """End the transfers that are under way: nobody waits for them any more."""
        self._stopped.set()

    def part(self, digest: Digest) -> Progress:
        """The progress of one blob."""

        def tell(step: str, done: int, total: int) -> None:
            if self._stopped.is_set():
                raise StoreError("stopped")
            if step == "upload":
                self.done(digest, done)

        return tell

    def done(self, digest: Digest, count: int) -> None:
        """So much of the blob is where it should be."""
        with self._lock:
            self._sum += count - self._sent.get(digest, 0)
            self._sent[digest] = count
            self._progress("copy", self._sum, self._total)
