"""How a backlog is best split over models: the least time in which all of it can be started, then the best choices.

Greedy dispatch lets a tier that may use any model eat up the one that another tier cannot do without. A linear program
sees both. `plan` asks for (HiGHS, through SciPy)

1. the least horizon at which nothing is left over. Supplies grow with the horizon in steps and ramps, so it is found by
   cutting planes: what is left over at some horizon comes with a price for each supply (the dual solution), which tells
   the first horizon at which these supplies could be enough; there it is tried again, until nothing is left;
2. the least horizon for what is urgent in it, found likewise, such that the rest still is done in time;
3. the split within these horizons in which as many calls as possible get an early step of their chain.

It treats calls as fluid and every call of a backlog as its mean, so it must be asked again as things go on.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratelimit_router.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LONGEST", "Option", "Plan", "Supply", "plan", "require_solver"]

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
    """`shares`: how many calls go each way, option by option, within `horizon` seconds. `least`: the least time.

    Backlogs that cannot be done in a week are not planned: the shares of their options are infinite.
    """

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
    urgent: Collection[int] = (),
) -> Plan | None:
    """The split of `demands` (calls to come, by backlog) over the options; None if nothing can be done in a week.

    `horizon` says how long it may take, given the least time in which it can be done (seconds); by default no longer.
    `urgent`: backlogs that are done as early as they can be without any harm to that.
    """
    program = _Program(demands, options, supplies)
    everything = program.rows(range(len(demands)))
    if (least := program.search(everything, [])) is None:
        beyond = program.drop(everything)
        if len(beyond) == len(demands) or (least := program.search(everything, [])) is None:
            return None
    else:
        beyond = frozenset()
    time = horizon(least)
    blocks = [(everything, program.amounts(time))]
    if urgent and len(urgent) < len(demands):
        early = program.rows(urgent)
        if (sooner := program.search(early, blocks)) is not None:
            blocks.append((early, program.amounts(sooner)))
    shares = program.best_choices(blocks)
    spared = (float("inf") if one.demand in beyond else share for one, share in zip(options, shares, strict=True))
    return Plan(least, time, tuple(spared))


Block = tuple["NDArray[Any]", list[float]]
"""Rows of a linear program, one a supply: what some of the options use of it; and how much there is of each."""


class _Program:
    """The linear programs of one plan. Columns: the options, then what is left over of each demand."""

    def __init__(self, demands: Sequence[float], options: Sequence[Option], supplies: Sequence[Supply]):
        import numpy as np

        self._options, self._supplies = options, supplies
        self._demands = np.asarray(demands, dtype=float)
        width = len(options) + len(demands)
        self._served = np.zeros((len(demands), width))
        self._used = np.zeros((len(supplies), width))
        for column, option in enumerate(options):
            self._served[option.demand, column] = 1.0
            for supply, amount in option.uses:
                self._used[supply, column] = amount
        for row in range(len(demands)):
            self._served[row, len(options) + row] = 1.0

    def amounts(self, horizon: float) -> list[float]:
        """What every supply gives within so many seconds."""
        return [supply(horizon) for supply in self._supplies]

    def rows(self, demands: Collection[int]) -> "NDArray[Any]":
        """What the options of these demands use of each supply."""
        chosen = [float(option.demand in demands) for option in self._options]
        return self._used * ([*chosen, *[1.0] * len(self._demands)])

    def search(self, rows: "NDArray[Any]", given: Sequence[Block]) -> float | None:
        """The least horizon at which nothing is left over, if what these rows use has to be there by then.

        `given`: what holds besides. None: it is more than a week away.
        """
        least = 0.0
        for _ in range(ROUNDS):
            left, prices, price = self._left_over([*given, (rows, self.amounts(least))])
            if left <= LEFT_OVER * self._demands.sum():
                break
            later = self._enough(prices, price, least)
            if later > LONGEST:
                return None
            least = max(later, least + CLOSE)
        return least

    def drop(self, rows: "NDArray[Any]") -> frozenset[int]:
        """Leave out the demands that cannot be done in a week."""
        solved = self._solve(self._only_left_over, [(rows, self.amounts(LONGEST))])
        left = solved.x[len(self._options) :]
        beyond = frozenset(
            i for i, (one, all_) in enumerate(zip(left, self._demands, strict=True)) if one > LEFT_OVER * all_
        )
        for demand in beyond:
            self._demands[demand] = 0.0
        return beyond

    def best_choices(self, blocks: Sequence[Block]) -> tuple[float, ...]:
        """How many calls go each way. What is left over for rounding's sake costs more than any choice."""
        chosen = [1.0 + LATER_STEP * option.depth if option.depth else 0.0 for option in self._options]
        solved = self._solve([*chosen, *[1e3] * len(self._demands)], blocks)
        return tuple(map(float, solved.x[: len(self._options)]))

    @property
    def _only_left_over(self) -> list[float]:
        return [0.0] * len(self._options) + [1.0] * len(self._demands)

    def _left_over(self, blocks: Sequence[Block]) -> tuple[float, list[float], float]:
        """Calls left over, the price of each supply of the last block, and what that had to be worth for none to be."""
        solved = self._solve(self._only_left_over, blocks)
        prices = [max(-float(each), 0.0) for each in solved.ineqlin.marginals]
        amounts = [amount for _, given in blocks for amount in given]
        last = len(prices) - len(self._supplies)
        given = sum(price * amount for price, amount in zip(prices[:last], amounts[:last], strict=True))
        return float(solved.fun), prices[last:], float(self._demands @ solved.eqlin.marginals) - given

    def _enough(self, prices: Sequence[float], price: float, least: float) -> float:
        """The first horizon after `least` at which the supplies, at these prices, are worth `price`."""
        priced = [(each, supply) for each, supply in zip(prices, self._supplies, strict=True) if each]

        def worth(horizon: float) -> float:
            return sum(each * supply(horizon) for each, supply in priced)

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

    def _solve(self, cost: Sequence[float], blocks: Sequence[Block]) -> Any:
        import numpy as np
        from scipy.optimize import linprog

        used, amounts = np.vstack([rows for rows, _ in blocks]), [amount for _, given in blocks for amount in given]
        solved = linprog(cost, used, amounts, self._served, self._demands, method="highs")
        if solved.status != 0:
            raise ArithmeticError(f"the solver gave up: {solved.message}")
        return solved
