"""What stands on a card is what the log, the checkpoints and the fragments say, also after a run was stopped."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import lightning
import pytest

from asr.data.batch import Batch, BatchLoader
from asr.data.stream import Draw
from asr.fragment import read_manifest
from asr.model.checkpoint import load_checkpoint
from asr.training.card import RunCard, read_card
from asr.training.checkpoints import TrainingStopped
from asr.training.figures import NoteFigures
from asr.training.task import TranscriptionTask

Run = Callable[..., Path]


def figures(folder: Path) -> dict[str, object]:
    card = read_card(folder)
    assert card is not None
    found: dict[str, object] = card["figures"]
    return found


def carded(run: Run, folder: Path, *others: lightning.Callback, **options: object) -> Path:
    card = RunCard(folder)
    with card.part():
        return run(folder, watchers=[*others, NoteFigures(card)], **options)


class _StopAfter(lightning.Callback):
    """Saves the state after a step, and stops."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.state")
            raise TrainingStopped("stopped", signal=15)


def test_the_card_says_what_the_run_reached(run: Run, corpus: Path, dev: Path, tmp_path: Path) -> None:
    options = {"dev": dev, "max_steps": 4, "validate_every": 2, "monitor": "dev/loss"}
    began = time.perf_counter()
    best = carded(run, tmp_path / "whole", **options)
    took = time.perf_counter() - began
    found = figures(tmp_path / "whole")
    assert found["best"] == {
        "checkpoint": best.name, "monitor": "dev/loss", "metrics": load_checkpoint(best).info.metrics
    }  # fmt: skip
    assert found["steps"] == 4 and found["unreadable"] == 0
    lengths = {fragment.id: fragment.duration for fragment in read_manifest(corpus)}
    assert 0 < found["fragments"] * min(lengths.values()) <= found["speech_seconds"] + 0.05  # type: ignore
    assert found["speech_seconds"] <= found["fragments"] * max(lengths.values()) + 0.05  # type: ignore
    assert 0 <= found["waited_seconds"] <= found["training_seconds"] <= took  # type: ignore
    assert 50 < found["peak_memory_mib"] < 100_000  # type: ignore
    # In two parts it comes to the same.
    with pytest.raises(TrainingStopped):
        carded(run, tmp_path / "parts", _StopAfter(3), **options)
    stopped = figures(tmp_path / "parts")
    assert stopped["steps"] == 3 and stopped["best"]["checkpoint"] == "step-000002.pt"  # type: ignore
    carded(run, tmp_path / "parts", **options, resume=True)
    ended = figures(tmp_path / "parts")
    for name in ("best", "steps", "speech_seconds", "fragments"):
        assert ended[name] == found[name]
    assert ended["training_seconds"] > stopped["training_seconds"] > 0  # type: ignore
    card = read_card(tmp_path / "parts")
    assert card is not None and [part["status"] for part in card["parts"]] == ["stopped", "finished"]


def test_speech_is_counted_fragment_by_fragment(
    run: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[float] = []
    step = TranscriptionTask.training_step

    def listen(self: TranscriptionTask, batch: Batch, index: int) -> object:
        heard.extend(fragment.duration or 0.0 for fragment in batch.fragments)
        return step(self, batch, index)

    monkeypatch.setattr(TranscriptionTask, "training_step", listen)
    Path(next(read_manifest(corpus)).audio).unlink()
    carded(run, tmp_path / "run", max_steps=9)
    found = figures(tmp_path / "run")
    assert found["speech_seconds"] == pytest.approx(sum(heard), abs=0.06)
    assert (found["fragments"], found["best"]) == (
        len(heard), {"checkpoint": "last.pt", "monitor": "dev/wer_worst", "metrics": {}}
    )  # fmt: skip
    assert found["unreadable"] > 0  # type: ignore


def test_a_run_that_waits_for_audio_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load = BatchLoader.__getitem__

    def slowly(self: BatchLoader, draw: Draw) -> Batch:
        time.sleep(1.0)
        return load(self, draw)

    monkeypatch.setattr(BatchLoader, "__getitem__", slowly)
    with caplog.at_level(logging.WARNING):
        carded(run, tmp_path / "run", max_steps=4)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    waited = sum(row.get("train/wait_seconds", 0.0) for row in rows)
    assert figures(tmp_path / "run")["waited_seconds"] == pytest.approx(waited, abs=0.1)
    assert [line for line in caplog.messages if "spent on waiting for audio; more data.workers load it sooner" in line]
