"""What a run has reached so far, noted on its card after every validation and at its end."""

from __future__ import annotations

import logging
import resource
import time
from pathlib import Path
from typing import Any

import lightning
import torch

from asr.data.batch import Batch
from asr.training.card import RunCard
from asr.training.checkpoints import Checkpoints
from asr.training.task import TranscriptionTask
from asr.weights.openai import OWN_ENTRY

log = logging.getLogger(__name__)

# With a larger share of the time spent on waiting for audio, somebody should be told.
_MUCH_WAITED = 0.2


class NoteFigures(lightning.Callback):
    """Keeps the figures of a card up to date: what is best, how long it took, and how much was heard.

    What a kill has lost is not counted: a run that goes on counts on from its state.

    Args:
        card: Of the run.
    """

    def __init__(self, card: RunCard) -> None:
        self.card = card
        self._seconds = self._waited = 0.0
        self._since = 0.0

    def state_dict(self) -> dict[str, float]:
        """Return the seconds so far, and those of them that were waited for audio."""
        return {"seconds": self._elapsed(), "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on counting."""
        self._seconds, self._waited = state_dict["seconds"], state_dict["waited"]

    def _elapsed(self) -> float:
        return self._seconds + (time.perf_counter() - self._since if self._since else 0.0)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Begin to count."""
        self._since = time.perf_counter()
        self._note(trainer, module)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        """Count what was waited for the last batch."""
        self._waited += trainer.datamodule.waits[-1]  # type: ignore[attr-defined]

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Note what is reached."""
        self._note(trainer, module)

    def on_exception(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Note what was reached."""
        self._note(trainer, module)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Note what was reached, and say where much of the time was spent on waiting."""
        self._note(trainer, module)
        if trainer.is_global_zero and self._waited > _MUCH_WAITED * self._elapsed():
            log.warning(
                "%.0f %% of the training time was spent on waiting for audio; more data.workers load it sooner",
                100 * self._waited / self._elapsed(),
            )

    def _note(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(module, TranscriptionTask)
        checkpoints = next(one for one in trainer.callbacks if isinstance(one, Checkpoints))  # type: ignore[attr-defined]
        best = checkpoints.best_path()
        metrics = _metrics_of(best)
        cuda = module.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated() if cuda else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.card.tell(
            figures={
                "best": {"checkpoint": best.name, "monitor": checkpoints.monitor, "metrics": metrics},
                "steps": trainer.global_step,
                "speech_seconds": round(module.heard, 1),
                "fragments": module.drawn - module.missed,
                "unreadable": module.missed,
                "training_seconds": round(self._elapsed(), 1),
                "waited_seconds": round(self._waited, 1),
                "peak_memory_mib": round(peak / 2**20),
            }
        )


def _metrics_of(checkpoint: Path) -> dict[str, float]:
    """What a checkpoint says that it reached; the weights stay on disk."""
    if not checkpoint.is_file():
        return {}
    own = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)[OWN_ENTRY]
    return dict(own["metrics"])
