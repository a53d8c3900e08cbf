"""One run that a report shows in pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

from ratelimit_router.simulation.measures import Measures, Summary
from ratelimit_router.simulation.run import Run

__all__ = ["Shown", "policies_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A run that was watched, and its figures. `binding`: what the least possible makespan is due to, in words."""

    run: Run
    measures: Measures
    binding: str = ""

    @property
    def family(self) -> str:
        """Of its scenario."""
        return self.measures.family

    @property
    def policy(self) -> str:
        """Who scheduled it."""
        return self.measures.policy

    @property
    def end(self) -> float:
        """Seconds that its pictures show: until the last task was over, and the least possible makespan at least."""
        return max(self.run.makespan, self.measures.bound_seconds or 0.0, 1.0)


def policies_of(shown: Sequence[Shown], summaries: Sequence[Summary]) -> list[str]:
    """Every policy once, in the order of the table: its place decides its colour."""
    return list(dict.fromkeys([*(one.policy for one in summaries), *(one.policy for one in shown)]))
