"""SHA-256 against Python's own, the list against ``sha256sum``, and what is wrong with a folder."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from asr.errors import CheckpointError
from asr.sums import SUMS, check_model, sha256_of, write_sums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(bytes(range(256)) * 8000)
    (tmp_path / "empty").touch()
    write_sums(tmp_path, {name: sha256_of(tmp_path / name) for name in ("model.bin", "empty")})
    return tmp_path


def test_it_is_sha256(folder: Path) -> None:
    for name in ("model.bin", "empty"):
        assert sha256_of(folder / name) == hashlib.sha256((folder / name).read_bytes()).hexdigest()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum here")
def test_sha256sum_reads_the_list(folder: Path) -> None:
    assert subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=folder, check=False).returncode == 0


def test_a_sound_folder_and_one_without_a_list_pass(folder: Path) -> None:
    check_model(folder)
    (folder / SUMS).unlink()
    (folder / "model.bin").unlink()
    check_model(folder)


def test_what_is_missing_or_damaged_is_named(folder: Path) -> None:
    content = bytearray((folder / "model.bin").read_bytes())
    content[1000] ^= 1
    (folder / "model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model.bin is damaged: .*; copy or export it again"):
        check_model(folder)
    (folder / "model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"is not complete: model.bin is missing"):
        check_model(folder)
    (folder / SUMS).write_text("nonsense\n")
    with pytest.raises(CheckpointError, match="line 1, is damaged"):
        check_model(folder)
