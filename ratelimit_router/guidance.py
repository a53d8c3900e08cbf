"""Batches under way: every few seconds a plan says how many calls of which line go to which model.

What the plan leaves of a line's share in a model is kept on the candidate (`Candidate.share`); once it is used up the
line does not take that model, free or not, until the next plan. Everything else is as without a batch: the order in a
line, weights, reservations. Lines of no batch are not steered and see no plan, nor does a call that has to be served
before the plan ends.

What it does badly: it plans for the backlog, not for calls that nobody has announced.
"""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from ratelimit_router.backlog import Problem, demand
from ratelimit_router.batch import Batch
from ratelimit_router.errors import ConfigError, UnknownTier
from ratelimit_router.lease import cost_of
from ratelimit_router.outcomes import Kind
from ratelimit_router.planner import Plan, plan, require_solver
from ratelimit_router.portions import portions
from ratelimit_router.queue import Line, Queue

if TYPE_CHECKING:
    from ratelimit_router.messages import Usage

__all__ = ["Guide"]

EVERY = 5.0
"""Seconds after which a plan is made anew..."""
PART = 0.02
"""...but in a long run plans are as far apart as this part of what is left of it."""
SOONEST = 1.0
"""The least seconds between two, when something has changed, or a model is free that the plan keeps from somebody.

As long as a new plan does not change that either, the next is twice as far off.
"""
LATEST = 300.0
"""The most seconds between two attempts while no plan can be made."""
LEAST_SHARE = 1e-3
"""Calls. What is left of a share below this is rounding."""
MOST = 10**12
"""More than any backlog."""

AGAIN = frozenset({*Kind} - {Kind.BAD_REQUEST, Kind.CANCELLED, Kind.UNKNOWN})
"""How a call fails that will be made again."""

log = logging.getLogger("ratelimit_router")


class Guide:
    """Keeps the plan of a router. `find_line`: of a tier. `drain`: see `Dispatcher`."""

    def __init__(self, find_line: Callable[[str], Line], queue: Queue, drain: Callable[[], None]):
        self._find, self._queue, self._drain = find_line, queue, drain
        self._batches: list[Batch] = []
        self._due = self._latest = -math.inf
        self._gap = SOONEST
        self._end: float | None = None  # when all is to be done
        self._earliest = -math.inf  # when it could be, as far as the latest plan knew
        self.plan: Plan | None = None

    def __bool__(self) -> bool:
        return bool(self._batches)

    # -- what is to be steered -----------------------------------------------------------------------------------------

    def batch(
        self, calls: Mapping[str, int], tokens: "Mapping[str, int | Usage]", slack: float, urgent: Collection[str]
    ) -> Batch:
        """A batch to be entered. Raises UnknownTier, and ConfigError for numbers that make no sense."""
        require_solver()
        if not 0 <= slack < math.inf:
            raise ConfigError(f"must be 0 or more, a share of the least time, not {slack}", key="slack")
        for tier, count in calls.items():
            self._find(tier)
            _check_calls(count, f"calls.{tier}")
        for what, tiers in (("tokens", tokens), ("urgent", urgent)):
            if unknown := set(tiers) - set(calls):
                raise ConfigError("is not among the calls of the batch", key=f"{what}.{min(unknown)}")
        costs = {tier: cost_of(each) for tier, each in tokens.items()}
        return Batch(calls, costs, slack, frozenset(urgent), open=self._open, close=self._close)

    def _open(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._end = None
        self._change_lines()

    def _close(self, batch: Batch) -> None:
        lines = self._lines()
        self._batches.remove(batch)
        for line in lines - self._lines():
            _release(line)
        self._change_lines()

    def reconfigured(self, gone: Iterable[Line]) -> None:
        """Chains have changed, and these lines are no longer there."""
        for line in gone:
            _release(line)
        if self._batches:
            self._change_lines()

    def _change_lines(self) -> None:
        for line in self._lines():
            line.steer(True)
        self._due = -math.inf
        if not self._batches:
            self._queue.plan_ends = -math.inf
        self._drain()

    def _lines(self) -> set[Line]:
        """The lines of all batches; a tier may be gone meanwhile."""
        found = set()
        for tier in {tier for batch in self._batches for tier in batch.ahead}:
            try:
                found.add(self._find(tier))
            except UnknownTier:
                continue
        return found

    # -- what has happened ---------------------------------------------------------------------------------------------

    def asked(self, line: Line) -> None:
        """One of the calls that were announced has come."""
        for batch in self._batches:
            if batch.ahead.get(line.name, 0.0) > 0:
                batch.ahead[line.name] -= 1.0
                return

    def failed(self, tier: str, kind: Kind) -> None:
        """A call failed, and will probably be made again."""
        if kind in AGAIN:
            for batch in self._batches:
                if tier in batch.ahead:
                    batch.ahead[tier] += 1.0
                    return

    @property
    def due(self) -> float:
        """When the next plan is made, if nothing changes until then."""
        return self._due

    def stale(self) -> None:
        """Something has changed that the plan does not know."""
        self._due = min(self._due, self._latest + SOONEST)

    # -- the plan ------------------------------------------------------------------------------------------------------

    def steer(self, now: float) -> None:
        """Make the plan anew if it is time."""
        if now < self._due or not self._batches:
            return
        self._latest, before = now, self.plan
        self.plan = self._make(now)
        self._queue.plan_ends = -math.inf if self.plan is None else now + self.plan.horizon
        self._gap = min(2.0 * self._gap, LATEST if self.plan is before is None else self._interval(self.plan))
        self._due = now + (self._gap if self.plan is before is None else self._interval(self.plan))

    def look_again(self, now: float) -> float:
        """Everybody was served who could be: when to look again for the others, whom the plan may keep from a model."""
        if self.plan is not None:
            if any(self._idle(line, now) for line in self._lines() if line.length):
                self._due = min(self._due, max(self._latest + self._gap, now))
            else:
                self._gap = SOONEST
        return self._due

    def _idle(self, line: Line, now: float) -> bool:
        head = line.heads()[0]
        return any(one.share <= LEAST_SHARE and one.account.fits(head.cost, now) for step in line.steps for one in step)

    def _interval(self, made: Plan | None) -> float:
        return EVERY if made is None else max(EVERY, PART * made.horizon)

    def _make(self, now: float) -> Plan | None:
        problem = self._problem(now)
        for candidate in problem.candidates:
            candidate.share = math.inf
        if not problem.demands:
            self._end = None
            return None
        try:
            made = plan(problem.demands, problem.options, problem.supplies, self._time, problem.urgent)
        except ArithmeticError as error:
            log.warning("no plan could be made, so each line takes what is free: %s", error)
            return None
        if made is not None:
            seconds = self._interval(made)
            shares = portions(made, problem.options, problem.supplies, seconds, problem.urgent, problem.waiting)
            for candidate, share in zip(problem.candidates, shares, strict=True):
                candidate.share = share if share > LEAST_SHARE else 0.0
        return made

    def _problem(self, now: float) -> Problem:
        problem = Problem(now)
        urgent = {tier for batch in self._batches for tier in batch.urgent}
        for line in sorted(self._lines(), key=lambda line: line.name):
            announced = [
                (batch.ahead[line.name], batch.cost(line.name)) for batch in self._batches if line.name in batch.ahead
            ]
            calls, cost = demand(line, announced)
            problem.add(line, calls, cost, urgent=line.name in urgent)
        return problem

    def _time(self, least: float) -> float:
        """How long all of it may take, if `least` is the least.

        With slack the end is settled once, or slack would shrink with what is left to do. It comes nearer when things
        go better than was thought, and is put off when it cannot be kept.
        """
        now, slack = self._latest, min(batch.slack for batch in self._batches)
        earliest = now + least
        if self._end is None:
            self._end = now + least * (1.0 + slack)
        elif earliest < self._earliest:
            self._end -= (self._earliest - earliest) * (1.0 + slack)
        self._earliest = earliest
        self._end = max(self._end, earliest) if slack else earliest
        return self._end - now


def _check_calls(count: object, key: str) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST:
        raise ConfigError(f"must be how many calls are to come, not {count!r}", key=key)


def _release(line: Line) -> None:
    """Without a plan it may take any model of its chain."""
    line.steer(False)
    for candidate in (one for step in line.steps for one in step):
        candidate.share = math.inf
