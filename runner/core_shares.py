"""How engines share a machine's cores: pure arithmetic over what each wants, holds and has used.

While there are enough cores for every busy engine to have one, each gets an equal part, and what does not divide goes
to those that used least. When there are not, engines take turns, one core each, who used least first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

QUANTUM = 250_000_000  # nanoseconds of use by which one must be behind to get the core that is left over


@dataclass(frozen=True, slots=True)
class Claim:
    """What an engine wants (0: it is idle), how many cores it holds, whether it waits for one, and its use of cores in
    nanoseconds."""

    wants: int
    holds: int
    waits: bool
    used: int


def allowed(claims: Mapping[int, Claim], me: int, cores: int) -> int:
    """How many cores the engine `me` may hold now; 0 is to wait. All of `claims` are busy, `me` among them."""
    mine = claims[me]
    free = cores - sum(claim.holds for seat, claim in claims.items() if seat != me)
    if len(claims) > cores:
        return int(free > len(_ahead(claims, me)))
    return max(0, min(_fair(claims, me, cores), free, mine.wants))


def next_in_line(claims: Mapping[int, Claim], cores: int) -> list[int]:
    """Those that wait and can have a core, as far as cores are free."""
    free = cores - sum(claim.holds for claim in claims.values())
    waiting = sorted((claim.used, seat) for seat, claim in claims.items() if claim.waits)
    return [seat for _, seat in waiting[: max(0, free)]]


def _ahead(claims: Mapping[int, Claim], me: int) -> list[int]:
    mine = (claims[me].used, me)
    return [seat for seat, claim in claims.items() if claim.waits and seat != me and (claim.used, seat) < mine]


def _fair(claims: Mapping[int, Claim], me: int, cores: int) -> int:
    """The part of `me`: those that want little get it, the others divide the rest."""
    left, many = cores, len(claims)
    modest = sorted(claim.wants for claim in claims.values())
    for wants in modest:
        if wants > left // many:
            break
        left, many = left - wants, many - 1
    if many == 0 or claims[me].wants <= left // many:
        return claims[me].wants
    rivals = sorted((claim.used // QUANTUM, seat) for seat, claim in claims.items() if claim.wants > left // many)
    extra = [seat for _, seat in rivals[: left % many]]
    return left // many + (me in extra)
