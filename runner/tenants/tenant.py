"""Whoever a key belongs to, and what they may use."""

import re
from dataclasses import dataclass, replace

from ...store.errors import InvalidRef
from ...store.ref import parse_ref
from ..errors import InvalidTenant

MOST_MODELS = 256
MAX_LIMIT = 10**9
MAX_PRIORITY = 100
MAX_SHARE = 1000.0

_NAME = re.compile(r"[a-z0-9._-]{1,64}")
_LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrency")


@dataclass(frozen=True, slots=True)
class Tenant:
    """A name and its limits; None is no limit. Raises InvalidTenant.

    `models` are refs as text, () is every model that is served. `concurrency` is how many of its requests may be at
    work at once. A higher `priority` (-100 to 100) goes first; `share` (above 0, up to 1000) weighs its part of an
    engine against that of others. Tokens are those of prompts and those that were generated.
    """

    name: str
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    priority: int = 0
    share: float = 1.0

    def __post_init__(self) -> None:
        check_name(self.name)
        self._check_models()
        for field in _LIMITS:
            if (value := getattr(self, field)) is not None:
                self._check(field, value, allowed=_whole(value, 1, MAX_LIMIT), range=f"1 to {MAX_LIMIT}")
        in_range = _whole(self.priority, -MAX_PRIORITY, MAX_PRIORITY)
        self._check("priority", self.priority, allowed=in_range, range=f"{-MAX_PRIORITY} to {MAX_PRIORITY}")
        in_range = type(self.share) in (int, float) and 0 < self.share <= MAX_SHARE
        self._check("share", self.share, allowed=in_range, range=f"above 0 and at most {MAX_SHARE:g}")

    def _check(self, field: str, value: object, *, allowed: bool, range: str) -> None:
        if not allowed:
            raise InvalidTenant(f"{field} of {self.name} must be {range}, not {value!r}")

    def _check_models(self) -> None:
        if type(self.models) is not tuple or len(self.models) > MOST_MODELS:
            raise InvalidTenant(f"models of {self.name} must be a tuple of at most {MOST_MODELS} refs")
        for model in self.models:
            try:
                parse_ref(model)
            except (InvalidRef, TypeError, AttributeError) as error:
                raise InvalidTenant(f"a model of {self.name}: {error}", hint=getattr(error, "hint", "")) from error


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to change of a tenant; None leaves it as it is, and 0 takes a limit away."""

    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    priority: int | None = None
    share: float | None = None

    def applied(self, tenant: Tenant) -> Tenant:
        """The tenant as it is then. Raises InvalidTenant."""
        return replace(
            tenant,
            models=tenant.models if self.models is None else self.models,
            requests_per_minute=_limit(self.requests_per_minute, tenant.requests_per_minute),
            tokens_per_minute=_limit(self.tokens_per_minute, tenant.tokens_per_minute),
            concurrency=_limit(self.concurrency, tenant.concurrency),
            priority=tenant.priority if self.priority is None else self.priority,
            share=tenant.share if self.share is None else self.share,
        )


UNCHANGED = Changes()


def check_name(name: str) -> None:
    """Raises InvalidTenant for what is no tenant's name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidTenant(
            f"not a tenant's name: {name if not isinstance(name, str) else name[:80]!r}",
            hint="a name is 1 to 64 of a-z, 0-9, '.', '_' and '-'",
        )


def _limit(given: int | None, before: int | None) -> int | None:
    return before if given is None else given or None


def _whole(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
