"""`asr serve` as a user types it: a process of its own, stopped by a signal; and what it refuses at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from typer.testing import CliRunner

from asr.cli import app
from asr.export.run import export
from asr.model.checkpoint import load_checkpoint

SOON = 60.0


@contextmanager
def served(*arguments: str | Path, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process, and its address."""
    command = [sys.executable, "-m", "asr", "serve", *map(str, arguments), "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "listens on" in line)
            url = line.split()[-1]
            while True:
                try:
                    httpx.get(f"{url}/healthz")
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            yield process, url
        finally:
            process.kill()


def test_sigterm_finishes_what_is_in_work(tiny_checkpoint: Path, tmp_path: Path, voice: Any) -> None:
    soundfile.write(tmp_path / "a.wav", voice(2.0), 16000)
    began, stopped = threading.Event(), threading.Event()
    answers: list[httpx.Response] = []

    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        began.set()
        assert stopped.wait(SOON)
        yield (tmp_path / "a.wav").read_bytes() + b"\r\n--x--\r\n"

    def ask(url: str) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answers.append(httpx.post(f"{url}/v1/audio/transcriptions", content=body(), headers=headers, timeout=SOON))

    with served(tiny_checkpoint, "--name", "mine") as (process, url):
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "mine"
        asking = threading.Thread(target=ask, args=(url,))
        asking.start()
        assert began.wait(SOON)
        process.send_signal(signal.SIGTERM)
        until_refused(url)
        stopped.set()
        asking.join(SOON)
        assert process.wait(SOON) in (0, -signal.SIGTERM)
        assert [answer.status_code for answer in answers] == [200]


def until_refused(url: str) -> None:
    """Wait until no connection is taken any more."""
    end = time.monotonic() + SOON
    with pytest.raises(httpx.TransportError):
        while time.monotonic() < end:
            httpx.get(f"{url}/healthz")
            time.sleep(0.05)


def test_the_key_of_the_environment_is_asked_for(tiny_checkpoint: Path) -> None:
    with served(tiny_checkpoint, ASR_API_KEY="0123456789abcdef") as (_, url):
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert httpx.get(f"{url}/v1/models", headers={"Authorization": "Bearer 0123456789abcdef"}).status_code == 200


def refused(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["serve", *map(str, arguments), "--port", "0"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("damage", ["gone", "cut", "garbage"])
def test_a_broken_model_is_refused_at_start(tiny_checkpoint: Path, damage: str) -> None:
    content = tiny_checkpoint.read_bytes()
    if damage == "gone":
        tiny_checkpoint.unlink()
    else:
        tiny_checkpoint.write_bytes(content[: len(content) // 2] if damage == "cut" else b"no checkpoint" * 100)
    code, said = refused(tiny_checkpoint)
    assert code == 1 and tiny_checkpoint.name in said and "Traceback" not in said


def test_a_folder_with_a_missing_file_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    code, said = refused(tmp_path / "model")
    assert code == 1 and "model" in said


@pytest.fixture
def exported(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    export(load_checkpoint(tiny_checkpoint), "ctranslate2", tmp_path / "exported", None)
    return tmp_path / "exported"


@pytest.mark.parametrize(
    "name", ["model.bin", "dialect_asr.safetensors", "config.json", "vocabulary.json", "tokenizer.json"]
)
@pytest.mark.parametrize("damage", ["gone", "one bit"])
def test_an_export_with_a_missing_or_damaged_file_is_refused_at_start(
    exported: Path, tmp_path: Path, name: str, damage: str
) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).unlink()
    if damage == "one bit":
        (folder / name).write_bytes(content)
    code, said = refused(folder)
    assert code == 1 and name in said and ("is missing" if damage == "gone" else "is damaged") in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--queue", "0"], 2, "queue must be a number above 0"),
        (["--api-key-file", "none"], 2, "none cannot be read"),
        (["--host", "192.0.2.1"], 2, "cannot be listened on"),
        (["--intent-model", "none"], 1, "there is no intent model none"),
        (["--n-best", "3"], 2, "found by as many beams, and beam_size is None"),
    ],
)
def test_what_cannot_be_served(tiny_checkpoint: Path, arguments: list[str], code: int, said: str) -> None:
    found, sentence = refused(tiny_checkpoint, *arguments)
    assert found == code and said in sentence
