"""What a person reads on the console."""

from dataclasses import replace
from io import StringIO
from typing import Any

from rich.console import Console

from asr.evaluation import EvaluationReport, render, score
from asr.evaluation.labels import score_labels, score_marks
from asr.fragment import Fragment
from asr.transcript import Transcript


def fragment(id: str, text: str, **rest: Any) -> Fragment:
    return Fragment(id=id, audio="a.wav", text=text, language="fr", **{"duration": 2.0} | rest)


def printed(report: EvaluationReport) -> str:
    out = StringIO()
    render(report, Console(file=out, width=180))
    return out.getvalue()


FRAGMENTS = [
    fragment("a1", "un deux trois", dialect="fr-BE", speaker="a", text_standard="un deux"),
    fragment("b1", "quatre cinq", dialect="fr-CA", speaker="b"),
    fragment("c1", "six", dialect="[bold]", duration=None),
]


def test_everything_that_was_found_is_there() -> None:
    report = score(
        FRAGMENTS,
        ["un deux trois", "quatre", "six"],
        ["un deux", "quatre", "dix"],
        system_name="tuned",
        baseline_name="base",
        decode_seconds=1.5,
    )
    text = printed(report)
    for piece in (
        "tuned: word errors against the verbatim text",
        "tuned: word errors against the standard-language rendering",
        "base WER %",
        "16.67 [",
        "0/1/0",
        "-33.33 [",
        " [bold] ",
        "2+1",
        "tuned: worst dialect fr-CA 50.00 %, best [bold] 0.00 %, gap 50.00 points",
        "runaway outputs of 3: tuned 0, base 0",
        "most errors per words in b1 (1/2)",
        "normalisers: fr french-1",
        "3 fragments, 4 s of audio in all but 1 of them",
        "tuned: decoded in 1.5 s",
        "2000 times",
    ):
        assert piece in text, f"{piece}\n{text}"
    assert "recordings" not in text
    assert "1 of them, heard as recordings" in printed(replace(report, as_recordings=True))


def test_final_marks_of_both_systems_stand_below() -> None:
    labelled = [
        item.replace(intonation=kind) for item, kind in zip(FRAGMENTS, ("question", "other", "other"), strict=True)
    ]
    texts = (["un ?", "quatre ?", "six."], ["un.", "quatre.", "six."])
    ours, theirs = (
        score_marks(labelled, [Transcript("x", text, "fr", None, 1.0, ()) for text in heard], 10, 0) for heard in texts
    )
    text = printed(replace(score(FRAGMENTS, *texts), marks=ours, baseline_marks=theirs))
    assert "model: question marks in the text of 3 fragments: F1 66.67" in text
    assert "false ones on 50.00" in text and "base: question marks" in text


def test_one_voice_is_said_so() -> None:
    text = printed(score(FRAGMENTS[:1], ["un"]))
    assert "one voice only" in text
    assert "66.67" in text
    assert "66.67 [" not in text
    assert "change" not in text


def test_a_report_without_figures_prints() -> None:
    text = printed(score(FRAGMENTS, [None] * 3))
    assert "3 fragments could not be decoded" in text
    assert "–" in text


def test_what_was_told_beside_the_text() -> None:
    rows = [
        ("a", "question", 0.9, "en-GB"),
        ("a", "statement", 0.3, "en-GB"),
        ("b", "question", 0.4, "en-GB"),
        ("b", "statement", 0.2, "[bold]"),
    ]
    fragments = [
        fragment(f"{number}", "so", speaker=speaker, intonation=label, dialect=dialect)
        for number, (speaker, label, _, dialect) in enumerate(rows)
    ]
    transcripts = [
        Transcript(
            "x", "so", "fr", None, 1.0, (), intonation="x", intonation_scores={"question": p, "statement": 1 - p}
        )
        for *_, p, _ in rows
    ]
    report = score(fragments, ["so"] * 4, system_name="tuned")
    text = printed(replace(report, labels=score_labels(fragments, transcripts, 20, 0, {"intonation": 2.0})))
    for piece in (
        "tuned: intonation of 4 fragments",
        "intonation: macro-F1 73.33 [",
        "calibration error 30.00 [",
        "22.96 [",
        " points without the temperature",
        "area under risk and coverage 6.25 [",
        "with at most 5 % wrong 75.00 [",
        "question: F1 66.67 [",
        "balanced accuracy 75.00 [",
        "right in 2 pairs of the same words 100.00 [",
        "tuned: intonation, per dialect",
        "same words %",
        " [bold] ",
    ):
        assert piece in text, f"{piece}\n{text}"
    assert [line for line in text.splitlines() if line.startswith(" [bold] ")][-1].count("–") == 5
