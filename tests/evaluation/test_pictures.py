"""Pictures: what matplotlib was given is what the report says, and the JSON file holds all of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from pydantic import TypeAdapter

from asr.evaluation.labels import score_labels
from asr.evaluation.pictures import confusion, reliability, risk, write_pictures
from asr.evaluation.report import EvaluationReport, LabelScores
from asr.fragment import Fragment
from asr.transcript import Transcript

TAGS = ("de-AT", "de-CH", "de-DE")


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    random = np.random.default_rng(0)
    fragments, transcripts = [], []
    for number in range(120):
        label = TAGS[number % 3]
        raw = random.random(3) + np.array([tag == label for tag in TAGS]) * 0.5
        scores = dict(zip(TAGS, (raw / raw.sum()).tolist(), strict=True))
        fragments.append(
            Fragment(id=f"{number}", audio="a.wav", text="so", language="de", dialect=label, speaker=f"{number % 9}")
        )
        transcripts.append(Transcript("x", "so", "de", label, 1.0, (), dialect_scores=scores))
    labels = score_labels(fragments, transcripts, 50, 0, {"dialect": 0.5})
    return EvaluationReport("mine", None, (), 120, 0, 0, (), labels, None, None, None, None, 50, 0)


@pytest.fixture
def told(report: EvaluationReport) -> LabelScores:
    return report.labels[0]


def test_three_files_and_no_trace_of_anything_else(report: EvaluationReport, tmp_path: Path) -> None:
    before = matplotlib.get_backend(auto_select=False)
    drawn = write_pictures(report, tmp_path / "new")
    names = ["dialect-confusion.png", "dialect-reliability.png", "dialect-risk.png"]
    assert [path.name for path in drawn] == names
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
    for path in drawn:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert min(image.size) > 300
            assert len(image.convert("RGB").getcolors(1 << 24)) > 50
    assert matplotlib.get_backend(auto_select=False) == before
    assert write_pictures(replace(report, labels=()), tmp_path / "none") == []


def test_the_json_file_is_enough(report: EvaluationReport, tmp_path: Path) -> None:
    report.write(tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text("utf-8"))["labels"]
    again = TypeAdapter(tuple[LabelScores, ...]).validate_python(saved)
    assert again == report.labels
    first, second = (
        write_pictures(replace(report, labels=labels), tmp_path / "out") for labels in (report.labels, again)
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def words(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_matrix_shows_every_count(told: LabelScores) -> None:
    figure = confusion(told)
    counts = np.array(told.confusion)[:, :3]
    assert words(figure) == [str(count) for count in counts.ravel()]
    (image,) = figure.axes[0].images
    assert np.allclose(image.get_array(), counts / counts.sum(axis=1, keepdims=True))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(TAGS)


def test_other_labels_have_a_column_when_they_were_heard(told: LabelScores) -> None:
    figure = confusion(replace(told, labels=("$a", "b$"), confusion=((3, 1, 2), (0, 5, 0))))
    assert words(figure) == ["3", "1", "2", "0", "5", "0"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["$a", "b$", "other"]


def test_the_curves_go_through_the_bins(told: LabelScores) -> None:
    above, below = reliability(told).axes
    for container, found in zip(above.containers, (told.reliability_before, told.reliability), strict=True):
        full = [each for each in found.bins if each.fragments]
        line, _, (bars,) = container
        assert line.get_xdata().tolist() == [each.confidence for each in full]
        assert line.get_ydata().tolist() == [each.right.value for each in full]
        ends = [each[:, 1].tolist() for each in bars.get_segments()]
        intervals = [(each.right.low, each.right.high) for each in full]
        assert (None, None) in intervals, "a bin that few voices are in has no interval"
        for drawn, (low, high), y in zip(ends, intervals, line.get_ydata(), strict=True):
            assert drawn == (pytest.approx([low, high]) if low is not None else [y, y])
    stairs = [patch.get_data().values.tolist() for patch in below.patches]
    assert stairs == [[each.fragments for each in found.bins] for found in (told.reliability_before, told.reliability)]
    shown = [text.get_text() for text in above.get_legend().get_texts()]
    assert shown[1] == f"with it, calibration error {100 * (told.reliability.error.value or 0):.1f} points"


def test_a_head_without_a_temperature_has_one_curve(told: LabelScores) -> None:
    above, below = reliability(replace(told, reliability_before=None)).axes
    assert (len(above.containers), len(below.patches)) == (1, 1)


def test_the_curve_of_risk(told: LabelScores) -> None:
    (axes,) = risk(told).axes
    curve, mean = axes.lines
    assert curve.get_xdata() == pytest.approx([100 * point.coverage for point in told.risk.points])
    assert curve.get_ydata() == pytest.approx([100 * point.risk.value for point in told.risk.points])
    assert mean.get_ydata()[0] == pytest.approx(100 * told.risk.area.value)
    (band,) = axes.collections
    edges = band.get_paths()[0].vertices[:, 1]
    assert edges.max() == pytest.approx(max(100 * point.risk.high for point in told.risk.points))


def test_one_voice_is_drawn_without_intervals(tmp_path: Path) -> None:
    fragment = Fragment(id="a", audio="a.wav", text="so", language="de", dialect="de-AT")
    found = Transcript("a", "so", "de", "de-CH", 1.0, (), dialect_scores={"de-CH": 1.0})
    (alone,) = score_labels([fragment], [found], 10, 0)
    for draw in (confusion, reliability, risk):
        draw(alone).savefig(tmp_path / "x.png")
