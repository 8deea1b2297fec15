"""What the gate reads of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asr.errors import AsrError
from asr.evaluation.report import EvaluationReport
from asr.evaluation.retention import counts_of, read_report, unmeasured
from asr.evaluation.score import score
from asr.fragment import Fragment
from asr.metrics.retention import Count


@pytest.fixture
def report() -> EvaluationReport:
    fragments = [
        Fragment(id=f"{number}", audio="a.wav", text="red green blue", language="en", dialect=dialect, duration=1.0)
        for number, dialect in enumerate(("en-US", "en-US", "en-IN", None))
    ]
    heard = ["red green blue", "red green", "red", "black"]
    base = ["red green blue", "red green blue", "", "red green blue"]
    return score(fragments, heard, base, resamples=2)


def test_reports_of_an_evaluation(report: EvaluationReport, tmp_path: Path) -> None:
    report.write(tmp_path / "report.json")
    found = read_report(tmp_path / "report.json")
    system, baseline = counts_of(found), counts_of(found, "baseline")
    assert (system["dialect=en-US"], baseline["dialect=en-US"]) == (Count(1, 6), Count(0, 6))
    assert (system["dialect=en-IN"], system["overall"]) == (Count(2, 3), Count(6, 12))
    assert not [name for name in system if "None" in name]


def test_what_is_no_report(report: EvaluationReport, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(AsrError, match="there is no report"):
        read_report(path)
    for content, message in (("{", "no readable JSON"), ("[]", "no report of scripts/evaluate.py")):
        path.write_text(content)
        with pytest.raises(AsrError, match=message):
            read_report(path)
    with pytest.raises(AsrError, match=r"no report of scripts/evaluate\.py"):
        counts_of({"targets": []})
    data: dict[str, Any] = report.to_dict()
    data["targets"][0]["overall"]["baseline"] = None
    with pytest.raises(AsrError, match="compares with no baseline"):
        counts_of(data, "baseline")


def test_what_no_gate_has_looked_at_is_named() -> None:
    one = {"ability=silence": Count(1, 100), "ability=long recordings": Count(2, 100), "overall": Count(1, 2)}
    assert unmeasured(one, one) == ["word times"]
    assert unmeasured({}, one) == ["long recordings", "word times", "silence"]
