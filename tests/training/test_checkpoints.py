"""What is kept, what is pruned, and what a damaged or unfinished file does."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from whisper.model import Whisper

from asr.errors import CheckpointError, ConfigError
from asr.model.checkpoint import CheckpointInfo, load_checkpoint
from asr.model.network import DialectWhisper
from asr.training.checkpoints import STATE_VERSION, AtomicCheckpointIO, Checkpoints
from asr.training.optim import OptimOptions
from asr.training.task import TranscriptionTask


@pytest.fixture
def task(tiny_whisper: Whisper) -> TranscriptionTask:
    return TranscriptionTask(DialectWhisper(tiny_whisper, "tight"), OptimOptions(), None, 10)


Make = Callable[..., Checkpoints]


@pytest.fixture
def checkpoints(tmp_path: Path) -> Make:
    def make(keep: int = 2, every_steps: int = 3) -> Checkpoints:
        return Checkpoints(tmp_path / "kept", CheckpointInfo("tiny"), keep, every_steps, "dev/wer_worst")

    return make


class FakeTrainer(SimpleNamespace):
    """As much of lightning's trainer as the callback looks at."""

    def __init__(self, **given: Any) -> None:
        usual = {
            "is_global_zero": True,
            "accumulate_grad_batches": 1,
            "enable_validation": True,
            "sanity_checking": False,
        }
        super().__init__(
            **usual
            | {"callback_metrics": {}, "global_step": 0, "val_check_batch": 4, "saved": [], "sanity_checking": False}
            | given
        )

    def save_checkpoint(self, path: Path) -> None:
        self.saved.append((self.global_step, path.name))


def validate(
    callback: Checkpoints, task: TranscriptionTask, step: int, wer: float, harmed: float | None = None
) -> None:
    metrics = {"dev/wer_worst": torch.tensor(wer), "dev/loss": torch.tensor(1.0), "train/loss": torch.tensor(2.0)}
    if harmed is not None:
        metrics["dev/harmed"] = torch.tensor(harmed)
    callback.on_validation_end(FakeTrainer(global_step=step, callback_metrics=metrics), task)  # type: ignore[arg-type]


def files(callback: Checkpoints) -> list[str]:
    return sorted(path.name for path in callback.folder.iterdir())


def test_the_best_are_kept_beside_the_last(checkpoints: Make, task: TranscriptionTask) -> None:
    callback = checkpoints(keep=2)
    expected = {
        1: (50.0, {1}),
        2: (60.0, {1, 2}),
        3: (40.0, {1, 3}),
        4: (70.0, {1, 3}),
        5: (50.0, {1, 3}),  # no better than one that is there
        6: (10.0, {3, 6}),
    }
    for step, (wer, kept) in expected.items():
        validate(callback, task, step, wer)
        assert files(callback) == ["last.pt", *(f"step-{number:06d}.pt" for number in sorted(kept))]
        assert load_checkpoint(callback.folder / "last.pt").info.metrics == {
            "dev/wer_worst": wer,
            "dev/loss": 1.0,
            "step": step,
        }
    assert callback.best_path().name == "step-000006.pt"
    assert callback.best == {"step-000003.pt": (0.0, 40.0), "step-000006.pt": (0.0, 10.0)}


def test_what_harms_nothing_goes_first(checkpoints: Make, task: TranscriptionTask) -> None:
    callback = checkpoints(keep=2)
    for step, (harmed, wer, kept) in {
        1: (1.0, 30.0, {1}),
        2: (0.0, 50.0, {1, 2}),
        3: (1.0, 20.0, {2, 3}),
        4: (2.0, 10.0, {2, 3}),
        5: (0.0, 60.0, {2, 5}),
    }.items():
        validate(callback, task, step, wer, harmed)
        assert files(callback)[1:] == [f"step-{number:06d}.pt" for number in sorted(kept)]
    assert callback.best_path().name == "step-000002.pt"


def test_none_but_the_last_may_be_kept(checkpoints: Make, task: TranscriptionTask) -> None:
    callback = checkpoints(keep=0)
    validate(callback, task, 1, 50.0)
    assert files(callback) == ["last.pt"]
    assert callback.best_path().name == "last.pt"


def test_a_resumed_run_keeps_the_list(checkpoints: Make, task: TranscriptionTask) -> None:
    callback = checkpoints(keep=2)
    for step, wer in ((1, 50.0), (2, 40.0)):
        validate(callback, task, step, wer)
    resumed = checkpoints(keep=2)
    resumed.load_state_dict(callback.state_dict())
    assert resumed.best_path().name == "step-000002.pt"
    validate(resumed, task, 3, 45.0)
    assert files(resumed) == ["last.pt", "step-000002.pt", "step-000003.pt"]
    # One that somebody has removed makes room.
    (resumed.folder / "step-000002.pt").unlink()
    again = checkpoints(keep=2)
    again.load_state_dict(resumed.state_dict())
    validate(again, task, 4, 90.0)
    assert again.best == {"step-000003.pt": (0.0, 45.0), "step-000004.pt": (0.0, 90.0)}


def test_a_state_of_an_older_version_is_read(checkpoints: Make) -> None:
    callback = checkpoints()
    callback.folder.mkdir()
    (callback.folder / "step-000003.pt").touch()
    callback.load_state_dict({"best": {"step-000003.pt": 45.0}})
    assert callback.best == {"step-000003.pt": (0.0, 45.0)}


def test_the_last_step_is_saved_without_figures_of_an_earlier_one(checkpoints: Make, task: TranscriptionTask) -> None:
    callback = checkpoints(keep=2)
    validate(callback, task, 4, 50.0)
    stale = {"dev/wer_worst": torch.tensor(50.0)}
    trainer = FakeTrainer(global_step=5, callback_metrics=stale)
    callback.finish(trainer, task)  # type: ignore[arg-type]
    assert files(callback) == ["last.pt", "step-000004.pt"]
    assert load_checkpoint(callback.folder / "last.pt").info.metrics == {"step": 5.0}
    assert trainer.saved == [(5, "last.state")]
    # A validation at the last step has saved it already.
    before = (callback.folder / "last.pt").stat().st_mtime_ns
    callback.finish(trainer, task)  # type: ignore[arg-type]
    assert (callback.folder / "last.pt").stat().st_mtime_ns == before


def test_a_monitor_without_figures(checkpoints: Make, task: TranscriptionTask) -> None:
    callback = checkpoints()
    trainer = FakeTrainer(global_step=1, callback_metrics={"dev/loss": torch.tensor(1.0)})
    with pytest.raises(ConfigError, match=r"trainer\.monitor is 'dev/wer_worst', which data\.dev does not give"):
        callback.on_validation_end(trainer, task)  # type: ignore[arg-type]
    assert files(callback) == ["last.pt"]
    assert trainer.saved == [(1, "last.state")] * 2


def test_only_the_first_process_writes(checkpoints: Make, task: TranscriptionTask) -> None:
    callback = checkpoints()
    trainer = FakeTrainer(callback_metrics={"dev/wer_worst": torch.tensor(1.0)}, is_global_zero=False)
    callback.on_validation_end(trainer, task)  # type: ignore[arg-type]
    assert not callback.folder.exists()
    assert trainer.saved == [(0, "last.state")] * 2  # which all must call


def test_before_the_first_checkpoint_there_is_a_state(checkpoints: Make, task: TranscriptionTask) -> None:
    """A run that holds a checkpoint is refused by a new one, so it must be able to go on."""

    class Full(FakeTrainer):
        def save_checkpoint(self, path: Path) -> None:
            raise CheckpointError("the disk is full")

    callback, metrics = checkpoints(), {"dev/wer_worst": torch.tensor(1.0)}
    with pytest.raises(CheckpointError, match="full"):
        callback.on_validation_end(Full(callback_metrics=metrics), task)  # type: ignore[arg-type]
    assert not callback.folder.exists()
    # Later there is an older one.
    validate(callback, task, 1, 50.0)
    with pytest.raises(CheckpointError, match="full"):
        callback.on_validation_end(Full(global_step=2, callback_metrics=metrics), task)  # type: ignore[arg-type]
    assert files(callback) == ["last.pt", "step-000001.pt", "step-000002.pt"]


def test_when_a_state_is_saved(checkpoints: Make, task: TranscriptionTask) -> None:
    callback = checkpoints(every_steps=3)
    trainer = FakeTrainer(accumulate_grad_batches=2, val_check_batch=12)
    for index in range(24):
        trainer.global_step = (index + 1) // 2
        callback.on_train_batch_end(trainer, task, None, None, index)  # type: ignore[arg-type]
    # Steps 6 and 12 are followed by a validation, after which the state is saved.
    assert [step for step, _ in trainer.saved] == [3, 9]


STATE = {"state_version": STATE_VERSION, "state_dict": {"weight": torch.arange(1000.0)}, "epoch": 3, "offsets": (1, 2)}


def test_a_state_comes_back(tmp_path: Path) -> None:
    io = AtomicCheckpointIO()
    io.save_checkpoint(STATE, tmp_path / "new" / "last.state")
    read = io.load_checkpoint(tmp_path / "new" / "last.state")
    assert torch.equal(read["state_dict"]["weight"], STATE["state_dict"]["weight"])  # type: ignore[index]
    assert (read["epoch"], read["offsets"]) == (3, (1, 2))
    io.remove_checkpoint(tmp_path / "new" / "last.state")
    io.remove_checkpoint(tmp_path / "new" / "last.state")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_full_disk_leaves_the_older_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io, path = AtomicCheckpointIO(), tmp_path / "last.state"
    io.save_checkpoint(STATE, path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=rf"cannot save {path}: the disk is full; free some space"):
        io.save_checkpoint(STATE | {"epoch": 4}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("damage", ["empty", "short", "text", "hostile"])
def test_a_damaged_state_is_a_sentence(tmp_path: Path, damage: str) -> None:
    io, path = AtomicCheckpointIO(), tmp_path / "last.state"
    io.save_checkpoint(STATE, path)
    if damage == "hostile":
        torch.save(STATE | {"extra": Hostile(tmp_path / "was here")}, path)
    else:
        content = {"empty": b"", "short": path.read_bytes()[:-2000], "text": b"nothing\n" * 99}[damage]
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        io.load_checkpoint(path)
    assert str(caught.value) == (
        f"{path} is damaged or no training state, and cannot be resumed from; start a new run from the checkpoint "
        f"beside it with model.name={tmp_path / 'last.pt'}"
    )
    assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize("version", [1, STATE_VERSION - 1, STATE_VERSION + 1])
def test_states_of_other_versions(tmp_path: Path, version: int) -> None:
    io, path = AtomicCheckpointIO(), tmp_path / "last.state"
    state = STATE | {"state_version": version}
    if version == 1:  # it bore no number
        del state["state_version"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=rf"has state version {version}, .* or start a new one .*last.pt"):
        io.load_checkpoint(path)


def test_no_state(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"there is no state to resume from at {tmp_path / 'last.state'}"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "last.state")
