"""A model as the catalog knows it: its manifest and what people say of it."""

from dataclasses import dataclass, field

from .digest import Digest
from .manifest import Manifest


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a store. `created_at` is when it was put, in seconds since 1970.

    Labels are for finding it, annotations are free text; the annotation `source` says where it came from.
    """

    manifest: Manifest
    names: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    created_at: float = 0.0

    @property
    def digest(self) -> Digest:
        """The model's id."""
        return self.manifest.model
