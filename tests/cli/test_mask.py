"""asr mask, as it is typed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from typer.testing import CliRunner

from asr.cli import app
from asr.fragment import Fragment, WordTime, read_manifest, write_manifest


def test_mask(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(16000, 0.5, np.float32), 16000)
    word = WordTime(text="Marie", start=0.5, duration=0.2)
    named = Fragment(
        id="a", audio=str(tmp_path / "a.wav"), text="ici Marie", language="fr",
        words=(WordTime(text="ici", start=0.1, duration=0.2), word),
    )  # fmt: skip
    write_manifest([named], tmp_path / "m.jsonl")
    result = CliRunner().invoke(app, ["mask", str(tmp_path / "m.jsonl"), str(tmp_path / "out"), "--beep"])
    assert result.exit_code == 0, result.stderr
    assert "1 fragments written" in result.stdout and "masked: 1 NAME" in result.stdout
    (fragment,) = read_manifest(tmp_path / "out/m.jsonl")
    assert fragment.text == "ici [NAME]"
    heard, _ = soundfile.read(fragment.audio)
    assert (heard[:6400] == 0.5).all() and (heard[12800:] == 0.5).all()
    assert np.abs(heard[6500:12700]).max() < 0.11 and np.abs(heard[9000:9100]).max() > 0.05

    write_manifest([named.replace(id="b", words=()), named], tmp_path / "m.jsonl")
    result = CliRunner().invoke(app, ["mask", str(tmp_path / "m.jsonl"), str(tmp_path / "two")])
    assert result.exit_code == 1
    assert "left out: fragment 'b' has personal data" in result.stderr and "Marie" not in result.stderr
    assert [item.id for item in read_manifest(tmp_path / "two/m.jsonl")] == ["a"]
    result = CliRunner().invoke(app, ["mask", str(tmp_path / "m.jsonl"), str(tmp_path / "two")])
    assert result.exit_code == 1 and "name another folder" in result.stderr


def test_help_loads_no_model() -> None:
    code = (
        "import sys\nfrom asr.cli import app\ntry: app(['mask', '--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'spacy', 'presidio_analyzer', 'faker'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
