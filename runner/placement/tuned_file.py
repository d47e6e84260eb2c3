"""What was tuned on this machine, by machine and model."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from ...store import Digest
from ..machine_file import MachineFile
from .tuned import Tuned

FILE = "tuned.json"


class TunedFile:
    """The file at `path`, see MachineFile."""

    def __init__(self, path: Path) -> None:
        self._file = MachineFile(path)

    @property
    def exists(self) -> bool:
        """Whether anything was ever tuned here."""
        return self._file.exists

    def find(self, model: Digest, machine: str) -> Tuned | None:
        """What is known of a model on a machine (`identity.key`)."""
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            return Tuned.read(self._models(machine)[str(model)])
        return None

    def keep(self, model: Digest, machine: dict[str, Any], name: str, tuned: Tuned) -> None:
        """Remember it, in place of what was known. Raises NoSpace and DiskError."""
        models = {**self._models(name), str(model): tuned.document()}
        self._file.write(name, {"machine": machine, "models": models})

    def forget(self, model: Digest, machine: str) -> bool:
        """Forget what is known of a model on a machine; whether there was anything."""
        entry, models = self._file.entry(machine), self._models(machine)
        if models.pop(str(model), None) is None:
            return False
        self._file.write(machine, {**entry, "models": models})
        return True

    def _models(self, machine: str) -> dict[str, Any]:
        models = self._file.entry(machine).get("models")
        return models if isinstance(models, dict) else {}
