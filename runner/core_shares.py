"""How engines share a machine's cores: pure arithmetic over what each wants, holds and has used.

While there are enough cores for every busy engine to have its least, which is one or as many as it cannot do without,
the rest is divided equally, and what does not divide goes to those that used least. When there are not, engines take
turns with their least, who used least first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

QUANTUM = 250_000_000  # nanoseconds of use by which one must be behind to get the core that is left over


@dataclass(frozen=True, slots=True)
class Claim:
    """What an engine wants (0: it is idle), how many cores it holds, whether it waits, its use of cores in nanoseconds,
    and with how few it can do."""

    wants: int
    holds: int
    waits: bool
    used: int
    least: int = 1


def allowed(claims: Mapping[int, Claim], me: int, cores: int) -> int:
    """How many cores the engine `me` may hold now; 0 is to wait. All of `claims` are busy, `me` among them."""
    mine = claims[me]
    free = cores - sum(claim.holds for seat, claim in claims.items() if seat != me)
    if sum(claim.least for claim in claims.values()) > cores:
        ahead = sum(claims[seat].least for seat in _ahead(claims, me))
        return mine.least if free - ahead >= mine.least else 0
    found = min(mine.least + _extra(claims, me, cores), free, mine.wants)
    return found if found >= mine.least else 0


def next_in_line(claims: Mapping[int, Claim], cores: int) -> list[int]:
    """Those that wait and can have their least, as far as cores are free."""
    free = cores - sum(claim.holds for claim in claims.values())
    found = []
    for _, seat in sorted((claim.used, seat) for seat, claim in claims.items() if claim.waits):
        free -= claims[seat].least
        if free < 0:
            break
        found.append(seat)
    return found


def _ahead(claims: Mapping[int, Claim], me: int) -> list[int]:
    mine = (claims[me].used, me)
    return [seat for seat, claim in claims.items() if claim.waits and seat != me and (claim.used, seat) < mine]


def _extra(claims: Mapping[int, Claim], me: int, cores: int) -> int:
    """What `me` may have beside its least: those that want little get it, the others divide the rest."""
    wanted = {seat: claim.wants - claim.least for seat, claim in claims.items()}
    left, many = cores - sum(claim.least for claim in claims.values()), len(claims)
    for wants in sorted(wanted.values()):
        if wants > left // many:
            break
        left, many = left - wants, many - 1
    if many == 0 or wanted[me] <= left // many:
        return wanted[me]
    rivals = sorted((claims[seat].used // QUANTUM, seat) for seat, wants in wanted.items() if wants > left // many)
    favoured = [seat for _, seat in rivals[: left % many]]
    return left // many + (me in favoured)
