"""Tells the observers what happened, in the words of `events`."""

import logging
from collections import deque
from collections.abc import Iterable

from ratelimit_router import events
from ratelimit_router.account import Account
from ratelimit_router.cooldown import Incident
from ratelimit_router.lease import Lease
from ratelimit_router.meter import Meter
from ratelimit_router.outcomes import Outcome

__all__ = ["Herald"]

log = logging.getLogger("ratelimit_router")


class Herald:
    """`heard`: whether there is anybody to tell; ask before putting an event together."""

    def __init__(self, observers: Iterable[events.Observer]):
        self._observers = tuple(observers)
        self._pending: deque[events.Event] = deque()
        self._held = 0
        self._telling = False
        self.heard = bool(self._observers)

    def hold(self) -> None:
        """The router is in the middle of a change: what happens is told when it is done, at the matching `release`."""
        self._held += 1

    def release(self) -> None:
        """The change is done: observers may call the router again."""
        self._held -= 1
        self._tell()

    def emit(self, event: events.Event) -> None:
        """To every observer, in order; one that raises stops neither the others nor the router."""
        self._pending.append(event)
        self._tell()

    def _tell(self) -> None:
        if self._held or self._telling:
            return
        self._telling = True
        while self._pending:
            event = self._pending.popleft()
            for observer in self._observers:
                try:
                    observer(event)
                except Exception:
                    log.exception("an observer failed on %s", type(event).__name__)
        self._telling = False

    def routed(self, lease: Lease, now: float) -> None:
        """A model was leased."""
        self.emit(
            events.Routed(at=now, tier=lease.tier, model=lease.model.name, depth=lease.depth, waited=lease.waited)
        )

    def settled(self, lease: Lease, now: float) -> None:
        """A call ended well."""
        _, inputs, outputs, _ = lease.cost
        self.emit(
            events.Settled(
                at=now,
                tier=lease.tier,
                model=lease.model.name,
                input_tokens=inputs,
                output_tokens=outputs,
                held=now - lease.at,
            )
        )

    def rejected(self, lease: Lease, outcome: Outcome, now: float) -> None:
        """The service refused a call."""
        self.emit(
            events.Rejected(
                at=now,
                tier=lease.tier,
                model=lease.model.name,
                kind=outcome.kind.value,
                quota=outcome.quota,
                limit=outcome.limit,
                retry_after=outcome.retry_after,
            )
        )

    def cooled(self, account: Account, incident: Incident, now: float) -> None:
        """A model or pool was closed."""
        self.emit(
            events.Cooled(
                at=now,
                model=account.name,
                until=incident.until,
                seconds=incident.until - now,
                provenance=incident.provenance.value,
                reason=incident.reason.value,
                quota=incident.quota,
                strikes=incident.strikes,
            )
        )

    def learned(self, account: Account, meters: Iterable[Meter], now: float) -> None:
        """Limits turned out to be other than configured."""
        for meter in meters:
            self.emit(
                events.LimitLearned(
                    at=now,
                    model=account.name,
                    quota=meter.quota.name,
                    amount=meter.learned.amount(meter.quota.amount),
                    burst=meter.burst,
                    configured=meter.quota.amount,
                    named=meter.learned.named is not None,
                )
            )
