"""RESULTS.md and its pictures, from results.json: nothing here measures anything."""

from benchmarks.report.page import write

__all__ = ["write"]
