"""Where the bytes of a blob come from: a file, a part of one, or another store."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from ..backends import Backend
from ..closing import Closing
from ..fingerprint import Fingerprint
from ..layout import blob_key
from ..progress import Progress


class Supply(Closing, ABC):
    """The bytes of one blob, for an upload. `label` is what they are called in messages, `size` how many there are."""

    label: str
    size: int

    @abstractmethod
    def blocks(self, found: Fingerprint, progress: Progress) -> Iterator[bytes]:
        """The bytes, in blocks, each checked against `found` before it leaves; may be asked for again."""

    def send(self, backend: Backend, found: Fingerprint, progress: Progress) -> None:
        """Make them the blob of that name in a bucket, or fail with nothing there."""
        backend.write(blob_key(found.digest), self.blocks(found, progress), size=found.size)
