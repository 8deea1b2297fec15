"""Several processes that make one run: how they work together, and how the others end when one is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from asr.errors import ConfigError
from asr.training.checkpoints import of_this_version, reading_state

# lightning looks every five seconds, and kills without a word.
_LOOK = 0.2


def check_processes(wanted: int) -> None:
    """Refuse to be one of several processes that know nothing of each other and write to the same folder.

    Raises:
        ConfigError: torchrun has started more or fewer processes than the configuration asks for.
    """
    found = os.environ.get("WORLD_SIZE")
    if torch.distributed.is_torchelastic_launched() and found is not None and int(found) != wanted:
        raise ConfigError(
            f"torchrun has started {found} processes, but trainer.devices times trainer.nodes is {wanted}; give it "
            "--nproc-per-node and --nnodes with the same numbers, and trainer=ddp or trainer=fsdp"
        )


def make_strategy(name: Literal["auto", "ddp", "fsdp"], processes: int, timeout: timedelta) -> str | Strategy:
    """Return how processes work together.

    Args:
        name: As the configuration has it.
        processes: Their number.
        timeout: After which one gives up waiting for the others.
    """
    if name == "ddp":
        # The only buffer is the causal mask, the same everywhere. Sending it round before every forward pass would make
        # processes with more validation batches than others wait for ever.
        return DDPStrategy(broadcast_buffers=False, timeout=timeout)
    if name == "fsdp":
        return _ShardedStrategy(processes, 1, save_distributed_checkpoint=False, timeout=timeout)
    return name


class _ShardedStrategy(ModelParallelStrategy):
    """lightning's FSDP2, whose state is one file as any other strategy's."""

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the state.

        Raises:
            CheckpointError: It is missing, damaged or of another version.
        """
        with reading_state(checkpoint_path):
            state = super().load_checkpoint(checkpoint_path, weights_only=True)
        return of_this_version(state, checkpoint_path)


def lost_process(error: RuntimeError) -> bool:
    """Whether an error says that another process does not answer: torch's own kinds, and gloo's, which have none."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error) or "Socket" in str(error)


class WatchProcesses(lightning.Callback):
    """Says when a process ends that this one has started; lightning kills this one then, without a word.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        """Begin to watch."""
        started = list(getattr(trainer.strategy.launcher, "procs", ()))
        if started:
            threading.Thread(target=self._watch, args=(started,), daemon=True).start()

    def _watch(self, started: list[subprocess.Popen[bytes]]) -> None:
        while any(process.poll() is None for process in started):
            time.sleep(_LOOK)
            for rank, process in enumerate(started, 1):
                if process.poll():
                    print(  # noqa: T201
                        f"asr: process {rank} of this run has ended with code {process.returncode}, and the others end "
                        f"with it; go on with resume={self.folder}",
                        file=sys.stderr,
                    )
                    return
