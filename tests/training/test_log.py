"""The log as other tools read it: one JSON object per line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch

from asr.training.log import JsonLinesLogger


def test_every_call_appends_a_line_also_in_a_run_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    JsonLinesLogger(path).log_metrics({"train/loss": torch.tensor(1.5), "lr": 1e-5}, step=3)  # type: ignore[dict-item]
    JsonLinesLogger(path).log_metrics({"dev/wer": 12}, step=4)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert abs(rows[0].pop("time") - time.time()) < 60
    assert rows[0] == {"step": 3, "train/loss": 1.5, "lr": 1e-5}
    assert rows[1]["step"] == 4
    assert rows[1]["dev/wer"] == 12.0


def test_steps_that_were_never_saved_are_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    logger = JsonLinesLogger(path)
    logger.forget(3)
    logger.log_metrics({"refused/none": 2.0})
    for step in range(5):
        for _ in range(2):  # the same twice is one line
            logger.log_metrics({"train/loss": 1.0}, step)
    with path.open("a") as handle:
        handle.write('{"step": 1, "tra')  # killed while it wrote
    logger.forget(3)
    assert [json.loads(line)["step"] for line in path.read_text("utf-8").splitlines()] == [None, 0, 1, 2]


def test_what_lightning_asks_of_a_logger(tmp_path: Path) -> None:
    logger = JsonLinesLogger(tmp_path / "log.jsonl")
    logger.log_hyperparams({"lr": 1})
    logger.save()
    logger.finalize("success")
    assert (logger.name, logger.version) == ("jsonl", "")
    assert not (tmp_path / "log.jsonl").exists()
