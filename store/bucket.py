"""A store's bucket in format 1: the backend, its journal, and the file that says which format it is."""

import json
import time

from .backends import Backend
from .digest import Digest
from .errors import Damaged, FormatTooNew, KeyNotFound, ModelNotFound
from .journal import Journal
from .layout import FORMAT, FORMAT_KEY, manifest_key
from .manifest import Manifest, canonical

POLL_SECONDS = 2.0  # between two looks whether what is waited for has ended early
_AGAIN = "put the file again"


class Bucket:
    """A bucket that is a store, or is still empty; raises FormatTooNew when a later llstore wrote it.

    Blobs are downloaded from `source`, whose failures the download retries range by range; all else goes through
    `backend`, which retries by itself.
    """

    def __init__(self, backend: Backend, *, source: Backend | None = None) -> None:
        self.backend = backend
        self.source = source or backend
        self.journal = Journal(backend, writer=self.source)
        self.initialized = self._check_format()

    @property
    def url(self) -> str:
        """Where it lies; holds no secret."""
        return self.backend.properties.url

    def initialize(self) -> None:
        """Make an empty bucket a store."""
        if not self.initialized:
            data = canonical({"format": FORMAT})
            self.backend.write(FORMAT_KEY, [data], size=len(data))
            self.initialized = True

    def manifest(self, model: Digest) -> Manifest:
        """The manifest of a model; raises ModelNotFound, or Damaged when it is another model's."""
        try:
            manifest = Manifest.decode(b"".join(self.backend.read(manifest_key(model))))
        except KeyNotFound as error:
            raise ModelNotFound(f"no model {model} in {self.url}", hint="llstore list shows what is there") from error
        except Damaged as error:
            raise Damaged(f"the manifest of {model} in {self.url} is damaged: {error}", hint=_AGAIN) from error
        if manifest.model != model:
            raise Damaged(f"the manifest of {model} in {self.url} describes {manifest.model}", hint=_AGAIN)
        return manifest

    def wait(self, until: float) -> None:
        """Let some seconds pass on the way to that moment of the store's time."""
        time.sleep(max(0.0, min(until - self.journal.clock(), POLL_SECONDS)))

    def _check_format(self) -> bool:
        # A read, not a stat: only its answer tells a missing bucket from a missing object.
        try:
            data = b"".join(self.backend.read(FORMAT_KEY))
        except KeyNotFound:
            return False
        try:
            version = json.loads(data)["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(
                f"{FORMAT_KEY} in {self.url} is not what llstore writes",
                hint=f'it must hold {{"format":{FORMAT}}}',
            ) from error
        if type(version) is not int:
            raise Damaged(
                f"{FORMAT_KEY} in {self.url} holds no format number", hint=f'it must hold {{"format":{FORMAT}}}'
            )
        if version != FORMAT:
            raise FormatTooNew(
                f"{self.url} is in format {version}, this llstore reads format {FORMAT}",
                hint="upgrade: pip install -U llstore",
            )
        return True
