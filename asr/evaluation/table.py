"""A report as tables on the console."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asr.evaluation.intents import IntentScores
from asr.evaluation.report import (
    Abilities,
    EvaluationReport,
    GroupScore,
    LabelScores,
    QuestionScores,
    SystemScore,
    TargetScores,
)
from asr.metrics import Estimate

_TITLES = {"text": "verbatim text", "text_standard": "standard-language rendering"}


def render(report: EvaluationReport, console: Console) -> None:
    """Print a report: one table per target, then what holds for all.

    Rates are in percent with their 95 % intervals over speakers. A change is coloured only when its interval
    excludes zero.
    """
    for scores in report.targets:
        console.print(_table(report, scores))
        for line in _remarks(report, scores):
            console.print(line, markup=False, highlight=False)
    for told in report.labels:
        console.print(_confusion(report, told))
        for line in _told(told):
            console.print(line, markup=False, highlight=False)
        if told.dialects:
            console.print(_dialects(report, told))
    for understood in report.intents:
        console.print(_readings(understood))
        console.print(_intent_groups(understood))
        outside = f", {understood.outside} fragments are out of scope" if understood.outside else ""
        line = f"{understood.system}: keywords heard {_percent(understood.keywords)} %{outside}"
        console.print(line, markup=False, highlight=False)
    for line in _footer(report):
        console.print(line, markup=False, highlight=False)


def _table(report: EvaluationReport, scores: TargetScores) -> Table:
    table = _titled(f"{report.system}: word errors against the {_TITLES[scores.target]}")
    table.add_column("group", overflow="fold")
    for name in ("fragments", "speakers", "words", "WER %", "ins/del/sub", "CER %"):
        table.add_column(name, justify="right", overflow="fold")
    if report.baseline is not None:
        for name in (f"{report.baseline} WER %", "change, points", "relative %"):
            table.add_column(name, justify="right", overflow="fold")
    dimension = "overall"
    for group in (scores.overall, *scores.groups):
        if group.dimension != dimension:
            table.add_section()
            dimension = group.dimension
            table.add_row(Text(dimension, style="bold"))
        table.add_row(*_cells(group))
    return table


def _titled(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _cells(group: GroupScore) -> Iterator[Text]:
    words = group.system.words
    yield Text("overall" if group.dimension == "overall" else group.group or "–")
    yield Text(str(group.fragments))
    yield Text(f"{group.speakers}" + (f"+{group.without_speaker}" if group.without_speaker else ""))
    yield Text(str(words.reference))
    yield Text(_percent(group.system.wer))
    yield Text(f"{words.insertions}/{words.deletions}/{words.substitutions}")
    yield Text(_value(group.system.cer.value))
    if group.baseline is not None and group.change is not None:
        yield Text(_percent(group.baseline.wer))
        for estimate in (group.change.absolute, group.change.relative):
            style = "" if not estimate.excludes_zero else "green" if (estimate.value or 0) < 0 else "red"
            yield Text(_percent(estimate, sign="+"), style=style)


def _confusion(report: EvaluationReport, told: LabelScores) -> Table:
    table = _titled(f"{report.system}: {told.name} of {told.fragments} fragments, rows as labelled, columns as heard")
    for name in ("", *told.labels, "other"):
        table.add_column(name, justify="right", overflow="fold")
    for label, counts in zip(told.labels, told.confusion, strict=True):
        table.add_row(Text(label), *(Text(str(count)) for count in counts))
    return table


def _told(told: LabelScores) -> Iterator[str]:
    yield (
        f"{told.name}: macro-F1 {_percent(told.f1)} %, answered {_percent(told.answered)} %, of these right "
        f"{_percent(told.accuracy)} %"
    )
    before = told.reliability_before
    yield f"calibration error {_percent(told.reliability.error)} points" + (
        "" if before is None else f", {_percent(before.error)} points without the temperature"
    )
    yield (
        f"area under risk and coverage {_percent(told.risk.area)} %; with at most 5 % wrong "
        f"{_percent(told.risk.covered)} % can be answered"
    )
    if told.question is not None:
        names = ("F1", "balanced accuracy", "AUC", "heard in what is none")
        *cells, same_words = _question(told.question)
        yield "question: " + ", ".join(f"{name} {cell} %" for name, cell in zip(names, cells, strict=True))
        if told.question.pairs:
            yield f"right in {told.question.pairs} pairs of the same words {same_words} %"


def _question(question: QuestionScores | None) -> tuple[str, ...]:
    if question is None:
        return ("–",) * 5
    return tuple(
        map(_percent, (question.f1, question.balanced_accuracy, question.auc, question.false, question.same_words))
    )


def _dialects(report: EvaluationReport, told: LabelScores) -> Table:
    table = _titled(f"{report.system}: {told.name}, per dialect")
    table.add_column("dialect", overflow="fold")
    names = ("question F1 %", "balanced %", "AUC %", "false %", "same words %") if told.question is not None else ()
    for name in ("fragments", "right %", *names):
        table.add_column(name, justify="right", overflow="fold")
    for row in told.dialects:
        cells = (str(row.fragments), _percent(row.right), *(_question(row.question) if names else ()))
        table.add_row(Text(row.dialect), *map(Text, cells))
    return table


def _readings(understood: IntentScores) -> Table:
    table = _titled(f"{understood.system}: intents of {understood.fragments} fragments, by what they are told of")
    table.add_column("told of", overflow="fold")
    for name in ("accuracy %", "macro-F1 %", "retention %", "out-of-scope recall %", "covered at 5 % risk"):
        table.add_column(name, justify="right", overflow="fold")
    for one in understood.readings:
        figures = (one.accuracy, one.f1, one.retention, one.outside, one.covered)
        table.add_row(Text(one.reading), *(Text(_percent(figure)) for figure in figures))
    return table


def _intent_groups(understood: IntentScores) -> Table:
    table = _titled(f"{understood.system}: intent retention, by group")
    table.add_column("group", overflow="fold")
    for name in ("fragments", "accuracy on text %", "as heard %", "retention %", "gap to standard, points"):
        table.add_column(name, justify="right", overflow="fold")
    for one in understood.groups:
        gap = "" if one.gap is None else _percent(one.gap, sign="+")
        figures = (str(one.fragments), *map(_percent, (one.text, one.heard, one.retention)), gap)
        table.add_row(Text(f"{one.dimension} {one.group}"), *map(Text, figures))
    return table


def _abilities(found: Abilities) -> Iterator[str]:
    if (share := found.long_recordings) is not None:
        yield f"WER {_value(share.part / share.whole)} % on the {share.whole} words of long recordings"
    if (share := found.word_times) is not None:
        yield f"F1 of word times {_value(1 - share.part / share.whole)} %"
    if (share := found.silence) is not None:
        yield f"{share.part} words in {share.whole} s of silence and noise"


def _percent(estimate: Estimate, sign: str = "") -> str:
    if estimate.low is None or estimate.high is None:
        return _value(estimate.value, sign)
    return f"{_value(estimate.value, sign)} [{100 * estimate.low:{sign}.1f}, {100 * estimate.high:{sign}.1f}]"


def _value(rate: float | None, sign: str = "") -> str:
    return "–" if rate is None else f"{100 * rate:{sign}.2f}"


def _remarks(report: EvaluationReport, scores: TargetScores) -> Iterator[str]:
    gaps = [(report.system, scores.gap()), (report.baseline, scores.baseline_gap())]
    for name, found in gaps:
        if found is not None:
            yield (
                f"{name}: worst dialect {found.worst} {_value(found.worst_wer)} %, best {found.best} "
                f"{_value(found.best_wer)} %, gap {_value(found.gap)} points"
            )
    overall = scores.overall
    systems: list[tuple[str | None, SystemScore | None]] = [
        (report.system, overall.system),
        (report.baseline, overall.baseline),
    ]
    counts = ", ".join(f"{name} {system.runaways}" for name, system in systems if system is not None)
    yield f"runaway outputs of {overall.fragments}: {counts}"
    if overall.without_speaker:
        yield "speakers a+b: b fragments have no speaker; each is resampled as a voice of its own"
    if overall.system.wer.clusters == 1:
        yield "one voice only: there are no intervals, and nothing follows for other speakers"
    if scores.worst_fragments:
        named = (f"{worst.id} ({worst.errors}/{worst.words})" for worst in scores.worst_fragments[:5])
        yield f"most errors per words in {', '.join(named)}"


def _footer(report: EvaluationReport) -> Iterator[str]:
    for name, marks in ((report.system, report.marks), (report.baseline, report.baseline_marks)):
        if marks is not None:
            yield (
                f"{name}: question marks in the text of {marks.fragments} fragments: F1 {_percent(marks.f1)} %, false "
                f"ones on {_percent(marks.false)} % of what is no question"
            )
    for name, abilities in ((report.system, report.abilities), (report.baseline, report.baseline_abilities)):
        if abilities is not None:
            yield f"{name}: {', '.join(_abilities(abilities))}"
    audio = f"{report.targets[0].overall.audio_seconds:.0f} s of audio"
    without = f" in all but {report.without_duration} of them" if report.without_duration else ""
    how = ", heard as recordings" if report.as_recordings else ""
    yield f"{report.fragments} fragments, {audio}{without}{how}"
    yield "normalisers: " + ", ".join(f"{language} {name}" for language, name in report.normalizers)
    yield f"[ ]: 95 % intervals, speakers resampled {report.resamples} times"
    if report.refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.refused)
        yield f"not heard for want of consent to evaluation: {reasons}"
    if report.failed:
        yield f"{report.failed} fragments could not be decoded and are in no figure"
    for name, speed in ((report.system, report.speed), (report.baseline, report.baseline_speed)):
        if speed is not None:
            factor = speed.real_time_factor
            yield f"{name}: decoded in {speed.decode_seconds:.1f} s" + (
                "" if factor is None else f", {factor:.3f} s per second of audio"
            )
