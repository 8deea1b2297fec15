"""A reader never sees half a file, nor half a folder."""

import errno
import gzip
import os
from pathlib import Path

import pytest

from asr.errors import AsrError
from asr.files import atomic_folder, atomic_write, packer


def test_text_and_bytes_are_written_with_their_folders(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a/b/text.txt") as handle:
        handle.write("Où ?\n")
    with atomic_write(tmp_path / "a/bytes", "wb") as handle:
        handle.write(b"\x00\xff")
    assert (tmp_path / "a/b/text.txt").read_bytes() == "Où ?\n".encode()
    assert (tmp_path / "a/bytes").read_bytes() == b"\x00\xff"


def test_the_older_file_stands_until_the_end(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    with atomic_write(tmp_path / "f") as handle:
        handle.write("new")
        handle.flush()
        assert (tmp_path / "f").read_text() == "old"
    assert (tmp_path / "f").read_text() == "new"


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_older_file_and_no_other(tmp_path: Path, fault: BaseException) -> None:
    (tmp_path / "f").write_text("old")
    with pytest.raises(type(fault)), atomic_write(tmp_path / "f") as handle:
        handle.write("half")
        raise fault
    assert (tmp_path / "f").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_disk_that_fills_at_the_last_moment_is_a_failure_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), atomic_write(tmp_path / "f") as handle:
        handle.write("all of it")
    assert not list(tmp_path.iterdir())


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "f"):
            pass
        assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a" / "out"
    with atomic_folder(target) as folder:
        (folder / "f").write_text("x")
        assert not target.exists()
    assert [path.read_text() for path in target.iterdir()] == ["x"]
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "a" / "other") as folder:
        (folder / "f").write_text("half")
        raise KeyboardInterrupt
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


def test_a_folder_replaces_an_empty_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with atomic_folder(tmp_path / "empty"):
        pass
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(AsrError, match="is there already"), atomic_folder(path):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_what_ends_in_gz_is_packed_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("f.gz", "g.gz", "h"):
        with atomic_write(tmp_path / name, "wb") as raw, packer(tmp_path / name, raw) as handle:
            handle.write(b"content")
    packed = (tmp_path / "f.gz").read_bytes()
    assert packed == (tmp_path / "g.gz").read_bytes() and gzip.decompress(packed) == b"content"
    assert (tmp_path / "h").read_bytes() == b"content"
