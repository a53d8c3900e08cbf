"""The rows of the contest over HTTP, asked for by scenario and contestant."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.over_http.contestants import CONTESTANTS

__all__ = ["Storms"]

UNFAIR = 0.3
"""Others may use that much more of the machine while one contestant plays than while another does."""


class Storms:
    """What `over_http.run` has printed. Who has played a scenario more than once has several rows there."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]):
        self._rows = rows

    def rows(self, scenario: str, contestant: str) -> list[Mapping[str, Any]]:
        """Every run, in the order of their makespans."""
        found = [row for row in self._rows if (row["scenario"], row["contestant"]) == (scenario, contestant)]
        return sorted(found, key=lambda row: (row["failed"], row["makespan"]))

    def median(self, scenario: str, contestant: str) -> Mapping[str, Any] | None:
        """The run in the middle, None if there is none."""
        rows = self.rows(scenario, contestant)
        return rows[len(rows) // 2] if rows else None

    def cpu(self, scenario: str, contestant: str) -> float | None:
        """CPU over the bare client's for as many calls."""
        rows, bare = self.rows(scenario, contestant), self.rows(scenario, "bare")
        if not rows or not bare:
            return None
        mine, least = (statistics.median(float(row["cpu"]) for row in of) for of in (rows, bare))
        return mine / least

    def others(self, contestant: str | None = None) -> float:
        """The share of the machine that others have used, in the run in the middle; of one contestant, or of all."""
        return statistics.median(float(row["others"]) for row in self._rows if contestant in (None, row["contestant"]))

    @property
    def fair(self) -> bool:
        """Whether everybody has met about the same machine."""
        shares = [self.others(name) for name in self.contestants()]
        return max(shares) - min(shares) <= UNFAIR

    def contestants(self) -> list[str]:
        """Who has played against quotas, in the order of the list of contestants."""
        played = {row["contestant"] for row in self._rows}
        return [name for name, one in CONTESTANTS.items() if name in played and one.limited]

    def scenarios(self) -> list[str]:
        """What was played, in that order."""
        return list(dict.fromkeys(row["scenario"] for row in self._rows))
