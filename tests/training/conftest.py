"""A run that learns in seconds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import lightning
import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch.loggers.logger import Logger
from whisper.model import Whisper

from asr.data.augment import Augment, AugmentOptions
from asr.data.batch import BatchOptions
from asr.fragment import Consent, Fragment, write_manifest
from asr.model.adapt import AdaptMode, LoraOptions, adapt
from asr.model.checkpoint import CheckpointInfo
from asr.model.network import DialectWhisper
from asr.training.adversary import corpora_of
from asr.training.heads import HeadOptions, head_labels
from asr.training.optim import OptimOptions
from asr.training.run import DataOptions, TrainerOptions, train

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
        loggers: Sequence[Logger] = (),
        watchers: Sequence[lightning.Callback] = (),
        **options: object,
    ) -> Path:
        model = DialectWhisper(copy.deepcopy(tiny_whisper), "tight")
        torch.manual_seed(0)
        learnt = head_labels([train_on], heads or HeadOptions())
        model.set_heads({name: labels.spec for name, labels in learnt.items()})
        adapt(model, mode, LoraOptions(rank=4))
        settings = {"max_steps": 2, "validate_every": 1000, "save_every": 1000, "log_every": 1, "accelerator": "cpu"}
        settings["precision"] = "32-true"  # the same on every machine
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
            loggers=loggers,
            watchers=watchers,
        )

    return start


@pytest.fixture
def voices(tmp_path: Path, consent: Consent) -> Path:
    """24 fragments of two kinds that nobody confuses: a glide and a hiss; one has no label."""
    random = np.random.default_rng(0)
    fragments = []
    for number in range(24):
        time = np.arange(round(16000 * random.uniform(0.4, 0.9))) / 16000
        glide = 0.2 * np.sin(2 * np.pi * (200 * time + 150 * time**2))
        hiss = 0.2 * random.standard_normal(len(time))
        soundfile.write(tmp_path / f"{number}.wav", hiss if number % 2 else glide, 16000)
        kind = None if number == 0 else "statement" if number % 2 else "question"
        fragments.append(
            Fragment(
                id=f"v{number}",
                audio=str(tmp_path / f"{number}.wav"),
                text="yes",
                language="en",
                intonation=kind,
                consent=consent,
            )
        )
    write_manifest(fragments, tmp_path / "voices.jsonl")
    return tmp_path / "voices.jsonl"
