"""How a backlog is best split over models: the least time in which all of it can be started, then the best choices.

Greedy dispatch lets a tier that may use any model eat up the one that another tier cannot do without. A linear program
sees both. `plan` solves two of them (HiGHS, through SciPy):

1. The least horizon at which nothing is left over. Supplies grow with the horizon in steps and ramps, so it is found by
   cutting planes: what is left over at some horizon comes with a price for each supply (the dual solution), which tells
   the first horizon at which these supplies could be enough; there it is tried again, until nothing is left.
2. At that horizon, or a longer one for whoever can wait, the split in which as many calls as possible get an early step
   of their chain.

It treats calls as fluid and every call of a backlog as its mean, so it must be asked again as things go on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ratelimit_router.errors import ConfigError

__all__ = ["Option", "Plan", "Supply", "plan", "portions", "require_solver"]

Supply = Callable[[float], float]
"""How much of something can be spent within so many seconds from now; it never falls."""

LONGEST = 7 * 86_400.0
"""Seconds. What takes longer is not planned."""
ROUNDS = 20
"""Cuts at most; each is a horizon that cannot do, so the last one is good enough to go on with."""
CLOSE = 1e-3
"""Seconds within which a horizon is found."""
LEFT_OVER = 1e-6
"""Share of the calls that may be left over for the solver's sake."""
FULL = 0.9
"""Share of a supply from which on it counts as used up."""
DIGITS = 2
"""To which two options need the same of a supply."""
LATER_STEP = 1e-2
"""What it costs to go one step further down a chain, beside leaving the first."""


@dataclass(frozen=True, slots=True)
class Option:
    """Calls of backlog `demand` may go this way, `depth` steps down their chain; each takes so much of each supply."""

    demand: int
    depth: int
    uses: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """`shares`: how many calls go each way, option by option, within `horizon` seconds. `least`: the least time."""

    least: float
    horizon: float
    shares: tuple[float, ...]


def require_solver() -> None:
    """Raises ConfigError, with the name of the extra, unless the solver is installed."""
    try:
        import scipy.optimize  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError("planning needs SciPy: pip install 'ratelimit-router[plan]'") from error


def plan(
    demands: Sequence[float],
    options: Sequence[Option],
    supplies: Sequence[Supply],
    horizon: Callable[[float], float] = float,
) -> Plan | None:
    """The split of `demands` (calls to come, by backlog) over the options; None if it cannot be done in a week.

    `horizon` says how long it may take, given the least time in which it can be done (seconds); by default no longer.
    """
    program = _Program(demands, options, len(supplies))
    least = 0.0
    for _ in range(ROUNDS):
        amounts = [supply(least) for supply in supplies]
        left, prices, price = program.left_over(amounts)
        if left <= LEFT_OVER * sum(demands):
            break
        later = _enough(supplies, prices, price, least)
        if later > LONGEST:
            return None
        least = max(later, least + CLOSE)
    time = horizon(least)
    shares = program.best_choices([supply(time) for supply in supplies])
    return Plan(least, time, shares) if shares else None


def portions(made: Plan, options: Sequence[Option], supplies: Sequence[Supply], seconds: float) -> tuple[float, ...]:
    """What of each share is for the next so many seconds: all of it, if it does not matter who goes first.

    It does where one scarce supply serves options of which some are held back by another scarce one as well, a pool's
    quota and a model's own, say. Who is free to go ahead would use the first up, and leave the second idle for good. So
    each gets as much of its share as the supply gives of what it will give in all.
    """
    part = [1.0] * len(options)
    scarce = _scarce(made, options, supplies)
    for supply in scarce:
        users = [index for index, option in enumerate(options) if made.shares[index] and _use(option, supply)]
        if len({_needs(options[index], supply, scarce) for index in users}) > 1:
            given = min(supplies[supply](seconds) / supplies[supply](made.horizon), 1.0)
            for index in users:
                part[index] = min(part[index], given)
    return tuple(share * each for share, each in zip(made.shares, part, strict=True))


def _scarce(made: Plan, options: Sequence[Option], supplies: Sequence[Supply]) -> list[int]:
    """The supplies of which a plan leaves nothing."""
    used = [0.0] * len(supplies)
    for option, share in zip(options, made.shares, strict=True):
        for supply, amount in option.uses:
            used[supply] += share * amount
    return [index for index, amount in enumerate(used) if amount > 0 and amount >= supplies[index](made.horizon) * FULL]


def _use(option: Option, supply: int) -> float:
    return sum(amount for one, amount in option.uses if one == supply)


def _needs(option: Option, supply: int, scarce: Sequence[int]) -> tuple[tuple[int, float], ...]:
    """What it takes of the scarce supplies for each unit of this one."""
    own = _use(option, supply)
    return tuple((one, round(amount / own, DIGITS)) for one, amount in option.uses if one in scarce)


def _enough(supplies: Sequence[Supply], prices: Sequence[float], price: float, least: float) -> float:
    """The first horizon after `least` at which the supplies, at these prices, are worth `price`."""

    def worth(horizon: float) -> float:
        return sum(each * supply(horizon) for each, supply in zip(prices, supplies, strict=True) if each)

    step = 1.0
    while worth(least + step) < price:
        step *= 2.0
        if step > LONGEST:
            return 2.0 * LONGEST
    low, high = least, least + step
    while high - low > CLOSE:
        middle = (low + high) / 2.0
        low, high = (low, middle) if worth(middle) >= price else (middle, high)
    return high


class _Program:
    """The linear programs of one plan. Columns: the options, then what is left over of each demand."""

    def __init__(self, demands: Sequence[float], options: Sequence[Option], supplies: int):
        import numpy as np

        width = len(options) + len(demands)
        self._demands, self._options = np.asarray(demands, dtype=float), options
        self._served = np.zeros((len(demands), width))
        self._used = np.zeros((supplies, width))
        for column, option in enumerate(options):
            self._served[option.demand, column] = 1.0
            for supply, amount in option.uses:
                self._used[supply, column] = amount
        for row in range(len(demands)):
            self._served[row, len(options) + row] = 1.0

    def left_over(self, amounts: Sequence[float]) -> tuple[float, list[float], float]:
        """Calls left over, the price of each supply, and what the supplies had to be worth for none to be."""
        cost = [0.0] * len(self._options) + [1.0] * len(self._demands)
        solved = self._solve(cost, amounts)
        prices = [max(-float(each), 0.0) for each in solved.ineqlin.marginals]
        return float(solved.fun), prices, float(self._demands @ solved.eqlin.marginals)

    def best_choices(self, amounts: Sequence[float]) -> tuple[float, ...]:
        """How many calls go each way. What is left over for rounding's sake costs more than any choice."""
        chosen = [1.0 + LATER_STEP * option.depth if option.depth else 0.0 for option in self._options]
        solved = self._solve([*chosen, *[1e3] * len(self._demands)], amounts)
        return tuple(map(float, solved.x[: len(self._options)]))

    def _solve(self, cost: Sequence[float], amounts: Sequence[float]) -> Any:
        from scipy.optimize import linprog

        solved = linprog(cost, self._used, amounts, self._served, self._demands, method="highs")
        if solved.status != 0:
            raise ArithmeticError(f"the solver gave up: {solved.message}")
        return solved
