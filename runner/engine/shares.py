"""Who has had how much: weighted fair queueing between owners, counted in tokens.

Each owner with work has a virtual clock, which its tokens advance (Demers, Keshav and Shenker, 1989); whoever's is
lowest is next. An owner that comes back starts at the clock of the whole engine: being away earns nothing, and
however many newcomers there are, that clock passes by those who wait.
"""


class Shares:
    """The virtual clocks of all owners, in tokens over weight."""

    def __init__(self) -> None:
        self._now = 0.0
        self._served: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        self._requests: dict[str, int] = {}  # of those at work
        self._weight = 0.0  # of those at work, together

    def join(self, owner: str, weight: float) -> None:
        """One more request of an owner, whose weight is that of the latest."""
        self._weights[owner] = weight
        if owner not in self._requests:
            self._served[owner] = max(self._served.get(owner, 0.0), self._now)
        self._requests[owner] = self._requests.get(owner, 0) + 1
        self._weigh()

    def leave(self, owner: str) -> None:
        """One request less."""
        self._requests[owner] -= 1
        if not self._requests[owner]:
            del self._requests[owner]
            self._weigh()
        # Where nobody works, nothing is owed; who is behind the engine's clock would start at it anyway.
        for past in [name for name in self._served if name not in self._requests]:
            if not self._requests or self._served[past] <= self._now:
                del self._served[past], self._weights[past]

    def serve(self, owner: str, tokens: int) -> None:
        """An owner got so many tokens, read or made."""
        self._served[owner] += tokens / self._weights[owner]
        self._now += tokens / self._weight

    def _weigh(self) -> None:
        self._weight = sum(self._weights[name] for name in self._requests)

    def served(self, owner: str) -> float:
        """An owner's clock."""
        return self._served[owner]

    def weight(self, owner: str) -> float:
        """An owner's weight."""
        return self._weights[owner]
