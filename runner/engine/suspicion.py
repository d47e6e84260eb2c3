"""Whose fault a crash was, as far as can be told: pure counting.

A crash in a call for one request has a sole suspect: its second one convicts it. A crash in a call for several is
shared among them: those of two such crashes are given calls of their own, so that the next has a sole suspect.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

SHARED = 2  # shared crashes after which a request gets calls of its own
SOLE = 2  # crashes as the sole suspect that convict
LIFETIME = 8  # as many of either kind count however far the request came in between
PROGRESS = 16  # tokens after a crash that clear a request of it: a crash that returns comes sooner


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What speaks against a request: crashes that it shared or was alone in, since it last made progress and in all.

    `tokens` is how many it had at the last crash.
    """

    shared: int = 0
    sole: int = 0
    all_shared: int = 0
    all_sole: int = 0
    tokens: int = 0

    @property
    def alone(self) -> bool:
        """Whether it must not share calls."""
        return self.shared >= SHARED or self.all_shared >= LIFETIME

    @property
    def convicted(self) -> bool:
        """Whether it is not tried again."""
        return self.sole >= SOLE or self.all_sole >= LIFETIME


def after_crash(before: dict[int, tuple[Suspicion, int]], suspects: Iterable[int] | None) -> dict[int, Suspicion]:
    """What speaks against each request after a crash, given that before it and how many tokens each has.

    `suspects` took part in the call that crashed; None when it is not known who did. Once one is convicted, the others
    are cleared of the crashes that they shared.
    """
    involved = set(before) if suspects is None else set(suspects) & set(before)
    sole = len(involved) == 1 and suspects is not None
    after = {id: _judged(*each, involved=id in involved, sole=sole) for id, each in before.items()}
    if any(each.convicted for each in after.values()):
        return {id: each if each.convicted else replace(each, shared=0, all_shared=0) for id, each in after.items()}
    return after


def _judged(before: Suspicion, tokens: int, *, involved: bool, sole: bool) -> Suspicion:
    now = replace(before, tokens=tokens)
    if tokens >= before.tokens + PROGRESS:
        now = replace(now, shared=0, sole=0)
    if not involved:
        return now
    if sole:
        return replace(now, sole=now.sole + 1, all_sole=now.all_sole + 1)
    return replace(now, shared=now.shared + 1, all_shared=now.all_shared + 1)
