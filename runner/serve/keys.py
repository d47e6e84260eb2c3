"""The keys of the moment, followed while a server runs."""

from contextlib import ExitStack
from pathlib import Path

from ...store.closing import Closing
from ...store.errors import StoreError
from ..errors import RunnerError
from ..observe import events
from ..observe.log import EventLog
from ..tenants.keyfile import KeyFile
from ..tenants.keyring import Keyring
from ..tenants.usage import UsageTally


class Keys(Closing):
    """Follows a key file. One that cannot be read any more leaves the keys as they were. Raises what KeyFile does."""

    def __init__(self, path: Path, log: EventLog) -> None:
        self._path = path
        self._log = log
        with ExitStack() as held:
            self._file = held.enter_context(KeyFile(path))
            self.ring: Keyring = self._file.load()
            self._held = held.pop_all()

    def close(self) -> None:
        """Closes the file."""
        self._held.close()

    def look(self) -> None:
        """Takes over what was changed."""
        try:
            if not self._file.changed():
                return
            before, self.ring = self.ring, self._file.load()
        except (RunnerError, StoreError) as error:
            self._log.write(events.Reloaded(file=self._path.name, error=str(error)))
            return
        if self.ring != before:
            self._log.write(events.Reloaded(file=self._path.name, count=len(self.ring)))

    def add_usage(self, usage: UsageTally) -> None:
        """Writes what was used; what cannot be written is kept for the next time."""
        try:
            usage.flush(self._file)
        except (RunnerError, StoreError) as error:
            self._log.write(events.Reloaded(file=self._path.name, error=f"usage is not written: {error}"))
