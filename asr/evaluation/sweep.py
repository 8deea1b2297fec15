"""The sweep after training (WiSE-FT): what share of the new is best for the dialect and loses no standard speech."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from asr.evaluation.retention import counts_of, unmeasured
from asr.evaluation.run import evaluate
from asr.files import atomic_write
from asr.fragment import Fragment, read_numbered
from asr.inference.transcriber import Transcriber
from asr.metrics.retention import Count, Verdict, choose, judge
from asr.model.checkpoint import Checkpoint
from asr.model.interpolate import interpolate
from asr.privacy.consent import ConsentCheck

DIALECT, STANDARD = "dialect", "standard"
_PROTECTED = f"test_set={STANDARD}"
_DPI = 150
# Blue and orange of Okabe and Ito, which everybody can tell apart.
_POINTS, _CHOSEN = "#0072b2", "#e69f00"


@dataclass(frozen=True, slots=True)
class Point:
    """One share of the adapted model, and what it reaches.

    Attributes:
        share: From 0, the base, to 1, the adapted model.
        dialect: Word errors in the dialect's fragments.
        standard: Word errors in standard speech.
        verdict: What the gate says of it.
    """

    share: float
    dialect: Count
    standard: Count
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Sweep:
    """All points, in order, and the chosen one.

    Attributes:
        points: By rising share.
        limit: By how many percent of the base's errors a protected group may get worse.
        chosen: The point with the best worst dialect of those that pass the gate; None if none passes.
        unmeasured: Abilities that the fragments did not let anybody measure, so that the gate says nothing of them.
    """

    points: tuple[Point, ...]
    limit: float
    chosen: Point | None
    unmeasured: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for JSON; WERs in percent."""
        return {
            "limit": self.limit,
            "chosen": None if self.chosen is None else self.chosen.share,
            "unmeasured": list(self.unmeasured),
            "points": [
                {
                    "share": point.share,
                    "dialect_wer": point.dialect.wer,
                    "standard_wer": point.standard.wer,
                    "worst_dialect": point.verdict.worst,
                    "worst_dialect_wer": point.verdict.wer,
                    "harmed": [harm.group for harm in point.verdict.harmed],
                }
                for point in self.points
            ],
        }


def sweep(
    base: Checkpoint,
    adapted: Checkpoint,
    dialect: Path,
    standard: Path,
    shares: Sequence[float],
    *,
    protected: Sequence[str] = (_PROTECTED,),
    limit: float = 2.0,
    consent: ConsentCheck | None = None,
    transcriber: Callable[[Checkpoint], Transcriber] = Transcriber,
) -> Sweep:
    """Score every share on development fragments, and choose one.

    Args:
        base: The tight base that training started from; the gate compares with it.
        adapted: What came of it.
        dialect: Manifest of fragments in the dialects that were learnt.
        standard: Manifest of fragments of standard speech.
        shares: Of the adapted model; 0 is scored in any case, being what the gate compares with.
        protected: Groups that must not get worse; the fragments of ``standard`` by default.
        limit: By how many percent of the base's errors they may.
        consent: What is asked of the fragments; None was told to ask nothing.
        transcriber: Makes what transcribes with a checkpoint.

    Raises:
        AsrError: The models cannot be interpolated, a manifest cannot be used, or a protected group is not in them.
    """
    tags = {item.dialect for _, item in read_numbered(dialect) if isinstance(item, Fragment) and item.dialect}
    # The standard has dialects too, such as en-US: what is chosen by are those that were to be learnt.
    learnt = [f"dialect={tag}" for tag in sorted(tags)] or [f"test_set={DIALECT}"]
    measured = {}
    for share in sorted({0.0, *shares}):
        model = interpolate(base, adapted, share)
        report = evaluate(
            transcriber(model),
            {DIALECT: dialect, STANDARD: standard},
            system_name=f"share {share:g}",
            resamples=1,
            consent=consent,
            abilities=True,
        )
        measured[share] = counts_of(report.to_dict())
    return choose_share(measured, learnt, protected, limit)


def choose_share(
    measured: Mapping[float, Mapping[str, Count]], learnt: Sequence[str], protected: Sequence[str], limit: float
) -> Sweep:
    """Choose among shares that were scored.

    Args:
        measured: Word errors by share, 0 included, and group.
        learnt: The groups of which the worst one chooses.
        protected: Those that must not get worse.
        limit: By how many percent of the base's errors they may.
    """
    points = []
    for share, counts in measured.items():
        verdict = judge(f"share {share:g}", counts, measured[0.0], protected, limit, learnt)
        points.append(Point(share, counts[f"test_set={DIALECT}"], counts[f"test_set={STANDARD}"], verdict))
    best = choose([point.verdict for point in points])
    missing = sorted({name for counts in measured.values() for name in unmeasured(measured[0.0], counts)})
    return Sweep(tuple(points), limit, next((point for point in points if point.verdict is best), None), tuple(missing))


def write_picture(found: Sweep, path: str | Path) -> None:
    """Draw dialect WER against standard WER, one point a share, as PNG."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(
        [point.standard.wer for point in found.points],
        [point.dialect.wer for point in found.points],
        "o-",
        color=_POINTS,
    )
    for point in found.points:
        axes.annotate(
            f"{point.share:g}", (point.standard.wer, point.dialect.wer), xytext=(5, 5), textcoords="offset points"
        )
    allowed = found.points[0].standard.wer * (1 + found.limit / 100)
    axes.axvline(allowed, color="grey", linestyle=":", label=f"standard at most {found.limit:g} % worse")
    if found.chosen is not None:
        axes.plot(
            found.chosen.standard.wer, found.chosen.dialect.wer, "o", color=_CHOSEN, markersize=11, label="chosen"
        )
    axes.set(xlabel="standard, WER in %", ylabel="dialect, WER in %", title="Share of the adapted model")
    axes.legend()
    with atomic_write(Path(path), "wb") as handle:
        figure.savefig(handle, format="png", dpi=_DPI)
