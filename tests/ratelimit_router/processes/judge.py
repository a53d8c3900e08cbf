"""Whether what several processes did was allowed, from what they have written down.

How jitter is told from over-admission: every call has two instants, AT, for which the store granted it, and REAL, at
which it was made, both on the machine's one clock. The windows are judged by AT, exactly, with nothing to allow for. A
call may be made later than AT (the answer's way, a busy processor, a process that stands still): that is jitter, no
store can help it, and it is told apart (`late`). It must not be made earlier (`early`), but for the microsecond that
a timer may be ahead. So of every window of calls as they were made, shorter by as much as its calls were late, the same
is true as of the windows of the store.

Calls in flight are judged by the instants at which they were made and ended: the line of a call is written after its
grant and the line of its end before the store is told, so it lies within what the store counts. A call of a process
that was killed, or stood still, counts until its lease must have expired.

Of tokens the judge counts what was really used: never more than the store did.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from ratelimit_router.limits import Quota
from tests.ratelimit_router.processes.quotas import BINDING, COST, Scheme

__all__ = ["Call", "Verdict", "judge", "read"]

AHEAD = 2
"""Microseconds by which a timer may be ahead: one, and the rounding of a float that counts from 1970."""
READY = 0.25
"""Seconds that workers may take until the first of them calls; more is lost."""
STEP = 2_000
"""Microseconds by which the machine's two clocks may drift apart in one run; more would be a clock that was set."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One line of a worker, and the line of its end (None: there is none). Microseconds."""

    model: str
    at: int
    made: int
    steady: int
    tokens: int
    ended: int | None = None


@dataclass(slots=True, kw_only=True)
class Verdict:
    """`over`: units beyond what was allowed, by quota. `early`, `late` (ms: median, 99%, most): see above.

    `share`: of what was possible, by quota, as far as it is counted. `busy`: the same by time: how long each unit of a
    rolling quota did not lie idle. `most`: calls in flight at once. `acts`: of the store, for `counted` calls.
    `jitter`: ms by which calls came too close as they were made: what `guard` is for.
    """

    calls: int
    over: dict[str, int] = field(default_factory=dict)
    early: int = 0
    late: tuple[float, float, float] = (0.0, 0.0, 0.0)
    share: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    acts: Counter[str] = field(default_factory=Counter)
    counted: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    jitter: float = 0.0

    @property
    def excess(self) -> int:
        """Everything that was too much, or too early."""
        return sum(self.over.values()) + self.early

    @property
    def used(self) -> float:
        """Share of what was possible, over all quotas that hold calls back."""
        return sum(self.share.values()) / len(self.share)

    @property
    def occupied(self) -> float:
        """The same by time."""
        return sum(self.busy.values()) / len(self.busy)

    @property
    def asks(self) -> float:
        """Times the store was asked to admit, for one call."""
        return self.acts["admit"] / max(self.counted, 1)


def read(files: Iterable[Path]) -> tuple[list[Call], list[dict[str, Counter[str]]]]:
    """All calls, and what workers say of themselves. A line that a killed process has not finished is left out."""
    calls: list[Call] = []
    told = []
    for file in files:
        own: dict[str, Call] = {}
        for line in file.read_text().splitlines(keepends=True):
            kind, *words = line.split(" ", 1 if line.startswith("S") else -1)
            if not line.endswith("\n"):
                continue
            if kind == "S":
                told.append(json.loads(words[0]))
            elif kind == "G":
                at, made, steady, tokens = map(int, words[2:])
                own[words[0]] = Call(model=words[1], at=at, made=made, steady=steady, tokens=tokens)
            else:
                own[words[0]].ended, own[words[0]].tokens = int(words[1]), int(words[2])
        calls += own.values()
    return sorted(calls, key=lambda one: one.at), told


def judge(
    calls: Sequence[Call],
    told: Iterable[dict[str, Counter[str]]],
    scheme: Scheme,
    *,
    lease: float,
    go: float,
    until: float,
) -> Verdict:
    """`go`, `until`: monotonic seconds from and up to which the workers called."""
    verdict = Verdict(calls=len(calls))
    assert calls, "nobody has called anything"
    drift = _drift(calls)
    begun, done = min(calls[0].at, int((go + READY) * 1e6) + drift), int(until * 1e6) + drift
    for name, quota, models in scheme.quotas():
        spent = [(one.at, 1 if quota.unit == "requests" else one.tokens) for one in calls if one.model in models]
        verdict.over[name] = _excess(quota, spent)
        if name in BINDING:
            verdict.share[name], verdict.busy[name] = _share(quota, spent, begun, done)
        if quota.refill == "rolling" and quota.unit == "requests":
            made = sorted(one.made for one in calls if one.model in models)
            verdict.jitter = max(verdict.jitter, _jitter(quota, made))
    for name, limit, models in scheme.slots():
        verdict.over[name], verdict.most[name] = _in_flight(limit, [one for one in calls if one.model in models], lease)
    late = sorted((one.made - one.at) / 1e3 for one in calls)
    verdict.early = sum(one.made < one.at - AHEAD for one in calls)
    verdict.late = late[len(late) // 2], late[int(len(late) * 0.99)], late[-1]
    for one in told:
        verdict.acts.update(one["acts"])
        verdict.errors.update(one["errors"])
        verdict.counted += int(one["calls"])  # type: ignore[call-overload]
    return verdict


def _drift(calls: Sequence[Call]) -> int:
    """Microseconds from the monotonic clock to the clock of the day, which nobody has set meanwhile."""
    drifts = [one.made - one.steady for one in sorted(calls, key=lambda one: one.steady)]  # or more: read one by one
    half = len(drifts) // 2 + 1
    before, after = min(drifts[:half]), min(drifts[-half:])
    assert abs(after - before) < STEP, "the clock of this machine was set: judge another run"
    return before


def _excess(quota: Quota, spent: Sequence[tuple[int, int]]) -> int:
    """Units beyond what was allowed, in any window."""
    capacity, period = int(quota.capacity), round(quota.period * 1e6)
    if quota.refill == "continuous":
        return _excess_of_bucket(quota, spent)
    if quota.refill == "calendar":
        windows: Counter[int] = Counter()
        for at, cost in spent:
            windows[0 if quota.daily else at // period] += cost  # no run goes on over a daily reset
        return sum(max(used - capacity, 0) for used in windows.values())
    excess = used = oldest = 0
    for at, cost in spent:
        used += cost
        while spent[oldest][0] <= at - period:
            used -= spent[oldest][1]
            oldest += 1
        excess += min(max(used - capacity, 0), cost)
    return excess


def _excess_of_bucket(quota: Quota, spent: Sequence[tuple[int, int]]) -> int:
    rate, level, before, excess = Fraction(int(quota.amount), round(quota.period * 1e6)), Fraction(0), 0, 0
    capacity = Fraction(int(quota.capacity))
    for at, cost in spent:
        level = min(capacity, level + (at - before) * rate) - cost
        before = at
        if level < 0:
            excess += min(cost, -int(level // 1))
    return excess


def _share(quota: Quota, spent: Sequence[tuple[int, int]], begun: int, done: int) -> tuple[float, float]:
    """Of what could have been used from `begun` to `done`: by count, and by time."""
    period, sure = round(quota.period * 1e6), [(at, cost) for at, cost in spent if at < done]
    capacity = quota.capacity if quota.unit == "requests" else quota.capacity - COST // 2  # too little for one more
    total = sum(cost for _, cost in sure)
    if quota.daily:
        return (total / capacity,) * 2
    if quota.refill == "continuous":
        return (total / (capacity + (done - begun) * quota.amount // period),) * 2
    if quota.refill == "calendar":
        edges = [begun, *range((begun // period + 1) * period, done, period), done]
        windows = {one // period for one, other in itertools.pairwise(edges) if other - one > period / 5}
        used = sum(cost for at, cost in sure if at // period in windows)
        return (used / (capacity * len(windows)) if windows else 1.0,) * 2
    busy = sum(cost * (min(at + period, done) - at) for at, cost in sure)
    return min(total / (capacity * -((begun - done) // period)), 1.0), busy / (quota.capacity * (done - begun))


def _jitter(quota: Quota, made: Sequence[int]) -> float:
    """Milliseconds by which calls came too close, as they were made: what `guard` is for."""
    capacity, period = int(quota.capacity), round(quota.period * 1e6)
    gaps = (later - one for one, later in zip(made, made[capacity:], strict=False))
    return max((period - gap for gap in gaps), default=0) / 1e3


def _in_flight(limit: int, calls: Sequence[Call], lease: float) -> tuple[int, int]:
    """Calls beyond the limit, and the most at once."""
    lasts, events = round(lease * 1e6), []
    for one in calls:
        expires = one.at + lasts
        end = expires if one.ended is None else min(one.ended, expires)
        if end > one.made:
            events += [(one.made, 1), (end, -1)]
    running = most = excess = 0
    for _, change in sorted(events):
        running += change
        most = max(most, running)
        excess += change > 0 and running > limit
    return excess, most
