"""A report as data: the file holds it all, and a failed write costs nothing."""

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from asr.evaluation import EvaluationReport, score
from asr.fragment import Fragment


def report(*dialects: str | None) -> EvaluationReport:
    fragments = [
        Fragment(id=f"f{i}", audio="a.wav", text="un deux trois quatre", language="fr", dialect=dialect)
        for i, dialect in enumerate(dialects)
    ]
    outputs = [" ".join(["un", "deux", "trois", "quatre"][: 4 - i]) for i in range(len(dialects))]
    return score(fragments, outputs, outputs[::-1], resamples=20)


def test_the_gap_lies_between_the_worst_and_the_best_known_dialect() -> None:
    scores = report("fr-BE", "fr-CA", None).targets[0]
    gap, base = scores.gap(), scores.baseline_gap()
    assert gap is not None and base is not None
    assert (gap.best, gap.best_wer, gap.worst, gap.worst_wer, gap.gap) == ("fr-BE", 0.0, "fr-CA", 0.25, 0.25)
    assert (base.best, base.worst) == ("fr-CA", "fr-BE")


@pytest.mark.parametrize("dialects", [("fr-BE", None), (None, None), ("fr-BE", "fr-BE")])
def test_a_gap_needs_two_dialects(dialects: tuple[str | None, ...]) -> None:
    assert report(*dialects).targets[0].gap() is None


def test_the_file_is_plain_json_with_derived_figures(tmp_path: Path) -> None:
    made = report("fr-BE", "fr-CA")
    made.write(tmp_path / "deep" / "report.json")
    data = json.loads((tmp_path / "deep" / "report.json").read_text("utf-8"))
    assert data == made.to_dict()
    assert data["format_version"] == 3
    (target,) = data["targets"]
    assert target["overall"]["system"]["words"] == {
        "insertions": 0, "deletions": 1, "substitutions": 0, "hits": 7, "errors": 1, "reference": 8
    }  # fmt: skip
    assert target["dialect_gap"]["gap"] == 0.25


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    report("fr-BE").write(path)
    before = path.read_bytes()
    monkeypatch.setattr(json, "dump", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        report("fr-CA").write(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        report("fr-BE").seed = 1  # type: ignore[misc]
