"""What the log and the metrics are told of requests and connections."""

import logging
from dataclasses import dataclass, replace

from ..observe import events
from ..observe.log import LOGGER, EventLog
from ..observe.metrics import Metrics
from ..serve.account import Account
from .asgi import Scope
from .envelope import Exchange

_PROBES = ("/health", "/ready", "/metrics")  # asked every few seconds, and of no interest afterwards
_ELSEWHERE = "other"  # a path that is no route's: clients make up as many as they like


@dataclass(frozen=True, slots=True)
class Journal:
    """Writes both."""

    log: EventLog
    metrics: Metrics

    def request(self, exchange: Exchange, scope: Scope) -> None:
        """A request is over."""
        route = scope.get("route")
        path = getattr(route, "path", _ELSEWHERE)
        # A client that left before its answer began has no status.
        status = exchange.status or 499
        self.metrics.http(exchange.method, path, status)
        if status in (429, 503):
            tenant = exchange.caller.tenant.name if exchange.caller else ""
            self.metrics.refused(str(scope["state"].get("code") or status), tenant)
        if path not in _PROBES:
            self.log.write(self._event(exchange, scope, path, status), request_id=exchange.id)
        if exchange.fault is not None:
            logging.getLogger(LOGGER).error("a fault in %s", exchange.id, exc_info=exchange.fault)

    def refused(self, reason: str, status: int, peer: str) -> None:
        """A connection was closed, for what it did and not for what it asked; 0 is no answer."""
        self.metrics.refused("connection", "")
        self.log.write(events.Refused(reason=reason, status=status, client=peer))

    def opened(self) -> None:
        """A client has connected."""
        self.metrics.connection_opened()

    def closed(self) -> None:
        """A connection has ended."""
        self.metrics.connection_closed()

    def _event(self, exchange: Exchange, scope: Scope, path: str, status: int) -> events.Request:
        caller, account = exchange.caller, scope["state"].get("account")
        event = events.Request(
            method=exchange.method,
            path=path if path != _ELSEWHERE else exchange.path,
            status=status,
            seconds=exchange.seconds,
            client=exchange.peer or None,
            tenant=caller.tenant.name if caller else None,
            key=caller.key if caller else None,
            error=exchange.refusal or scope["state"].get("refusal"),
            prompt=scope["state"].get("prompt"),
        )
        return _with_tokens(event, account) if account else event


def _with_tokens(event: events.Request, account: Account) -> events.Request:
    ends = account.ends
    return replace(
        event,
        model=str(account.call.model.digest),
        prompt_tokens=account.read,
        reused_tokens=account.reused,
        completion_tokens=account.made,
        queue=max((end.queue_seconds for end in ends), default=None),
        ttft=account.first,
        finish_reason=",".join(dict.fromkeys(end.reason for end in ends)) or None,
    )
