"""What was tuned on this machine, by machine and model: a JSON file in the user's data folder.

Losing it costs time only: what cannot be read counts as nothing, and is written anew. A data folder may be shared by
several machines, or a machine have had several builds; each finds its own figures.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...store import Digest
from ...store.disk import PartFile
from .tuned import Tuned

FILE = "tuned.json"
FORMAT = 1


class TunedFile:
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, model: Digest, machine: str) -> Tuned | None:
        """What is known of a model on a machine (`identity.key`)."""
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            return Tuned.read(self._models(self._read(), machine)[str(model)])
        return None

    @property
    def exists(self) -> bool:
        """Whether anything was ever tuned here."""
        return self._path.exists()

    def keep(self, model: Digest, machine: dict[str, Any], name: str, tuned: Tuned) -> None:
        """Remember it, in place of what was known. Raises NoSpace and DiskError."""
        said = self._read()
        models = self._models(said, name)
        models[str(model)] = tuned.document()
        said["machines"][name] = {"machine": machine, "models": models}
        self._write(said)

    def forget(self, model: Digest, machine: str) -> bool:
        """Forget what is known of a model on a machine; whether there was anything."""
        said = self._read()
        found = self._models(said, machine).pop(str(model), None)
        if found is not None:
            self._write(said)
        return found is not None

    def _models(self, said: dict[str, Any], machine: str) -> dict[str, Any]:
        entry = said["machines"].get(machine)
        models = entry.get("models") if isinstance(entry, dict) else None
        return models if isinstance(models, dict) else {}

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            said = json.loads(self._path.read_bytes())
            if isinstance(said, dict) and said.get("format") == FORMAT and isinstance(said.get("machines"), dict):
                return said
        return {"format": FORMAT, "machines": {}}

    def _write(self, said: dict[str, Any]) -> None:
        with PartFile.beside(self._path.parent) as part:
            part.write(json.dumps(said, indent=1, sort_keys=True).encode() + b"\n")
            part.commit(self._path)
