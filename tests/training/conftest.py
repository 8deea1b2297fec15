"""A run that learns in seconds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from whisper.model import Whisper

from asr.data.augment import Augment, AugmentOptions
from asr.data.batch import BatchOptions
from asr.model.adapt import AdaptMode, LoraOptions, adapt
from asr.model.checkpoint import CheckpointInfo
from asr.model.network import DialectWhisper
from asr.training.adversary import corpora_of
from asr.training.heads import HeadOptions, head_labels
from asr.training.run import DataOptions, TrainerOptions, train
from asr.training.task import OptimOptions

Run = Callable[..., Path]


@pytest.fixture
def run(tiny_whisper: Whisper, corpus: Path) -> Run:
    """Train a copy of the tiny model; further keywords change `TrainerOptions`."""

    def start(
        folder: Path,
        *,
        resume: bool = False,
        mode: AdaptMode = "full",
        dev: Path | None = None,
        train_on: Path = corpus,
        lr: float = 1e-3,
        workers: int = 0,
        heads: HeadOptions | None = None,
        **options: object,
    ) -> Path:
        model = DialectWhisper(copy.deepcopy(tiny_whisper), "tight")
        torch.manual_seed(0)
        learnt = head_labels([train_on], heads or HeadOptions())
        model.set_heads({name: labels.spec for name, labels in learnt.items()})
        adapt(model, mode, LoraOptions(rank=4))
        settings = {"max_steps": 2, "validate_every": 1000, "save_every": 1000, "log_every": 1, "accelerator": "cpu"}
        return train(
            model,
            CheckpointInfo(base_model="tiny-random"),
            folder,
            data=DataOptions(
                (str(train_on),), dev=() if dev is None else (str(dev),), batch_seconds=2.0, workers=workers
            ),
            batch=BatchOptions(),
            augment=Augment(AugmentOptions()),
            optim=OptimOptions(lr=lr, warmup_steps=2),
            trainer=TrainerOptions(**{**settings, **options}),  # type: ignore[arg-type]
            seed=0,
            resume=resume,
            heads=heads,
            head_weights={name: labels.weights for name, labels in learnt.items()},
            corpora=corpora_of([train_on], heads or HeadOptions()),
        )

    return start
