"""The engines that can run a checkpoint, and which of them runs it."""

from __future__ import annotations

from pathlib import Path

import torch

from asr.errors import ConfigError
from asr.inference.engine import Engine
from asr.inference.engines.ctranslate2 import CTranslate2Engine, is_export
from asr.inference.engines.pytorch import TorchEngine
from asr.model.checkpoint import Checkpoint, load_checkpoint

ENGINES = ("auto", "torch", "ctranslate2")


def open_engine(
    checkpoint: Checkpoint | str | Path,
    engine: str = "auto",
    device: str = "auto",
    *,
    replicas: int | None = None,
    threads: int | None = None,
) -> Engine:
    """Load what hears.

    Args:
        checkpoint: A loaded checkpoint, what `asr.model.checkpoint.load_checkpoint` takes, or the folder of a
            CTranslate2 export.
        engine: ``torch``, ``ctranslate2``, or ``auto``: the latter for its exports, the former for all else.
        device: ``cpu``, ``cuda``, ``cuda:1`` …; ``auto`` is the first GPU if there is one, and where its weights
            already are for a loaded checkpoint. Another device moves a loaded checkpoint's model.
        replicas: Batches at a time; chosen by the engine when None.
        threads: Processor threads of each; chosen by the engine when None.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
        WeightsError: The base model is found nowhere.
        MissingExtraError: The engine is not installed.
        ConfigError: There is no such engine or device, or the engine cannot run this checkpoint, or not so many
            batches at a time.
    """
    if engine not in ENGINES:
        raise ConfigError(f"there is no engine {engine!r}; choose {', '.join(ENGINES)}")
    for name, value in (("replicas", replicas), ("threads", threads)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be 1 or more, found {value}")
    exported = not isinstance(checkpoint, Checkpoint) and is_export(Path(checkpoint).expanduser())
    if engine == "ctranslate2" and not exported:
        raise ConfigError(
            f"the engine ctranslate2 runs what was exported for it, and {_name(checkpoint)} was not; "
            "make it: asr export CHECKPOINT --to ctranslate2 --output DIR"
        )
    if exported and engine != "torch":
        assert not isinstance(checkpoint, Checkpoint)
        return CTranslate2Engine(Path(checkpoint).expanduser(), find_device(device), replicas, threads)
    if replicas not in (None, 1):
        raise ConfigError(f"the engine torch works on one batch at a time, not on {replicas}; leave replicas out")
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = load_checkpoint(checkpoint, find_device(device))
    elif device != "auto":
        checkpoint.model.to(find_device(device))
    return TorchEngine(checkpoint, threads)


def find_device(name: str) -> torch.device:
    """Return a device that can be used.

    Raises:
        ConfigError: There is none of that name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # Whether it is there, only a tensor tells.
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used ({reason}); choose auto, cpu, cuda or cuda:N") from None


def _name(checkpoint: Checkpoint | str | Path) -> str:
    return "a loaded checkpoint" if isinstance(checkpoint, Checkpoint) else str(checkpoint)
