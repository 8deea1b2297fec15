"""From outputs to a report: pure, no model and no audio; only counts are kept of each fragment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import zip_longest
from math import isnan

from asr.errors import AsrError
from asr.evaluation.report import EvaluationReport, Speed, Target
from asr.evaluation.tally import Tally
from asr.fragment import Fragment
from asr.metrics import is_runaway, nearest_errors
from asr.metrics.bootstrap import RESAMPLES
from asr.text import get_normalizer

Groups = Mapping[str, Callable[[Fragment], str | None]]

SPEAKER_GROUPS: Groups = {
    "gender": lambda fragment: fragment.gender,
    "age_band": lambda fragment: fragment.age_band,
}


def score(
    fragments: Iterable[Fragment],
    hypotheses: Iterable[str | None],
    baseline: Iterable[str | None] | None = None,
    *,
    test_sets: Iterable[str] | None = None,
    groups: Groups = SPEAKER_GROUPS,
    system_name: str = "model",
    baseline_name: str = "base",
    decode_seconds: float | None = None,
    baseline_decode_seconds: float | None = None,
    worst: int = 20,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> EvaluationReport:
    """Score outputs against their fragments; everything is read once, side by side, as a stream.

    A fragment whose output is None in either system is left out of both and counted as failed: figures of two
    systems are always of the same fragments.

    Args:
        fragments: What was to be heard.
        hypotheses: The system's output per fragment, in the same order, as it was written; None where decoding
            failed.
        baseline: The baseline's outputs, likewise.
        test_sets: Name of the test set per fragment, such as ``accented`` and ``standard``; each gets its row.
        groups: Further dimensions: name, and the value that a fragment has in it.
        system_name: Stands in the report.
        baseline_name: Stands in the report, if there is a baseline.
        decode_seconds: Wall-clock seconds that decoding took.
        baseline_decode_seconds: The baseline's.
        worst: Length of the list of worst fragments.
        resamples: Draws behind each interval.
        seed: Of the draws.

    Raises:
        AsrError: There is no fragment, or not one output, baseline output and test set per fragment.
    """
    compared = baseline is not None
    tallies: dict[Target, Tally] = {"text": Tally(compared), "text_standard": Tally(compared)}
    normalizers: dict[str, str] = {}
    failed = 0
    rows = _side_by_side(fragments, hypotheses, baseline, test_sets)
    for fragment, hypothesis, other, test_set in rows:
        if hypothesis is None or (compared and other is None):
            failed += 1
            continue
        outputs = [hypothesis] if other is None else [hypothesis, other]
        labels = {"test_set": test_set, "language": fragment.language, "dialect": fragment.dialect}
        labels |= {name: of(fragment) for name, of in groups.items()}
        # The standard rendering reads its digits in the standard language's numerals.
        targets: tuple[tuple[Target, str | None, str | None], ...] = (
            ("text", fragment.text, fragment.dialect),
            ("text_standard", fragment.text_standard, None),
        )
        for target, reference, dialect in targets:
            if reference is None:
                continue
            normalize = get_normalizer(fragment.language, dialect)
            normalizers[fragment.language] = normalize.name
            expected = normalize(reference)
            counts = [nearest_errors(expected, normalize.renderings(output)) for output in outputs]
            tallies[target].add(fragment, counts, [is_runaway(output) for output in outputs], labels)
    scored = len(tallies["text"].ids)
    if not scored + failed:
        raise AsrError("there is no fragment to score; the manifest is empty or every line was skipped")
    unknown = sum(map(isnan, tallies["text"].seconds))
    audio_seconds = None if unknown else sum(tallies["text"].seconds)
    return EvaluationReport(
        system=system_name,
        baseline=baseline_name if compared else None,
        normalizers=tuple(sorted(normalizers.items())),
        fragments=scored,
        failed=failed,
        without_duration=unknown,
        targets=tuple(
            tally.scores(target, worst, resamples, seed)
            for target, tally in tallies.items()
            if target == "text" or tally.ids
        ),
        labels=(),
        marks=None,
        baseline_marks=None,
        speed=_speed(decode_seconds, audio_seconds),
        baseline_speed=_speed(baseline_decode_seconds, audio_seconds),
        resamples=resamples,
        seed=seed,
    )


_MISSING = object()


def _side_by_side(
    fragments: Iterable[Fragment],
    hypotheses: Iterable[str | None],
    baseline: Iterable[str | None] | None,
    test_sets: Iterable[str] | None,
) -> Iterator[tuple[Fragment, str | None, str | None, str | None]]:
    given: dict[str, Iterable[object]] = {"fragments": fragments, "outputs": hypotheses}
    given |= {} if baseline is None else {"baseline outputs": baseline}
    given |= {} if test_sets is None else {"test set names": test_sets}
    for count, row in enumerate(zip_longest(*given.values(), fillvalue=_MISSING)):
        if _MISSING in row:
            short = [name for name, value in zip(given, row, strict=True) if value is _MISSING]
            raise AsrError(
                f"{' and '.join(short)} end after {count}, the others go on; "
                "give exactly one per fragment, None where decoding failed"
            )
        values = iter(row)
        yield (  # type: ignore[misc]
            next(values),
            next(values),
            None if baseline is None else next(values),
            None if test_sets is None else next(values),
        )


def _speed(decode_seconds: float | None, audio_seconds: float | None) -> Speed | None:
    if decode_seconds is None:
        return None
    return Speed(decode_seconds, decode_seconds / audio_seconds if audio_seconds else None)
