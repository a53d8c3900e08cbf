"""Tells the observers what happened, in the words of `events`.

These are imported where they are first needed: most routers have no observer, and importing them takes as long as a
quarter of the router.
"""

import logging
import math
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ratelimit_router.account import Account
from ratelimit_router.cooldown import Incident
from ratelimit_router.lease import Lease
from ratelimit_router.meter import Meter
from ratelimit_router.outcomes import Outcome
from ratelimit_router.queue import Line
from ratelimit_router.reasons import Skipped

if TYPE_CHECKING:
    from ratelimit_router.events import Event, Observer

__all__ = ["Herald"]

log = logging.getLogger("ratelimit_router")


class Herald:
    """`heard`: whether there is anybody to tell; ask before putting an event together."""

    def __init__(self, observers: "Iterable[Observer]"):
        self._observers = tuple(observers)
        self._pending: deque[Event] = deque()
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

    def emit(self, event: "Event") -> None:
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

    def waited(self, line: Line, told: tuple[Skipped, ...], now: float) -> None:
        """A request joined a line."""
        from ratelimit_router.events import Waited

        self.emit(Waited(at=now, tier=line.name, queued=line.length, reasons=told))

    def fell_back(self, tier: str, from_model: str, to_model: str, reason: str, now: float) -> None:
        """A later step than the first was chosen."""
        from ratelimit_router.events import FellBack

        self.emit(FellBack(at=now, tier=tier, from_model=from_model, to_model=to_model, reason=reason))

    def refused(self, tier: str, error: Exception, now: float) -> None:
        """A request was turned away."""
        from ratelimit_router.events import Refused

        retry_at = getattr(error, "retry_at", math.inf)
        self.emit(Refused(at=now, tier=tier, error=type(error).__name__, retry_at=retry_at))

    def routed(self, lease: Lease, now: float) -> None:
        """A model was leased."""
        from ratelimit_router.events import Routed

        self.emit(Routed(at=now, tier=lease.tier, model=lease.model.name, depth=lease.depth, waited=lease.waited))

    def settled(self, lease: Lease, now: float) -> None:
        """A call ended well."""
        from ratelimit_router.events import Settled

        _, inputs, outputs, _ = lease.cost
        self.emit(
            Settled(
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
        from ratelimit_router.events import Rejected

        self.emit(
            Rejected(
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
        from ratelimit_router.events import Cooled

        self.emit(
            Cooled(
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

    def removed(self, account: Account, now: float) -> None:
        """The service does not know the model."""
        from ratelimit_router.events import ModelRemoved

        self.emit(ModelRemoved(at=now, model=account.name))

    def key_refused(self, models: Iterable[str], kind: str, now: float) -> None:
        """The service refuses a key: these models are closed."""
        from ratelimit_router.events import KeyRefused

        self.emit(KeyRefused(at=now, models=tuple(sorted(models)), kind=kind))

    def probed(self, account: Account, now: float) -> None:
        """The first call after a cooldown was let through."""
        from ratelimit_router.events import Probed

        self.emit(Probed(at=now, model=account.name))

    def recovered(self, account: Account, now: float) -> None:
        """A probe came back well."""
        from ratelimit_router.events import Recovered

        self.emit(Recovered(at=now, model=account.name))

    def learned(self, account: Account, meters: Iterable[Meter], now: float) -> None:
        """Limits turned out to be other than configured."""
        from ratelimit_router.events import LimitLearned

        for meter in meters:
            self.emit(
                LimitLearned(
                    at=now,
                    model=account.name,
                    quota=meter.quota.name,
                    amount=meter.learned.amount(meter.quota.amount),
                    burst=meter.burst,
                    configured=meter.quota.amount,
                    named=meter.learned.named is not None,
                )
            )
