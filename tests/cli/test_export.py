"""`asr export` as it is typed: a folder out, both word error rates, exit codes, sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import asr.export.run
from asr import load_checkpoint
from asr.cli import app
from asr.privacy.record import open_record


def run(*arguments: str | Path | float) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["export", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, " ".join(result.stderr.replace("│", " ").split())


@pytest.fixture(autouse=True)
def short_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model finds no end."""
    monkeypatch.setitem(asr.export.run.export.__kwdefaults__, "max_tokens", 4)


def test_an_export_is_heard_and_written(tiny_checkpoint: Path, dev: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = run(tiny_checkpoint, "--to", "openai", "--output", out, "--check", dev, "--fragments", 1)
    assert code == 0, stderr
    figures, written = stdout.splitlines()
    assert "heard by openai-whisper: +0.00 points; 0 words of " in figures
    assert figures.endswith("(1 fragments, 3 words)")
    assert written == f"written to {out}"
    assert load_checkpoint(out / "model.pt").info.base_model == "tiny-random"
    begun, ended = open_record().entries()
    assert (begun.action, begun.details["command"], ended.details["fragments"]) == ("evaluate", "export", 1)
    assert begun.manifests[0].name == "dev.jsonl"


def test_what_differs_is_refused(
    tiny_checkpoint: Path, dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr.export.run, "openai_whisper", lambda *_, **__: lambda *_: "sentence number 0")
    out = tmp_path / "out"
    code, stdout, stderr = run(tiny_checkpoint, "--to", "openai", "--output", out, "--check", dev)
    assert (code, stdout) == (1, "")
    assert "asr: the export is refused, it differs by more than 2 points: WER 100.00 % as a checkpoint" in stderr
    assert not out.exists()


def test_nobody_has_to_hear_it_if_that_is_spelt_out(tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, _ = run(tiny_checkpoint, "--to", "ctranslate2", "--output", out, "--without-check")
    assert (code, stdout) == (0, f"written to {out}; nobody has heard it yet\n")
    assert (out / "model.bin").is_file()


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["--to", "ggml"], 2, "give --check and a manifest, so that the export is heard before it is used"),
        (["--to", "ggml", "--check", "gone.jsonl", "--without-check"], 2, "give --check and a manifest"),
        (["--to", "ggml", "--check", "gone.jsonl"], 1, "asr: there is no such manifest"),
        (["--to", "onnx", "--without-check"], 2, "'onnx' is not one of"),
        (["--to", "ctranslate2", "--quantization", "int4", "--without-check"], 2, "'int4' is not one of"),
    ],
)
def test_wrong_usage(words: list[str], code: int, message: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    found, _, stderr = run(tiny_checkpoint, *words, "--output", tmp_path / "out")
    assert found == code and message in stderr
    assert not (tmp_path / "out").exists()
