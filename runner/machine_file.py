"""What was found out about this machine: a JSON file in the user's data folder, an entry for each machine.

Losing it costs time only: what cannot be read counts as nothing, and is written anew. A data folder may be shared by
several machines, or a machine have had several builds of llama.cpp; each finds its own entry.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..store.disk import PartFile

FORMAT = 1


class MachineFile:
    """The file at `path`. An entry is a JSON object, under the name of a machine and build."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self._path.exists()

    def entry(self, name: str) -> dict[str, Any]:
        """What is known of a machine; an empty object when nothing is."""
        found = self._read()["machines"].get(name)
        return found if isinstance(found, dict) else {}

    def write(self, name: str, entry: dict[str, Any]) -> None:
        """Put an entry in place of the one that is there. Raises NoSpace and DiskError."""
        said = self._read()
        said["machines"][name] = entry
        with PartFile.beside(self._path.parent) as part:
            part.write(json.dumps(said, indent=1, sort_keys=True).encode() + b"\n")
            part.commit(self._path)

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            said = json.loads(self._path.read_bytes())
            if isinstance(said, dict) and said.get("format") == FORMAT and isinstance(said.get("machines"), dict):
                return said
        return {"format": FORMAT, "machines": {}}
