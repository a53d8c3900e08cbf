"""Pictures on their own, for documents: files whose names stay the same."""

from collections.abc import Sequence
from pathlib import Path

from ratelimit_router.simulation.measures import Summary
from ratelimit_router.simulation.report.progress import comparison
from ratelimit_router.simulation.report.ratios import ratios
from ratelimit_router.simulation.report.shown import Shown, policies_of
from ratelimit_router.simulation.report.svg import drawing

__all__ = ["save_pictures"]


def save_pictures(directory: Path, shown: Sequence[Shown], summaries: Sequence[Summary]) -> tuple[Path, Path]:
    """Write `completed.svg`, the tasks done over time by policy, and `ratios.svg`, the table's ratios as marks.

    `completed.svg` has a panel for each family of `shown`. The directory is made if need be. Raises OSError if a file
    cannot be written.
    """
    policies = policies_of(shown, summaries)
    groups: dict[str, list[Shown]] = {}
    for one in shown:
        groups.setdefault(one.family, []).append(one)
    directory.mkdir(parents=True, exist_ok=True)
    paths = directory / "completed.svg", directory / "ratios.svg"
    with drawing():
        pictures = comparison([*groups.values()], "completed", policies), ratios(summaries, "ratios", policies)
        for path, picture in zip(paths, pictures, strict=True):
            path.write_text(picture.alone(), encoding="utf-8", newline="\n")
    return paths
