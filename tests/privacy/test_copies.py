"""A copy of a corpus: what changes in it, what does not, and what happens to what cannot be changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

import asr.privacy.copies
from asr.audio import load_audio
from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment, WordTime, read_manifest, write_manifest
from asr.privacy.copies import MANIFEST, change_voices
from asr.privacy.voice import change_voice, voice_key

KEY = bytes(32)


@pytest.fixture
def spoken(voice: Callable[..., npt.NDArray[np.float32]], tmp_path: Path) -> Path:
    """Two fragments of one stereo recording at 44.1 kHz, in a folder of their own."""
    (tmp_path / "source").mkdir()
    sound = np.repeat(voice(3.0), 3)[:, None].repeat(2, axis=1)
    soundfile.write(tmp_path / "source/Anna Muster.wav", sound, 48000)
    fragments = [
        Fragment(
            id=name,
            audio=str(tmp_path / "source/Anna Muster.wav"),
            text="oui non",
            language="fr",
            start=start,
            duration=1.0,
            speaker="s1",
            dialect="fr-CH",
            words=(
                WordTime(text="oui", start=start - 0.01, duration=0.3),
                WordTime(text="non", start=1.5, duration=0.3),
            ),
            custom={"room": 4},
        )
        for name, start in (("one", 0.5), ("day/two", 1.25))
    ]
    write_manifest(fragments, tmp_path / "source/m.jsonl")
    return tmp_path / "source/m.jsonl"


def test_a_copy_says_the_same_with_other_voices(spoken: Path, tmp_path: Path) -> None:
    report = change_voices(spoken, tmp_path / "new/copy", KEY)
    assert (report.fragments, report.seconds, report.failures) == (2, 2.0, ())
    written = sorted(path.relative_to(tmp_path / "new/copy") for path in (tmp_path / "new/copy").rglob("*.*"))
    assert list(map(str, written)) == ["audio/day/two.flac", "audio/one.flac", MANIFEST]
    for before, after in zip(read_manifest(spoken), read_manifest(tmp_path / "new/copy" / MANIFEST), strict=True):
        same = {"audio": before.audio, "start": before.start, "words": before.words}
        assert after.replace(**same) == before
        assert (after.start, after.duration) == (0.0, 1.0)
        info = soundfile.info(after.audio)
        assert (info.format, info.samplerate, info.channels, info.frames) == ("FLAC", 16000, 1, 16000)
        original = load_audio(before.audio, before.start, before.duration)
        expected = change_voice(original, voice_key(KEY, before.id))
        assert load_audio(after.audio) == pytest.approx(expected, abs=1 / 32768)
    starts = [word.start for item in read_manifest(tmp_path / "new/copy" / MANIFEST) for word in item.words]
    assert starts == [0.0, 1.0, 0.0, 0.25]
    # Nothing of the hidden folder in which it was made.
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["copy"]


def test_what_cannot_be_changed_is_told_with_its_line_and_the_rest_goes_on(spoken: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "source/nan.wav", np.full(8000, np.nan, np.float32), 16000, subtype="FLOAT")
    base = {"audio": "Anna Muster.wav", "text": "x", "language": "fr"}
    rows = [
        base | {"id": "one"},
        base | {"id": "../../out"},
        base | {"id": "x" * 201},
        base | {"id": "gone", "audio": "Bea Muster.wav"},
        base | {"id": "nan", "audio": "nan.wav"},
        base | {"id": "late", "start": 99.0},
    ]
    with spoken.open("a") as handle:
        handle.write("{broken\n" + "".join(json.dumps(row) + "\n" for row in rows) + json.dumps(base | {"id": "last"}))
    report = change_voices(spoken, tmp_path / "copy", KEY)
    assert [item.id for item in read_manifest(tmp_path / "copy" / MANIFEST)] == ["one", "day/two", "last"]
    messages = [str(failure) for failure in report.failures]
    expected = ["not JSON", "earlier line", "'..'", "too long", "cannot be read", "NaN", "lasts 3.0"]
    assert len(messages) == len(expected)
    for number, (message, part) in enumerate(zip(messages, expected, strict=True), 3):
        assert part in message
        assert message.endswith(f"m.jsonl:{number})")
        assert "Muster" not in message
    assert not list(tmp_path.glob("out*"))


def test_a_folder_that_is_there_is_left_alone(spoken: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists already"):
        change_voices(spoken, tmp_path / "source", KEY)
    with pytest.raises(ConfigError, match="no voice change 'helium'"):
        change_voices(spoken, tmp_path / "copy", KEY, "helium")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["Anna Muster.wav", "m.jsonl", "source"]


def test_nothing_is_left_where_nothing_can_be_changed_or_the_disk_is_full(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ManifestError, match="the manifest is empty"):
        change_voices(tmp_path / "empty.jsonl", tmp_path / "copy", KEY)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(asr.privacy.copies, "write_plain", full)
    with pytest.raises(OSError, match="No space left"):
        change_voices(spoken, tmp_path / "copy", KEY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.jsonl", "source"]
