"""How long a request will probably wait: its quota, and those ahead of it in line.

Exact for one model and one line. Where several models serve a line, those ahead are split over them by their rates;
where several lines draw on one model, each is counted up to its weight's share. It is used to decide (fall back or
wait, refuse or queue), never to admit.
"""

import math

from ratelimit_router.account import Account
from ratelimit_router.bucket import Cost
from ratelimit_router.queue import Line, Queue, Waiter
from ratelimit_router.selection import Candidate, Steps

__all__ = ["bound", "earliest", "reach", "still_worth_waiting"]


def earliest(queue: Queue, line: Line, cost: Cost, priority: int, now: float, step: int | None = None) -> float:
    """When a newcomer of this cost will probably be served by `step` (None: any); infinity if that cannot be told."""
    steps = line.steps if step is None else line.steps[step : step + 1]
    return min(_expected(queue, line, one.account, cost, priority, now, step or 0) for row in steps for one in row)


def bound(queue: Queue, line: Line, cost: Cost, priority: int, now: float) -> float:
    """No newcomer of this cost is served before this: by quotas, cooldowns and, on a chain of one model, its own line.

    How long calls take, and what other lines do, is not counted: they may surprise. So this may refuse a request.
    """
    accounts = [one.account for step in line.steps for one in step]
    ahead = line.lanes[-1].ahead(priority) if len(accounts) == 1 and line.length else (0, 0, 0, 0)
    whole = (cost[0] + ahead[0], cost[1] + ahead[1], cost[2] + ahead[2], cost[3] + ahead[3])
    return min(account.bound(whole, now) for account in accounts if not account.hopeless(cost))


def reach(queue: Queue, line: Line, cost: Cost, priority: int, now: float, patience: float) -> int:
    """The lane to wait in: the first step that is expected to be free within `patience`, else the last."""
    last = len(line.steps) - 1
    if patience > 0:
        for depth in range(last):
            expected = earliest(queue, line, cost, priority, now, depth)
            if expected <= now + patience and (expected < math.inf or not _dead(line.steps[depth], cost)):
                return depth
    return last


def still_worth_waiting(waiter: Waiter, now: float) -> int:
    """The lane in which a waiter should be now that something closed: its own, or a deeper one."""
    steps = waiter.line.steps
    for depth in range(waiter.lane, len(steps) - 1):
        rows = [one.account for row in steps[: depth + 1] for one in row]
        expected = min(account.expected(waiter.cost, now) for account in rows)
        if expected <= waiter.patient_until and (expected < math.inf or not _dead(steps[depth], waiter.cost)):
            return depth
    return len(steps) - 1


def _dead(step: tuple[Candidate, ...], cost: Cost) -> bool:
    return all(one.account.hopeless(cost) for one in step)


def _expected(queue: Queue, line: Line, account: Account, cost: Cost, priority: int, now: float, depth: int) -> float:
    if account.hopeless(cost):
        return math.inf
    ahead = [0.0, 0.0, 0.0, 0.0]
    if queue.length:
        _count_own_line(ahead, line, account, priority, depth)
        _count_other_lines(ahead, queue, line, account)
    requests, inputs, outputs, total = (mine + before for mine, before in zip(cost, ahead, strict=True))
    return account.expected((requests, inputs, outputs, total), now)


def _count_own_line(ahead: list[float], line: Line, account: Account, priority: int, depth: int) -> None:
    for lane in range(depth, len(line.lanes)):
        backlog = line.lanes[lane].ahead(priority)
        if backlog[0]:
            _add(ahead, backlog, _share(line.steps[: lane + 1], account, backlog))


def _count_other_lines(ahead: list[float], queue: Queue, line: Line, account: Account) -> None:
    mine = ahead[0] + 1.0
    for other in queue.lines:
        if other is line:
            continue
        for lane in range(len(other.lanes)):
            backlog = other.lanes[lane].ahead(-(2**62))
            if backlog[0] and (share := _share(other.steps[: lane + 1], account, backlog)):
                fair = mine * line.stride / other.stride  # what its weight lets it take while mine are served
                _add(ahead, backlog, min(share, fair / backlog[0]))


def _add(ahead: list[float], backlog: Cost, share: float) -> None:
    requests = math.floor(backlog[0] * share + 1e-9)
    for unit, amount in enumerate(backlog):
        ahead[unit] += amount * requests / backlog[0]


def _share(steps: Steps, account: Account, backlog: Cost) -> float:
    """The part of a backlog that this account will probably serve, by the rates of all that could."""
    accounts = {one.account for step in steps for one in step}
    if account not in accounts:
        return 0.0
    rates = {one: one.rate(backlog) for one in accounts}
    if math.isinf(rates[account]):
        return 1.0 / sum(map(math.isinf, rates.values()))
    whole = sum(rates.values())
    return rates[account] / whole if whole and whole < math.inf else 0.0
