"""Pictures of how labels were told: all that is drawn stands in the report, so a JSON file serves as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from asr.evaluation.report import EvaluationReport, LabelScores, Reliability
from asr.files import atomic_write
from asr.metrics import Estimate

Floats = npt.NDArray[np.float64]

_DPI = 150
# Blue and orange of Okabe and Ito, which everybody can tell apart.
_NOW, _BEFORE = "#0072b2", "#e69f00"


def write_pictures(report: EvaluationReport, folder: str | Path) -> list[Path]:
    """Write three PNG files per label that was told: its confusion, reliability and risk.

    Args:
        report: Of an evaluation.
        folder: Where they go, as ``intonation-confusion.png``; made if it is missing.

    Returns:
        Their paths; none where no label was told.
    """
    drawn = []
    for told in report.labels:
        for kind, draw in (("confusion", confusion), ("reliability", reliability), ("risk", risk)):
            path = Path(folder) / f"{told.name}-{kind}.png"
            with atomic_write(path, "wb") as handle:
                draw(told).savefig(handle, format="png", dpi=_DPI)
            drawn.append(path)
    return drawn


def confusion(told: LabelScores) -> Figure:
    """The confusion matrix: counts, coloured by their share of the row.

    Args:
        told: The label.
    """
    counts = np.array(told.confusion)
    columns = [*told.labels, "other"]
    if not counts[:, -1].any():
        counts, columns = counts[:, :-1], columns[:-1]
    shares = counts / counts.sum(axis=1, keepdims=True)
    height, width = counts.shape
    figure = Figure(figsize=(3 + 0.7 * width, 2 + 0.6 * height), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    # A label may hold a dollar sign, which would begin a formula.
    axes.set_xticks(range(width), columns, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(height), told.labels, parse_math=False)
    axes.set(xlabel="most probable", ylabel="labelled", title=f"{told.name}, {told.fragments} fragments")
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.colorbar(image, label="share of the row")
    return figure


def reliability(told: LabelScores) -> Figure:
    """How often answers are right by how sure they are, and how many are that sure.

    Args:
        told: The label.
    """
    figure = Figure(figsize=(5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), color="grey", linestyle=":")
    if told.reliability_before is None:
        curves = [("", told.reliability, _NOW)]
    else:
        curves = [
            ("without the temperature, ", told.reliability_before, _BEFORE),
            ("with it, ", told.reliability, _NOW),
        ]
    for name, found, colour in curves:
        x, y, error = _curve(found)
        label = f"{name}calibration error {100 * (found.error.value or 0.0):.1f} points"
        above.errorbar(x, y, error, color=colour, marker="o", capsize=3, label=label)
        counts = [each.fragments for each in found.bins]
        below.stairs(counts, np.linspace(0, 1, len(counts) + 1), color=colour, fill=len(curves) == 1)
    above.set(
        ylabel="share that is right", title=f"{told.name}, {told.fragments} fragments", xlim=(0, 1), ylim=(0, 1.02)
    )
    above.legend(loc="lower right", fontsize="small")
    below.set(xlabel="probability of the most probable label", ylabel="fragments")
    return figure


def risk(told: LabelScores) -> Figure:
    """How much is wrong by how much is answered, the most probable first.

    Args:
        told: The label.
    """
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot()
    points = told.risk.points
    coverage = 100 * np.array([point.coverage for point in points])
    low, value, high = 100 * np.array([_ends(point.risk) for point in points]).T
    axes.plot(coverage, value, color=_NOW, marker="o")
    axes.fill_between(coverage, low, high, color=_NOW, alpha=0.2, linewidth=0)
    area = told.risk.area.value
    title = f"{told.name}, {told.fragments} fragments"
    axes.set(xlabel="answered, %", ylabel="wrong among them, %", title=title, xlim=(0, 101))
    axes.set_ylim(bottom=0)
    if area is not None:
        axes.axhline(100 * area, color="grey", linestyle=":", label=f"mean over all coverages: {100 * area:.1f} %")
        axes.legend(loc="upper left", fontsize="small")
    return figure


def _curve(found: Reliability) -> tuple[Floats, Floats, Floats]:
    """The bins that hold something: mean probability, share that is right, how far its interval goes down and up."""
    points = [(each.confidence, *_ends(each.right)) for each in found.bins if each.confidence is not None]
    x, low, y, high = np.array(points).T
    # The ends of an interval are draws, and those need not lie on both sides.
    return x, y, np.maximum([y - low, high - y], 0)


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    """Low end, value and high end; the value for an end that is not defined."""
    value = np.nan if estimate.value is None else estimate.value
    return (
        value if estimate.low is None else estimate.low,
        value,
        value if estimate.high is None else estimate.high,
    )
