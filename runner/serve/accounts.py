"""Where calls are accounted for: against limits, as usage, in metrics."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..observe.metrics import Metrics
from ..tenants.limits import Grant, Limits
from ..tenants.usage import UsageRow, UsageTally, day_of
from .account import Account, Timeline
from .call import Call


@dataclass(frozen=True, slots=True)
class Accounts:
    """The books of a server. `clock` is of the limits, in seconds."""

    limits: Limits
    usage: UsageTally
    metrics: Metrics
    clock: Callable[[], float] = time.monotonic

    def open(self, call: Call) -> Account:
        """An account for a call that is let in. Raises OverLimit."""
        tenant = call.caller.tenant
        grant = self.limits.admit(tenant, call.most, self.clock())
        label = call.model.identity.label
        answers = [Timeline(self.metrics.stream(label, tenant.name)) for _ in call.prompts]
        return Account(call, answers, lambda account: self._settle(account, grant))

    def _settle(self, account: Account, grant: Grant) -> None:
        self.limits.settle(grant, account.read + account.made, self.clock())
        row = UsageRow(
            tenant=account.call.caller.tenant.name,
            model=str(account.call.model.digest),
            day=day_of(time.time()),
            prompt_tokens=account.read,
            reused_tokens=account.reused,
            completion_tokens=account.made,
        )
        self.usage.add(row)
