import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment
from asr.privacy.tombstones import Tombstones, state_folder, tombstones_path, unburied


def fragment(audio: Path, speaker: str | None = None, name: str = "f1") -> Fragment:
    return Fragment(id=name, audio=str(audio), text="", language="fr", speaker=speaker)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound" * 100)
    return path


@pytest.fixture
def graves(tmp_path: Path, recording: Path) -> Tombstones:
    graves = Tombstones(tmp_path / "state" / "tombstones.json")
    graves.bury(["anna"], ["f1"], [(hashlib.sha256(recording.read_bytes()).hexdigest(), 500)])
    return graves


def test_what_was_erased_is_known_again_by_any_of_three(graves: Tombstones, recording: Path, tmp_path: Path) -> None:
    again = Tombstones(graves.path)
    copy, other = tmp_path / "copy.wav", tmp_path / "other.wav"
    copy.write_bytes(recording.read_bytes())
    other.write_bytes(b"SOUND" * 100)  # of the same size
    assert again.reason(fragment(other, "anna", "f9")) == "speaker"
    assert again.reason(fragment(other, None, "f1")) == "fragment"
    # Many corpora count from 1: who speaks decides, where that is said.
    assert again.reason(fragment(other, "berta", "f1")) is None
    assert again.reason(fragment(copy, "berta", "f9")) == "audio"
    assert again.reason(fragment(tmp_path / "missing.wav", "berta", "f9")) is None


def test_a_stream_passes_without_them_and_they_are_counted(graves: Tombstones, tmp_path: Path) -> None:
    nothing = tmp_path / "none.wav"
    error = ManifestError("a broken row")
    rows = [fragment(nothing, "anna"), error, fragment(nothing, "berta"), fragment(nothing), fragment(nothing, "anna")]
    refused: Counter[str] = Counter()
    assert list(unburied(rows, graves, refused)) == [error, rows[2]]
    assert refused == {"speaker": 2, "fragment": 1}


def test_the_file_tells_nobody_who_it_was(graves: Tombstones, recording: Path) -> None:
    content = graves.path.read_text()
    digest = hashlib.sha256(recording.read_bytes()).hexdigest()
    for value in ("anna", '"f1"', digest):
        assert value not in content
        assert hashlib.sha256(value.encode()).hexdigest() not in content
    assert graves.path.stat().st_mode & 0o077 == 0
    # The hash that is described: salt, kind, a zero byte, value.
    data = json.loads(content)
    assert data["speaker"] == [hashlib.sha256(bytes.fromhex(data["salt"]) + b"speaker\0anna").hexdigest()]


def test_burying_again_adds_nothing_and_another_file_has_another_salt(graves: Tombstones, tmp_path: Path) -> None:
    before = graves.path.read_bytes()
    Tombstones(graves.path).bury(["anna"], ["f1"])
    assert graves.path.read_bytes() == before
    assert len(graves) == 3
    other = Tombstones(tmp_path / "other.json")
    assert len(other) == 0 and other.hash("speaker", "anna") != graves.hash("speaker", "anna")
    Tombstones(graves.path).bury(["berta"])
    assert len(Tombstones(graves.path)) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format_version": 1}', '{"format_version": 1, "salt": "x"}'])
def test_a_damaged_file_is_not_passed_over(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        Tombstones(path)


def test_a_newer_file_is_refused(graves: Tombstones) -> None:
    data = json.loads(graves.path.read_text()) | {"format_version": 2}
    graves.path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="format 2"):
        Tombstones(graves.path)


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ASR_TOMBSTONES", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "dialect-asr"
    assert tombstones_path() == tmp_path / "dialect-asr" / "tombstones.json"
    monkeypatch.setenv("ASR_TOMBSTONES", str(tmp_path / "t.json"))
    assert tombstones_path() == tmp_path / "t.json"
    monkeypatch.delenv("ASR_TOMBSTONES")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_folder() == Path.home() / ".local" / "state" / "dialect-asr"
