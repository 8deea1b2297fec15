"""Whole runs on the CPU with a tiny model: what is left on disk, and that going on equals never having stopped."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import whisper

from asr.model.checkpoint import load_checkpoint
from asr.training.checkpoints import TrainingStopped

Run = Callable[..., Path]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).model.whisper.state_dict()


def exact(folder: Path) -> dict[str, torch.Tensor]:
    """Weights in full precision, as the state has them."""
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.state", weights_only=True)["state_dict"]
    return state


def test_a_run_leaves_checkpoints_that_stock_whisper_loads(run: Run, tmp_path: Path) -> None:
    best = run(tmp_path / "run")
    files = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert files == {"last.pt", "last.state", "step-000002.pt", "step-000004.pt"}
    assert best.name.startswith("step-")
    info = load_checkpoint(best).info
    assert info.window == "tight"
    assert {"dev/loss", "dev/wer", "dev/wer_worst", "dev/wer/fr-CA", "dev/wer/en-GB", "step"} <= info.metrics.keys()
    assert whisper.load_model(str(best)).dims.n_audio_state == 16
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == [0, 1, 2, 3]
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_training_learns(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "run", max_steps=40, validate_every=40, save_every=100)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < 0.8 * losses[0]


def test_resumed_equals_uninterrupted(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "whole", max_steps=7, validate_every=3)
    stop_after(run, tmp_path / "parts", 5, max_steps=7, validate_every=3)
    run(tmp_path / "parts", max_steps=7, validate_every=3, resume=True)
    whole, parts = exact(tmp_path / "whole"), exact(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_lora_resumes_too_and_is_merged_on_save(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "whole", mode="lora", max_steps=5, dev=False)
    stop_after(run, tmp_path / "parts", 3, mode="lora", max_steps=5, dev=False)
    best = run(tmp_path / "parts", mode="lora", max_steps=5, dev=False, resume=True)
    whole, parts = exact(tmp_path / "whole"), exact(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not [name for name in weights(best) if "lora" in name]


def stop_after(run: Run, folder: Path, step: int, **options: object) -> None:
    """Send SIGINT while a given step runs."""
    from asr.training import task

    original = task.TranscriptionTask.training_step

    def step_and_stop(self: task.TranscriptionTask, batch: object, index: int) -> torch.Tensor:
        if self.global_step == step - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, index)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task.TranscriptionTask, "training_step", step_and_stop)
        with pytest.raises(TrainingStopped, match=f"stopped at step {step}; .*resume={folder}"):
            run(folder, **options)


def test_signals_are_handled_in_the_main_thread_only_and_given_back(run: Run, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    run(tmp_path / "run", max_steps=1, dev=False)
    assert signal.getsignal(signal.SIGINT) is before
    assert threading.current_thread() is threading.main_thread()


def test_workers_change_nothing(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "none", dev=False, max_steps=3)
    run(tmp_path / "two", dev=False, max_steps=3, workers=2)
    none, two = exact(tmp_path / "none"), exact(tmp_path / "two")
    assert all(torch.equal(none[name], two[name]) for name in none)


def test_early_stop(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "run", max_steps=50, validate_every=1, patience=1, monitor="dev/wer_worst")
    rows = (tmp_path / "run" / "log.jsonl").read_text().count("dev/wer_worst")
    assert rows < 50
