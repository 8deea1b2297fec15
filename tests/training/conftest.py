"""A corpus of made-up sounds, and a run that learns from it in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from whisper.model import Whisper

from asr.data.augment import Augment, AugmentOptions
from asr.data.batch import BatchOptions
from asr.fragment import Fragment, write_manifest
from asr.model.adapt import AdaptMode, adapt
from asr.model.checkpoint import CheckpointInfo
from asr.model.network import DialectWhisper
from asr.training.run import DataOptions, TrainerOptions, train
from asr.training.task import OptimOptions


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A manifest of 12 fragments of 0.3 to 1.4 s in two dialects."""
    random = np.random.default_rng(0)
    fragments = []
    for number in range(12):
        seconds = 0.3 + 0.1 * number
        audio = tmp_path / "audio" / f"{number}.wav"
        audio.parent.mkdir(exist_ok=True)
        soundfile.write(audio, 0.1 * random.standard_normal(round(seconds * 16000)), 16000)
        fragments.append(
            Fragment(
                id=f"f{number}",
                audio=str(audio),
                text=f"sentence number {number}",
                language="fr" if number % 2 else "en",
                dialect="fr-CA" if number % 2 else "en-GB",
                duration=seconds,
            )
        )
    write_manifest(fragments, tmp_path / "corpus.jsonl")
    return tmp_path / "corpus.jsonl"


Run = Callable[..., Path]


@pytest.fixture
def run(tiny_whisper: Whisper, corpus: Path) -> Run:
    """Train the tiny model; keywords change `TrainerOptions`."""

    def start(
        folder: Path,
        *,
        resume: bool = False,
        mode: AdaptMode = "full",
        dev: bool = True,
        train_on: tuple[str, ...] = (),
        workers: int = 0,
        **options: object,
    ) -> Path:
        import copy

        model = DialectWhisper(copy.deepcopy(tiny_whisper), "tight")
        adapt(model, mode)
        settings = {"max_steps": 4, "validate_every": 2, "save_every": 1, "log_every": 1, "accelerator": "cpu"}
        return train(
            model,
            CheckpointInfo(base_model="tiny-random"),
            folder,
            data=DataOptions(
                train_on or (str(corpus),), dev=(str(corpus),) if dev else (), batch_seconds=4.0, workers=workers
            ),
            batch=BatchOptions(),
            augment=Augment(AugmentOptions()),
            optim=OptimOptions(lr=1e-3, warmup_steps=2),
            trainer=TrainerOptions(**{**settings, **options}),  # type: ignore[arg-type]
            seed=0,
            resume=resume,
        )

    return start
