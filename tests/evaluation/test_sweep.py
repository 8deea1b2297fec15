"""Shares scored with a tiny model, and chosen by hand-made counts."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from whisper.model import Whisper

from asr.evaluation.retention import Count
from asr.evaluation.run import evaluate
from asr.evaluation.sweep import choose_share, sweep, write_picture
from asr.inference.decoding import DecodeOptions
from asr.inference.transcriber import Transcriber
from asr.model.checkpoint import Checkpoint, CheckpointInfo
from asr.model.network import DialectWhisper


def counts(dialect: int, standard: int) -> dict[str, Count]:
    return {"test_set=dialect": Count(dialect, 1000), "test_set=standard": Count(standard, 1000)}


def test_the_share_with_the_best_dialect_that_keeps_the_standard(tmp_path: Path) -> None:
    measured = {0.0: counts(300, 100), 0.5: counts(200, 95), 0.75: counts(160, 102), 1.0: counts(150, 110)}
    found = choose_share(measured, ["test_set=dialect"], ["test_set=standard"], 2.0)
    assert found.chosen is not None and found.chosen.share == 0.75
    assert [point.verdict.passed for point in found.points] == [True, True, True, False]
    assert found.to_dict()["points"][3] == {
        "share": 1.0,
        "dialect_wer": 15.0,
        "standard_wer": 11.0,
        "worst_dialect": "test_set=dialect",
        "worst_dialect_wer": 15.0,
        "harmed": ["test_set=standard"],
    }
    write_picture(found, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore:.*resamples.*")
def test_every_share_is_scored_as_an_evaluation_scores_it(tiny_whisper: Whisper, corpus: Path, dev: Path) -> None:
    models = []
    for seed in (1, 2):
        whisper = copy.deepcopy(tiny_whisper)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            for weight in whisper.parameters():
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
        models.append(Checkpoint(DialectWhisper(whisper, "tight"), CheckpointInfo("tiny-random")))

    def transcriber(checkpoint: Checkpoint) -> Transcriber:
        return Transcriber(checkpoint, device="cpu", options=DecodeOptions(max_tokens=6))

    found = sweep(*models, corpus, dev, [1.0, 0.5], transcriber=transcriber)
    assert [point.share for point in found.points] == [0.0, 0.5, 1.0]
    for point, model in ((found.points[0], models[0]), (found.points[2], models[1])):
        report = evaluate(transcriber(model), {"one": corpus}, resamples=1)
        words = report.targets[0].overall.system.words
        assert point.dialect == Count(words.errors, words.reference)
    assert found.points[0].verdict.passed
    assert found.points[0].verdict.worst in ("dialect=en-GB", "dialect=fr-CA")
