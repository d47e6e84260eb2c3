"""Who still finds a place in the queue. No clock, no I/O."""

from collections.abc import Mapping


def has_room(taken: Mapping[str, int], tenant: str, wanted: int, *, places: int) -> bool:
    """Whether a tenant gets so many of the `places`, of which `taken` says who has how many.

    Who has less than an equal part gets them although all are taken: a tenant that fills the queue keeps nobody out.
    So there are more at most by a half for two tenants, and by ln n for n of them.
    """
    if sum(taken.values()) + wanted <= places:
        return True
    tenants = len({*taken, tenant})
    return tenants > 1 and taken.get(tenant, 0) + wanted <= places // tenants
