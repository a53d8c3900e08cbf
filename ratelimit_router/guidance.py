"""A batch under way: every few seconds a plan says how many calls of which line go to which model.

What the plan leaves of a line's share in a model is kept on the candidate (`Candidate.share`); once it is used up the
line does not take that model, free or not, until the next plan. Everything else is as without a batch: the order in a
line, weights, reservations. Lines of no batch are not steered, and see no plan.

What it does badly: it plans for the backlog, not for calls that nobody has announced.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ratelimit_router.backlog import Problem, Steered
from ratelimit_router.bucket import Cost
from ratelimit_router.errors import ConfigError
from ratelimit_router.lease import cost_of
from ratelimit_router.planner import Plan, plan, portions, require_solver
from ratelimit_router.queue import Line
from ratelimit_router.selection import Candidate

if TYPE_CHECKING:
    from ratelimit_router.messages import Usage

__all__ = ["Batch", "Guide"]

EVERY = 5.0
"""Seconds after which a plan is made anew..."""
SOONEST = 1.0
"""...and the least between two, when something has changed, or a model is free that the plan forbids."""
PART = 0.02
"""...but in a long run plans are as far apart as this part of what is left of it."""
LEAST_SHARE = 1e-3
"""Calls. What is left of a share below this is rounding."""
MOST = 10**12
"""More than any backlog."""

log = logging.getLogger("ratelimit_router")


class Batch:
    """Calls that are to come, announced: while it is open, a plan steers their tiers. Made by `Router.batch`.

    Enter it (`with` or `async with`) before the first call and leave it after the last.
    """

    def __init__(self, guide: "Guide", calls: Mapping[str, int], costs: Mapping[str, Cost], slack: float):
        self._guide, self.calls, self.costs, self.slack = guide, calls, costs, slack

    def __enter__(self) -> Self:
        self._guide.open(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._guide.close(self)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


class Guide:
    """Keeps the plan of a router. `find_line`: of a tier. `drain`: see `Dispatcher`."""

    def __init__(self, find_line: Callable[[str], Line], drain: Callable[[], None]):
        self._find, self._drain = find_line, drain
        self._batches: list[Batch] = []
        self._steered: dict[Line, Steered] = {}
        self._due = self._latest = -math.inf
        self._end: float | None = None  # when all is to be done
        self._earliest = -math.inf  # when it could be, as far as the latest plan knew
        self.plan: Plan | None = None

    def __bool__(self) -> bool:
        return bool(self._batches)

    # -- what is to be steered -----------------------------------------------------------------------------------------

    def batch(self, calls: Mapping[str, int], tokens: "Mapping[str, int | Usage]", slack: float) -> Batch:
        """A batch to be entered. Raises UnknownTier, and ConfigError for numbers that make no sense."""
        require_solver()
        if not 0 <= slack < math.inf:
            raise ConfigError(f"must be 0 or more, a share of the least time, not {slack}", key="slack")
        for tier, count in calls.items():
            self._find(tier)
            _check_calls(count, f"calls.{tier}")
        if unknown := set(tokens) - set(calls):
            raise ConfigError("is not among the calls of the batch", key=f"tokens.{min(unknown)}")
        return Batch(self, dict(calls), {tier: cost_of(each) for tier, each in tokens.items()}, slack)

    def open(self, batch: Batch) -> None:
        """From now on its tiers are steered."""
        self._batches.append(batch)
        self._end = None
        for tier, calls in batch.calls.items():
            line = self._find(tier)
            steered = self._steered.setdefault(line, Steered(line, 0.0, batch.costs.get(tier, (1, 0, 0, 0))))
            steered.ahead += calls
            line.steer(True)
        self.stale()
        self._drain()

    def close(self, batch: Batch) -> None:
        """It is over. Lines that no other batch is about are free again."""
        self._batches.remove(batch)
        kept = {tier for one in self._batches for tier in one.calls}
        for line in [one for one in self._steered if one.name not in kept]:
            self._forget(line)
        self.stale()
        self._drain()

    def reconfigured(self, gone: Iterable[Line]) -> None:
        """Chains have changed, and these lines are no longer there."""
        for line in gone:
            self._forget(line)
        self._due = -math.inf

    def _forget(self, line: Line) -> None:
        if self._steered.pop(line, None) is not None:
            line.steer(False)
            _release([line])

    def stale(self) -> None:
        """Something has changed that the plan does not know."""
        self._due = min(self._due, self._latest + SOONEST)

    def granted(self, line: Line, candidate: Candidate) -> None:
        """A call has got its lease."""
        candidate.share -= 1.0
        if (steered := self._steered.get(line)) is not None and steered.ahead > 0:
            steered.ahead -= 1.0

    def failed(self, candidate: Candidate) -> None:
        """A call has to be made again."""
        for line, steered in self._steered.items():
            if line.name == candidate.tier:
                steered.ahead += 1.0

    # -- the plan ------------------------------------------------------------------------------------------------------

    def steer(self, now: float) -> None:
        """Make the plan anew if it is time."""
        if now < self._due or not self._batches:
            return
        self._latest = now
        self.plan = self._make(now)
        self._due = now + self._interval(self.plan)

    def look_again(self, now: float) -> float:
        """Everybody was served who could be: when to look again for the others, whom the plan may keep from a model."""
        if any(self._idle(line, now) for line in self._steered if line.length):
            self._due = min(self._due, max(self._latest + SOONEST, now))
        return self._due

    def _idle(self, line: Line, now: float) -> bool:
        head = line.heads()[0]
        return any(one.share <= LEAST_SHARE and one.account.fits(head.cost, now) for step in line.steps for one in step)

    def _make(self, now: float) -> Plan | None:
        found = [(one, *one.demand()) for one in self._steered.values()]
        backlog = [(one.line, calls, cost) for one, calls, cost in found if calls > 0]
        _release([one.line for one, _, _ in found])
        if not backlog:
            self._end = None
            return None
        problem = Problem(backlog, now)
        try:
            made = plan(problem.demands, problem.options, problem.supplies, self._time)
        except ArithmeticError as error:
            log.warning("no plan could be made, so each line takes what is free: %s", error)
            return None
        if made is not None:
            shares = portions(made, problem.options, problem.supplies, self._interval(made))
            for candidate, share in zip(problem.candidates, shares, strict=True):
                candidate.share = share if share > LEAST_SHARE else 0.0
        return made

    def _interval(self, made: Plan | None) -> float:
        return EVERY if made is None else max(EVERY, PART * made.horizon)

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


def _release(lines: Iterable[Line]) -> None:
    """Without a plan every line may take any model of its chain."""
    for candidate in (one for line in lines for step in line.steps for one in step):
        candidate.share = math.inf
