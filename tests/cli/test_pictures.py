"""`asr picture` as it is typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

import asr.inference.transcriber
from asr.cli import app
from asr.inference.decoding import DecodeOptions


@pytest.fixture(autouse=True)
def short_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model finds no end."""
    monkeypatch.setattr(asr.inference.transcriber, "DecodeOptions", lambda: DecodeOptions(max_tokens=6))


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["picture", *(str(argument) for argument in arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_recording_becomes_a_picture(tiny_checkpoint: Path, tmp_path: Path) -> None:
    times = np.arange(16000) / 16000
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(2 * np.pi * 150 * times), 16000)
    output = tmp_path / "new" / "a.png"
    given = ("--model", tiny_checkpoint, "--language", "fr", "--device", "cpu")
    code, stdout, stderr = run(tmp_path / "a.wav", "--output", output, *given)
    assert (code, stdout) == (0, f"written to {output}\n"), stderr
    with Image.open(output) as image:
        assert image.format == "PNG"


def test_a_name_that_is_no_pictures_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    code, _, stderr = run(tmp_path / "a.wav", "--output", tmp_path / "a.txt", "--model", "nowhere")
    assert (code, stderr) == (1, "asr: a picture cannot be written as 'a.txt'; end its name in .png, .svg, .pdf\n")
