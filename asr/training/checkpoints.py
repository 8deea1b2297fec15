"""What training leaves on disk: models that can be used at once, and the state from which it goes on.

``last.pt`` and the best ``step-….pt`` are checkpoints as `asr.model.checkpoint` writes them; ``last.state`` is
lightning's own state (weights in full precision, optimiser, schedule, place in the data).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.io import CheckpointIO

from asr.data.batch import Batch
from asr.errors import AsrError, CheckpointError, ConfigError
from asr.files import remove_parts
from asr.model.checkpoint import CheckpointInfo, save_checkpoint, write_torch
from asr.training.task import TranscriptionTask

STATE = "last.state"
STATE_VERSION = 7
_VERSION_ENTRY = "state_version"
# How a training ends that was asked to and has saved its state: "temporary failure, try again" (sysexits.h).
STOPPED = 75
# What ends a training: Ctrl-C, a preemption, and Slurm's warning, where a job asks for it.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class TrainingStopped(AsrError):
    """Training was asked to stop and has saved its state.

    Attributes:
        signal: The signal that asked.
    """

    def __init__(self, message: str, signal: int, exit_code: int = STOPPED) -> None:
        super().__init__(message)
        self.signal = signal
        self.exit_code = exit_code


class AtomicCheckpointIO(CheckpointIO):
    """Writes lightning's state whole or not at all, and reads it without running code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the state.

        Raises:
            CheckpointError: The disk is full; the older file stays.
        """
        write_torch(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the state.

        Raises:
            CheckpointError: It is missing, damaged or of another version.
        """
        with reading_state(path):
            state: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return of_this_version(state, path)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a file."""
        Path(path).unlink(missing_ok=True)


@contextmanager
def reading_state(path: str | Path) -> Iterator[None]:
    """Say what is wrong with a state that cannot be read.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"there is no state to resume from at {path}")
    try:
        yield
    except Exception as error:  # torch raises many kinds, and some advise to run what is in the file
        raise CheckpointError(
            f"{path} is damaged or no training state, and cannot be resumed from; start a new run from the "
            f"checkpoint beside it with model.name={Path(path).with_name('last.pt')}"
        ) from error


def of_this_version(state: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """Return a state, if this version of the package wrote it: another one draws other fragments after it.

    Raises:
        CheckpointError: Another version wrote it.
    """
    version = state.get(_VERSION_ENTRY, 1)
    if version != STATE_VERSION:
        raise CheckpointError(
            f"{path} has state version {version}, and this version of the package goes on from {STATE_VERSION} alone, "
            "because fragments come in another order; go on with the package that began the run, or start a new one "
            f"from the checkpoint beside it with model.name={Path(path).with_name('last.pt')}"
        )
    return state


class Checkpoints(lightning.Callback):
    """Saves the state at every few steps, and a checkpoint after every validation, of which the best are kept.

    Args:
        folder: Where to.
        info: What every checkpoint says about itself; its metrics are filled in.
        keep: Number of best checkpoints kept beside the last.
        every_steps: Steps between two states; one is saved after every validation as well.
        monitor: The metric by which the lowest is best.

    Attributes:
        best: Of every best checkpoint, by the name of its file, how many protected dialects it harms, and its metric.
    """

    def __init__(self, folder: Path, info: CheckpointInfo, keep: int, every_steps: int, monitor: str) -> None:
        self.folder = folder
        self.info = info
        self.keep = keep
        self.every_steps = every_steps
        self.monitor = monitor
        self.best: dict[str, tuple[float, float]] = {}
        self._saved_step = -1
        self._has_state = False

    def state_dict(self) -> dict[str, Any]:
        """Return the list of best checkpoints, and the step of the last."""
        return {"best": dict(self.best), "saved_step": self._saved_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the list of best checkpoints back; files that are gone are forgotten."""
        # A state of before there was a gate has the metric alone.
        self.best = {
            name: rank if isinstance(rank, tuple) else (0.0, rank)
            for name, rank in state_dict["best"].items()
            if (self.folder / name).is_file()
        }
        self._saved_step = state_dict.get("saved_step", -1)
        self._has_state = True

    def setup(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        """Remove what a killed run was writing."""
        if trainer.is_global_zero:
            remove_parts(self.folder)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Say which version the state has."""
        checkpoint[_VERSION_ENTRY] = STATE_VERSION

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Save the state when it is time to."""
        if _between_steps(trainer, index) and trainer.global_step % self.every_steps == 0:
            self.save_state(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Save a checkpoint and the state; of what the run begins with, none.

        Raises:
            CheckpointError: A weight is not finite, or the disk is full.
            ConfigError: The monitored metric was not measured.
        """
        if trainer.sanity_checking:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("dev/")}
        self._save_model(trainer, module, metrics)
        self.save_state(trainer)
        if self.monitor not in metrics:
            raise ConfigError(
                f"trainer.monitor is {self.monitor!r}, which data.dev does not give; it gives {', '.join(metrics)}"
            )

    def save_state(self, trainer: lightning.Trainer) -> None:
        """Save the state now; every process must call it."""
        trainer.save_checkpoint(self.folder / STATE)
        self._has_state = True

    def _save_model(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, metrics: dict[str, float]
    ) -> None:
        if not self._has_state:
            # First what a run can go on from: a kill or a full disk must leave no run that can neither go on nor begin.
            self.save_state(trainer)
        self._saved_step = trainer.global_step
        assert isinstance(module, TranscriptionTask)
        model = module.whole_model()
        if not trainer.is_global_zero:
            return
        info = replace(self.info, metrics=metrics | {"step": float(trainer.global_step)})
        save_checkpoint(model, info, self.folder / "last.pt")
        if self.monitor not in metrics:
            return
        name = f"step-{trainer.global_step:06d}.pt"
        worst = max(self.best, key=lambda kept: self.best[kept], default=None)
        # What harms nothing that is protected goes first, whatever else it reaches.
        rank = (metrics.get("dev/harmed", 0.0), metrics[self.monitor])
        if len(self.best) >= self.keep and (worst is None or rank >= self.best[worst]):
            return
        save_checkpoint(model, info, self.folder / name)
        self.best[name] = rank
        if len(self.best) > self.keep and worst is not None:
            (self.folder / worst).unlink(missing_ok=True)
            del self.best[worst]

    def finish(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Save the last step, if no validation did; what was measured before it says nothing about it."""
        if self._saved_step != trainer.global_step:
            self._save_model(trainer, module, {})
            self.save_state(trainer)

    def best_path(self) -> Path:
        """The checkpoint that harms least, and of these has the lowest metric; the last one without a validation."""
        best = self.best
        return self.folder / (min(best, key=lambda kept: best[kept]) if best else "last.pt")


def _between_steps(trainer: lightning.Trainer, index: int) -> bool:
    """Whether batch ``index`` ended a step and the next one follows: no validation, after which a state is saved too.

    A state from between a step and its validation would lose that validation.
    """
    batches: int = index + 1
    validate_every = trainer.val_check_batch
    due = isinstance(validate_every, int) and batches % validate_every == 0 and trainer.enable_validation
    return batches % trainer.accumulate_grad_batches == 0 and not due


class StopOnSignal(lightning.Callback):
    """Ends the step that runs when a signal comes, saves the state and stops; a second one stops at once.

    At SIGUSR1 lightning would write a checkpoint of its own. Of several processes one is enough to hear a signal. A
    validation that runs, or follows that step, is brought to its end as well.

    Args:
        checkpoints: Saves the state.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.received: int | None = None
        self._saved = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Listen, from here on instead of lightning, which would end at SIGTERM without saving."""
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._receive)
        # Whoever has started this process may have held them back; what came meanwhile is heard now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def teardown(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        """Listen no more."""
        self._restore()

    def on_exception(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Listen no more; there will be no teardown."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        print("\nasr: ending this step, then saving the state; once more to stop at once")  # noqa: T201

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Save the state after a step, if a signal came."""
        if _between_steps(trainer, index):
            self._save_if_asked(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Save the state after a validation, if a signal came."""
        self._save_if_asked(trainer)

    def _save_if_asked(self, trainer: lightning.Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            self.checkpoints.save_state(trainer)
            self._saved = True

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, batch: Batch, index: int
    ) -> None:
        """Stop before the next step; by now the figures of the last one are in the log.

        Raises:
            TrainingStopped: A signal came; the state is saved.
        """
        if not self._saved:
            return
        # The folder may bear the time at which each process began; the first one's counts.
        folder = Path(trainer.strategy.broadcast(str(self.checkpoints.folder)))
        raise TrainingStopped(
            f"training stopped at step {trainer.global_step}; its state is in {folder / STATE}, "
            f"go on with resume={folder.parent}",
            self.received or signal.SIGTERM,
            # lightning kills the process that it began in when one that it has started fails.
            0 if started_by_lightning(trainer) else STOPPED,
        )


def started_by_lightning(trainer: lightning.Trainer) -> bool:
    """Whether another process of this run has started this one, not a launcher such as torchrun or srun."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return environment is not None and not environment.creates_processes_externally and trainer.local_rank > 0
