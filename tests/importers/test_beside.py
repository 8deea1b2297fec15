"""Annotation files are found, read under a limit, and never lead out of their corpus."""

from pathlib import Path

import pytest

from asr.errors import ConfigError, ManifestError
from asr.importers import beside
from asr.importers.beside import BesideOptions, Ids, find_files, find_recording, read_bytes, read_text


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_files_come_in_order_without_hidden_ones(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    for name in ("b.srt", "a/z.SRT", ".hidden/c.srt", ".d.srt", "e.txt", "c.vtt"):
        touch(root / name)
    touch(tmp_path / "outside.srt")
    (root / "link.srt").symlink_to(tmp_path / "outside.srt")
    (root / "folder.srt").mkdir()
    found = [path.relative_to(root).as_posix() for path in find_files(root, ".srt", ".vtt")]
    assert found == ["a/z.SRT", "b.srt", "c.vtt"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_text_in_the_encodings_of_praat(tmp_path: Path, encoding: str) -> None:
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (tmp_path / "a").write_bytes(mark + "Ça va\n".encode(encoding))
    assert read_text(tmp_path / "a") == "Ça va\n"


def test_other_text_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("un\nÇa".encode("latin-1"))
    with pytest.raises(ManifestError, match=r"neither UTF-8 nor UTF-16; save it as UTF-8 .*a:2"):
        read_text(tmp_path / "a")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "MAX_BYTES", 1 << 20)
    with (tmp_path / "a").open("wb") as handle:
        handle.truncate(1 << 40)  # a terabyte of holes: whoever reads it all does not come back
    with pytest.raises(ManifestError, match="longer than 1 MiB"):
        read_bytes(tmp_path / "a")


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08", b"PK\x03\x04", b"BZh9", b"\xfd7zXZ\x00"])
def test_packed_files_are_not_unpacked(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a").write_bytes(start + bytes(100))
    with pytest.raises(ManifestError, match="packed"):
        read_bytes(tmp_path / "a")


def test_the_recording_of_a_file(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    file = touch(root / "eaf/talk.eaf")
    with pytest.raises(ManifestError, match="no recording lies beside it"):
        find_recording(file, root)
    beside_it = touch(root / "eaf/talk.MP3")
    assert find_recording(file, root) == beside_it
    better = touch(root / "eaf/talk.wav")
    assert find_recording(file, root) == better
    elsewhere = touch(root / "media/talk-1.wav")
    assert find_recording(file, root, "../media/talk-1.wav").resolve() == elsewhere
    moved = touch(root / "eaf/other.wav")
    assert find_recording(file, root, "/C:/Users/anna/other.wav") == moved


@pytest.mark.parametrize("name", ["../secret.wav", "../../corpus/../secret.wav", "/ABSOLUTE", "nul\x00.wav", "x" * 300])
def test_nothing_outside_the_corpus_is_taken(tmp_path: Path, name: str) -> None:
    secret = touch(tmp_path / "secret.wav")
    root = tmp_path / "corpus"
    file = touch(root / "a.eaf")
    with pytest.raises(ManifestError, match=r"outside the corpus|no recording"):
        find_recording(file, root, name.replace("/ABSOLUTE", str(secret)))
    (root / "a.wav").symlink_to(secret)
    with pytest.raises(ManifestError):
        find_recording(file, root)


def test_ids_name_the_place_and_differ(tmp_path: Path) -> None:
    ids = Ids(tmp_path / "a/b.srt", tmp_path)
    assert [ids.make(1.25), ids.make(1.25), ids.make(0.0, "/t2")] == [
        "a/b-00001250",
        "a/b-00001250-2",
        "a/b/t2-00000000",
    ]


def test_constants_are_checked() -> None:
    with pytest.raises(ConfigError, match="language"):
        BesideOptions()
    with pytest.raises(ConfigError, match=r"'licens' is no field.*licence"):
        BesideOptions(constants={"language": "fr", "licens": "MIT"})
