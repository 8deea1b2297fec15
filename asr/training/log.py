"""A log of figures that any tool reads: one JSON line per step that was logged."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from asr.data.batch import Batch
from asr.files import atomic_write


class JsonLinesLogger(Logger):
    """Appends to a file, so that a resumed run goes on in it.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._last: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "jsonl"

    @property
    def version(self) -> str:
        """There is one log in a run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the run's folder holds the configuration."""

    @rank_zero_only
    def forget(self, step: int) -> None:
        """Take back what was logged of steps that were never saved: from ``step`` on; rows without a step stay."""
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return
        kept = [line for line in lines if line.endswith(b"\n") and _before(line, step)]
        if kept != lines:
            with atomic_write(self.path, "wb") as handle:
                handle.writelines(kept)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one line: step, time in seconds since 1970, and the figures; the same figures twice are one line."""
        figures = {"step": step} | {name: float(value) for name, value in metrics.items()}
        if figures == self._last:
            return
        self._last = figures
        row = {"step": step, "time": round(time.time(), 1)} | figures
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")


def _before(line: bytes, step: int) -> bool:
    try:
        logged = json.loads(line)["step"]
    except ValueError:  # a full disk has cut it short
        return False
    return logged is None or logged < step


class LogBeforeSaving(lightning.Callback):
    """Has the figures of a step in the log before its state is saved, which lightning would log afterwards.

    So a run that goes on from the state lacks none of them, and what the log holds of later steps is taken back.

    Args:
        logger: The log.
        every: Steps between two lines.
    """

    def __init__(self, logger: JsonLinesLogger, every: int) -> None:
        self.logger = logger
        self.every = every

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Log what the step has given, where lightning is about to."""
        step_ends = (index + 1) % trainer.accumulate_grad_batches == 0
        if step_ends and trainer.global_step % self.every == 0:
            figures = {name: float(value) for name, value in trainer.callback_metrics.items() if name[:6] == "train/"}
            self.logger.log_metrics(figures | {"epoch": float(trainer.current_epoch)}, trainer.global_step - 1)

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take back what was logged after the state."""
        self.logger.forget(checkpoint["global_step"])
