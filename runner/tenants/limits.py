"""Who may be admitted now: requests a minute, tokens a minute, requests at once. No clock and no I/O."""

from dataclasses import dataclass, field

from ..errors import OverLimit
from .bucket import SECOND, Bucket, Reservation
from .tenant import Tenant

_CONCURRENCY_SECONDS = 1.0  # nobody can tell when an answer will be done
_MICROSECOND = SECOND // 10**6


@dataclass(frozen=True, slots=True, eq=False)
class Grant:
    """An admitted request, and the most tokens that it may use. It is settled once, whatever becomes of it."""

    tenant: str
    tokens: int
    _bucket: Bucket | None = None
    _reservation: Reservation | None = None


@dataclass(slots=True)
class _Account:
    requests: Bucket | None = None
    tokens: Bucket | None = None
    grants: set[Grant] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Refusal:
    limit: str
    message: str
    seconds: float

    def error(self) -> OverLimit:
        return OverLimit(self.message, limit=self.limit, retry_after=self.seconds)


class Limits:
    """What each tenant has used of its limits. For one thread.

    A limit of N a minute is a bucket of N that is filled at N a minute: in any span of S seconds, a tenant uses at most
    N + N * S / 60. A request reserves all tokens that it may use; those that it did not use are given back as if they
    had never been asked for. Where a tenant's limits have changed, what was used stays used, up to the new limit.
    `now` is in seconds, of any clock that does not go back.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def admit(self, tenant: Tenant, tokens: int, now: float) -> Grant:
        """Let a request in that may use so many tokens, prompt and answer together.

        Raises OverLimit, and then nothing was used.
        """
        if tokens < 0:
            raise ValueError(f"a request cannot take {tokens} tokens")
        account = self._account(tenant, _nanoseconds(now))
        if tenant.tokens_per_minute is not None and tokens > tenant.tokens_per_minute:
            raise _never(tenant, tokens)
        if refusals := _refusals(account, tenant, tokens):
            raise max(refusals, key=lambda refusal: refusal.seconds).error()
        if account.requests:
            account.requests.settle(account.requests.take(1), 1)
        grant = Grant(tenant.name, tokens, account.tokens, account.tokens.take(tokens) if account.tokens else None)
        account.grants.add(grant)
        return grant

    def settle(self, grant: Grant, used: int, now: float) -> None:
        """The request is done and used so many tokens. A second time, nothing happens."""
        if used < 0:
            raise ValueError(f"a request cannot have used {used} tokens")
        account = self._accounts[grant.tenant]
        if grant not in account.grants:
            return
        account.grants.remove(grant)
        if grant._bucket and grant._reservation:
            grant._bucket.fill(_nanoseconds(now))
            grant._bucket.settle(grant._reservation, used)

    def _account(self, tenant: Tenant, now: int) -> _Account:
        account = self._accounts.setdefault(tenant.name, _Account())
        account.requests = _bucket(account.requests, tenant.requests_per_minute, now)
        account.tokens = _bucket(account.tokens, tenant.tokens_per_minute, now)
        return account


def _bucket(before: Bucket | None, limit: int | None, now: int) -> Bucket | None:
    if limit is None:
        return None
    if before is None:
        return Bucket(limit, now)
    before.fill(now)
    if before.limit != limit:
        before.resize(limit)
    return before


def _refusals(account: _Account, tenant: Tenant, tokens: int) -> list[_Refusal]:
    found = []
    if account.requests and (wait := account.requests.wait(1)):
        message = f"{tenant.name} may make {tenant.requests_per_minute} requests a minute; none is left"
        found.append(_Refusal("requests", message, _seconds(wait)))
    if account.tokens and (wait := account.tokens.wait(tokens)):
        message = (
            f"{tenant.name} may use {tenant.tokens_per_minute} tokens a minute; "
            f"{account.tokens.left} are left, this request may take {tokens}"
        )
        found.append(_Refusal("tokens", message, _seconds(wait)))
    if tenant.concurrency is not None and len(account.grants) >= tenant.concurrency:
        message = f"{tenant.name} may have {tenant.concurrency} requests at work at once, and has {len(account.grants)}"
        found.append(_Refusal("concurrency", message, _CONCURRENCY_SECONDS))
    return found


def _never(tenant: Tenant, tokens: int) -> OverLimit:
    message = f"{tenant.name} may use {tenant.tokens_per_minute} tokens a minute; this request may take {tokens}"
    return OverLimit(f"{message} and can never pass", limit="tokens", retry_after=None)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * SECOND)


def _seconds(nanoseconds: int) -> float:
    # Up to two microseconds longer: adding it to a time in floating point may lose the last nanoseconds.
    return (nanoseconds // _MICROSECOND + 2) / 10**6
