"""The pictures of RESULTS.md, as SVG: calls done over time beside the bound, and what each contestant costs."""

import itertools
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "ratelimit-router", "svg.fonttype": "none", "font.size": 9})

from matplotlib import pyplot as plt  # noqa: E402 -- the backend comes first
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from benchmarks.over_http.contestants import CONTESTANTS  # noqa: E402
from benchmarks.over_http.scenarios import SCENARIOS  # noqa: E402
from benchmarks.report.storms import Storms  # noqa: E402

__all__ = ["draw"]

OURS, BOUND = "#c0392b", "#2c3e50"
OTHERS = ("#7f8c8d", "#2980b9", "#27ae60", "#8e44ad", "#f39c12", "#16a085", "#d35400", "#34495e", "#f1a7c0", "#a0785a")
STEP = 0.1


def draw(storms: Storms, folder: Path) -> dict[Path, str]:
    """Every picture that these rows allow: the file, and what is to be seen."""
    folder.mkdir(exist_ok=True)
    drawn = {}
    for scenario in storms.scenarios():
        if SCENARIOS[scenario].pictured:
            about = f"Calls done over time, {scenario} storm: {SCENARIOS[scenario].about}"
            drawn[_curves(storms, scenario, folder)] = about
    drawn[_bars(storms, "plain", folder)] = "429s and CPU of each contestant in the plain storm"
    return drawn


def _curves(storms: Storms, scenario: str, folder: Path) -> Path:
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    rows = {name: row for name in storms.contestants() if (row := storms.median(scenario, name))}
    longest = max(row["finished"][-1] for row in rows.values() if row["finished"])
    _bound(axes, scenario, longest)
    for (name, row), other in zip(rows.items(), itertools.cycle(OTHERS), strict=False):
        times, ours = row["finished"], name == "ours"
        axes.plot(
            [0.0, *times],
            range(len(times) + 1),
            label=f"{CONTESTANTS[name].title} ({row['rejections']:,} x 429)",
            color=OURS if ours else other,
            linewidth=2.2 if ours else 1.0,
            zorder=3 if ours else 2,
        )
    axes.set(xlabel="seconds", ylabel="calls done", xlim=(0, longest), ylim=(0, SCENARIOS[scenario].calls * 1.03))
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=7.5)
    return _save(figure, folder / f"{scenario}.svg")


def _bound(axes: Axes, scenario: str, longest: float) -> None:
    """The most calls that can have been admitted by then."""
    supplies, calls = SCENARIOS[scenario].supplies(), SCENARIOS[scenario].calls
    times = [number * STEP for number in range(round(longest / STEP))]
    most = [min(calls, sum(supply.most(0.0, at) for supply in supplies)) for at in times]
    axes.plot(times, most, label="fluid bound", color=BOUND, linestyle="--", linewidth=1.2, zorder=4)


def _bars(storms: Storms, scenario: str, folder: Path) -> Path:
    names = storms.contestants()[::-1]
    rows = {name: row for name in names if (row := storms.median(scenario, name))}
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True, layout="constrained")
    titles = [CONTESTANTS[name].title for name in rows]
    colours = [OURS if name == "ours" else "#95a5a6" for name in rows]
    for axes, key, label in ((left, "rejections", "answers with 429"), (right, "cpu", "seconds of client CPU")):
        bars = axes.barh(titles, [row[key] for row in rows.values()], color=colours)
        axes.bar_label(bars, fmt="{:,.4g}", padding=3, fontsize=7.5)
        axes.set_xlabel(label)
        axes.margins(x=0.18)
        axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, folder / f"{scenario}-cost.svg")


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return path
