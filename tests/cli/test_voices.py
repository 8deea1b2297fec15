"""`asr change-voice` as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from asr.cli import app
from asr.fragment import read_manifest
from asr.privacy.copies import MANIFEST
from asr.privacy.pseudonyms import new_key


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "keys/key")
    return tmp_path / "keys/key"


@pytest.fixture
def data(dev: Path, tmp_path: Path) -> Path:
    """The manifest in a folder without the key."""
    (tmp_path / "data").mkdir()
    rows = [json.loads(line) for line in dev.read_text().splitlines()]
    lines = [json.dumps(row | {"audio": str(dev.parent / row["audio"])}) for row in rows]
    (tmp_path / "data/dev.jsonl").write_text("\n".join(lines))
    return tmp_path / "data/dev.jsonl"


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["change-voice", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_manifest_becomes_a_copy(data: Path, key: Path, tmp_path: Path) -> None:
    code, stdout, stderr = run(data, tmp_path / "copy", "--key", key, "--method", "world")
    assert code == 0, stderr
    assert stdout.startswith("2 fragments, 1 s of sound, changed in ")
    assert stdout.endswith(f"{tmp_path / 'copy' / MANIFEST}; 0 failures left out\n")
    assert [item.id for item in read_manifest(tmp_path / "copy" / MANIFEST)] == ["f0", "f1"]


def test_a_failure_is_named_and_is_exit_code_1(data: Path, key: Path, tmp_path: Path) -> None:
    with data.open("a") as handle:
        handle.write("\n{broken")
    code, stdout, stderr = run(data, tmp_path / "copy", "--key", key)
    assert code == 1
    assert "1 failures left out" in stdout
    assert stderr.startswith("failed: not JSON")


def test_a_key_must_be_there_and_lie_elsewhere(data: Path, key: Path, tmp_path: Path) -> None:
    code, _, stderr = run(data, tmp_path / "copy", "--key", tmp_path / "gone")
    assert (code, stderr.startswith("asr: there is no key")) == (1, True)
    inside = data.with_name("key")
    inside.write_bytes(key.read_bytes())
    code, _, stderr = run(data, tmp_path / "copy", "--key", inside)
    assert (code, "lies in the data folder" in stderr) == (1, True)
    assert not (tmp_path / "copy").exists()


def test_the_library_that_is_missing_is_named(
    data: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyworld", None)
    code, _, stderr = run(data, tmp_path / "copy", "--key", key)
    assert (code, "pip install dialect-asr[privacy]" in stderr) == (1, True)
    assert not (tmp_path / "copy").exists()


def test_it_loads_neither_torch_nor_the_attacker(data: Path, key: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from asr.cli import app; "
        f"app({['change-voice', str(data), str(tmp_path / 'copy'), '--key', str(key)]!r}, standalone_mode=False); "
        "assert not {'torch', 'librosa', 'resemblyzer', 'sklearn'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
