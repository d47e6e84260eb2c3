"""What a batch does with every line that says nothing else."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ...store import Digest, Name
from ...store.ref import means
from ..sampling import Sampling


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """What decides the answers of a batch, besides its lines.

    `name` is what the model was asked for by, if it was by name. `system` goes before lines in our own form that have
    no system message, `raw` sends their prompts as they are, `exact` makes an answer independent of its neighbours,
    `kv_type` is the type of the KV cache.
    """

    model: Digest
    name: Name | None = None
    sampling: Sampling = field(default_factory=Sampling)
    system: str | None = None
    raw: bool = False
    exact: bool = False
    kv_type: str = "f16"

    def is_model(self, text: str) -> bool:
        """Whether a line that asks for the model `text` means this one."""
        return means(text, self.model, (self.name,) if self.name else ())

    def document(self) -> dict[str, Any]:
        """It as plain data: two batches with the same may share an output. A name may move, so it is no part of it."""
        found = {
            "model": str(self.model),
            "system": self.system,
            "raw": self.raw,
            "exact": self.exact,
            "kv_type": self.kv_type,
            **asdict(self.sampling),
        }
        del found["shown_tokens"]  # no line can ask for them
        as_read: dict[str, Any] = json.loads(json.dumps(found))
        return as_read
