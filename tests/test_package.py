"""The package's front: what a user calls is there, and nothing heavy is loaded before it is asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import asr


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


HEAVY = ("torch", "whisper", "transformers", "lightning", "lhotse", "librosa", "sqlalchemy")


def test_import_loads_nothing_heavy() -> None:
    done = python(f"import sys, asr; asr.Fragment, asr.read_manifest; print([m for m in {HEAVY} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_help_loads_nothing_heavy() -> None:
    done = python(
        "import sys\nfrom asr.cli import main\nsys.argv = ['asr', '--help']\n"
        f"try: main()\nexcept SystemExit as end: print(end.code, [m for m in {HEAVY} if m in sys.modules])"
    )
    assert done.stdout.rstrip().endswith("0 []"), done.stdout + done.stderr
    assert "validate" in done.stdout


@pytest.mark.parametrize("name", asr.__all__)
def test_everything_promised_is_there(name: str) -> None:
    assert getattr(asr, name).__name__ == name
    assert name in dir(asr)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'asr' has no attribute 'Transcribr'"):
        asr.Transcribr  # noqa: B018


def test_module_runs_as_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "asr", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Usage: asr" in done.stdout


def test_nothing_tells_others_what_it_is_used_for(tmp_path: Path) -> None:
    # Without asr's word against it, onnxruntime leaves a device's id and what it wants to send in these folders.
    code = "import asr, numpy; from asr.prosody import track; track(numpy.sin(numpy.arange(16000, dtype='f4') / 10))"
    # Not pytest's own environment, in which it keeps still.
    environment = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == []


def test_memory_does_not_grow_with_every_shape_that_is_heard() -> None:
    # Without asr's word, torch and oneDNN keep what they prepared for each of the last 1 024 shapes: 9 MB more here.
    code = """
import asr
import ctypes, pathlib, torch
from whisper.model import ModelDimensions, Whisper
from asr.model.network import DialectWhisper

torch.set_num_threads(1)
model = DialectWhisper(Whisper(ModelDimensions(80, 1500, 64, 2, 2, 51865, 448, 64, 2, 1)), "tight").eval()

def megabytes(shapes):
    with torch.inference_mode():
        for number in shapes:
            rows, frames = 1 + number % 7, 100 + 10 * number
            model.encode(torch.zeros(rows, 80, frames), torch.full((rows,), frames))
    ctypes.CDLL(None).malloc_trim(0)
    return int(pathlib.Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024

before = megabytes(range(160))
print(megabytes(range(160, 290)) - before)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 4


def test_mlflow_tells_nobody_that_it_is_used(tmp_path: Path) -> None:
    # Without asr's word against it, MLflow asks its maker's server what to send, and leaves a machine's id at home.
    code = """
import socket, sys
called = []
socket.getaddrinfo = lambda host, *_, **__: called.append(host) or (_ for _ in ()).throw(OSError("no network"))
if sys.argv[1] == "asr":
    import asr
from mlflow.telemetry.client import get_telemetry_client
from mlflow.tracking import MlflowClient
client = MlflowClient("sqlite:///m.db")
client.create_run(client.create_experiment("e"))
telemetry = get_telemetry_client()
if telemetry is not None:
    telemetry.flush(terminate=True)
print(called)
"""
    # Not pytest's own environment, in which it keeps still.
    environment = {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    told = {}
    for first in ("asr", "mlflow"):
        done = subprocess.run(
            [sys.executable, "-c", code, first],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        told[first] = done.stdout.strip()
        (tmp_path / "m.db").unlink()
    assert told["asr"] == "[]" and "mlflow" in told["mlflow"]
