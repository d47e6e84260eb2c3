"""What the parent knows of each request that has not ended: enough to ask a new process to go on with it. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..errors import RunnerError
from .request import End, Reason, Request, Update
from .suspicion import Suspicion, after_crash

Receive = Callable[[Update], None]
Fail = Callable[[RunnerError], None]
_CLEAR = Suspicion()


@dataclass(slots=True)
class Entry:
    """A request, who hears of it, and what it has got so far. `submitted` and `deadline` are of the parent's clock."""

    id: int
    request: Request
    receive: Receive
    fail: Fail | None
    submitted: float
    deadline: float | None
    tokens: list[int] = field(default_factory=list)
    suspicion: Suspicion = _CLEAR
    cancelled: bool = False
    sent: int = 0  # to how many processes

    def ended(self, reason: Reason, *, now: float, error: str = "") -> Update:
        """Its last update, when the engine cannot make it."""
        made = len(self.request.generated) + len(self.tokens)
        end = End(reason, len(self.request.prompt), 0, made, error, queue_seconds=now - self.submitted)
        return Update(self.id, end=end)

    def timed(self, update: Update, now: float) -> Update:
        """A process's update; at the end it has waited for as long as that process did not work on it."""
        end = update.end
        if end is None:
            return update
        queue = now - self.submitted - end.prefill_seconds - end.decode_seconds
        return replace(update, end=replace(end, queue_seconds=max(0.0, queue)))

    def continued(self, now: float) -> Request:
        """What is left to do of it."""
        return replace(
            self.request,
            generated=(*self.request.generated, *self.tokens),
            alone=self.request.alone or self.suspicion.alone,
            seconds=None if self.deadline is None else self.deadline - now,
        )


class Ledger:
    """The requests that have not ended, in the order of their submission."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._ids = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, request: Request, receive: Receive, *, fail: Fail | None, now: float) -> Entry:
        """Opens an entry under an id that was never used."""
        self._ids += 1
        deadline = None if request.seconds is None else now + request.seconds
        entry = self._entries[self._ids] = Entry(self._ids, request, receive, fail, now, deadline)
        return entry

    def find(self, id: int) -> Entry | None:
        """The entry, if the request has not ended."""
        return self._entries.get(id)

    def take(self, update: Update) -> Entry | None:
        """Notes what a request got and closes its entry at its end; None for one that has ended."""
        entry = self._entries.get(update.request)
        if entry is not None:
            entry.tokens += update.tokens
            if update.end is not None:
                del self._entries[entry.id]
        return entry

    def close(self, id: int) -> Entry | None:
        """Closes an entry without an update; None if there is none."""
        return self._entries.pop(id, None)

    def clear(self) -> list[Entry]:
        """Closes all entries."""
        entries = list(self._entries.values())
        self._entries.clear()
        return entries

    def blame(self, suspects: tuple[int, ...] | None) -> list[Entry]:
        """Counts a crash against those who took part in the call (None: not known who), and closes the entries of
        those it convicts."""
        before = {id: (entry.suspicion, len(entry.tokens)) for id, entry in self._entries.items()}
        for id, suspicion in after_crash(before, suspects).items():
            self._entries[id].suspicion = suspicion
        convicted = [id for id, entry in self._entries.items() if entry.suspicion.convicted]
        return [self._entries.pop(id) for id in convicted]

    def overdue(self, now: float) -> list[tuple[Entry, Reason]]:
        """Closes the entries that no process needs to hear of again, and says how they ended."""
        found: list[tuple[Entry, Reason]] = []
        for entry in self._entries.values():
            late = entry.deadline is not None and entry.deadline <= now
            if late or entry.cancelled:
                found.append((entry, "cancelled" if entry.cancelled else "timeout"))
        for entry, _ in found:
            del self._entries[entry.id]
        return found

    def open(self) -> list[Entry]:
        """The entries, those least suspected first."""
        return sorted(self._entries.values(), key=lambda entry: (entry.suspicion.sole, entry.suspicion.alone))
