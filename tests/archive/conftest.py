"""A small archive of made-up sounds, and a tiny model whose figures depend on which clips share a batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from whisper.model import Whisper

from asr.archive.work import Settings
from asr.model.checkpoint import CheckpointInfo, save_checkpoint
from asr.model.network import DialectWhisper


@pytest.fixture
def tight(tiny_whisper: Whisper, tmp_path: Path) -> Path:
    path = tmp_path / "tight.pt"
    save_checkpoint(DialectWhisper(tiny_whisper, window="tight"), CheckpointInfo(base_model="tiny-random"), path)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A manifest of 24 fragments of 0.3 to 2 s, one without its recording, and a broken line."""
    random = np.random.default_rng(0)
    (tmp_path / "audio").mkdir()
    rows = []
    for number in range(24):
        seconds = random.uniform(0.3, 2)
        soundfile.write(tmp_path / f"audio/{number}.wav", 0.1 * random.standard_normal(int(16000 * seconds)), 16000)
        rows.append({"id": f"f{number}", "audio": f"audio/{number}.wav", "text": "", "language": "fr"})
    rows.insert(7, {"id": "gone", "audio": "gone.wav", "text": "", "language": "fr"})
    path = tmp_path / "archive.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    return path


@pytest.fixture
def settings(tight: Path) -> Settings:
    return Settings(model=str(tight), device="cpu", batch_seconds=0.5, workers=2)
