"""Manifests whose fragments say nothing, and recordings for those that are heard."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from asr.fragment import Consent

MakeManifest = Callable[..., Path]


@pytest.fixture
def manifest(tmp_path: Path, consent: Consent) -> MakeManifest:
    """Write a manifest of fragments with the given durations; their recordings do not exist."""

    def write(name: str, durations: Sequence[float], **changes: Any) -> Path:
        path = tmp_path / f"{name}.jsonl"
        same = {"audio": "none.wav", "text": "hello", "language": "en", "consent": consent.model_dump(mode="json")}
        rows = [{"id": f"{name}{number}", "duration": duration} | same for number, duration in enumerate(durations)]
        path.write_text("".join(json.dumps(row | changes) + "\n" for row in rows), "utf-8")
        return path

    return write
