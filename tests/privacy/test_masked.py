"""A manifest and its recordings, masked in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio import load_audio
from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment, WordTime, read_manifest, write_manifest
from asr.privacy import masked
from asr.privacy.masked import mask_manifest

TEXT = "Je m'appelle Marie Dupont, enchanté."


def words(offset: float) -> tuple[WordTime, ...]:
    return tuple(
        WordTime(text=word, start=offset + 0.4 * place, duration=0.3) for place, word in enumerate(TEXT.split())
    )


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two fragments of one recording, one personal; one without times, one that is no audio, one German, one broken."""
    noise = np.random.default_rng(0).integers(-20000, 20000, 16000 * 6).astype(np.int16)
    soundfile.write(tmp_path / "long.wav", noise, 16000)
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    base = {"audio": str(tmp_path / "long.wav"), "language": "fr"}
    fragments = [
        Fragment(id="a", text="Il fait beau.", duration=1.0, **base),
        Fragment(id="b", text=TEXT, start=2.0, duration=2.5, words=words(2.0), emphasis=(3,), **base),
        Fragment(id="c", text=TEXT, start=2.0, duration=2.5, **base),
        Fragment(id="d", text="rien", audio=str(tmp_path / "broken.wav"), language="fr"),
        Fragment(id="e", text="Guten Tag", **(base | {"language": "de"})),
    ]
    write_manifest(fragments, tmp_path / "m.jsonl")
    with (tmp_path / "m.jsonl").open("a") as handle:
        handle.write('{"id": \n')
    return tmp_path / "m.jsonl"


def test_text_and_sound_are_masked_and_the_rest_stays(manifest: Path, tmp_path: Path) -> None:
    report = mask_manifest(manifest, tmp_path / "out")
    first, second = read_manifest(tmp_path / "out/m.jsonl")
    assert (report.fragments, report.path, report.spans) == (2, tmp_path / "out/m.jsonl", {"NAME": 1})
    assert second.text == "Je m'appelle [NAME], enchanté."
    assert second.emphasis == (2,)
    assert [word.text for word in second.words] == second.text.split()
    assert (second.start, second.duration) == (0.0, 2.5)
    assert second.words[2].start == pytest.approx(0.8) and second.words[2].end == pytest.approx(1.5)
    whole, _ = soundfile.read(tmp_path / "long.wav", dtype="int16")
    for fragment, begin in ((first, 0), (second, 32000)):
        info = soundfile.info(fragment.audio)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        heard, _ = soundfile.read(fragment.audio, dtype="int16")
        expected = whole[begin : begin + len(heard)].copy()
        if fragment is second:  # the two words, 0.8 to 1.5 s, and 0.1 s around them
            assert not heard[11201:25599].any()
            expected[11199:25601] = heard[11199:25601]
        assert np.array_equal(heard, expected)
    assert np.array_equal(load_audio(first.audio), load_audio(tmp_path / "long.wav", 0, 1.0))
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == [
        "00000001.flac", "00000002.flac", "m.jsonl"
    ]  # fmt: skip


def test_what_cannot_be_masked_is_left_out_and_reported(manifest: Path, tmp_path: Path) -> None:
    sentences = list(map(str, mask_manifest(manifest, tmp_path / "out").failures))
    assert len(sentences) == 4
    for number, (sentence, part) in enumerate(
        zip(
            sentences, ["no times of its words", "broken.wav", "French (fr) and English (en)", "not JSON"], strict=True
        ),
        3,
    ):
        assert part in sentence and f"m.jsonl:{number}" in sentence
        assert "Dupont" not in sentence


def test_a_folder_that_has_one_is_left_alone(manifest: Path, tmp_path: Path) -> None:
    before = manifest.read_bytes()
    with pytest.raises(ConfigError, match="there already"):
        mask_manifest(manifest, tmp_path)
    assert manifest.read_bytes() == before
    with pytest.raises(ManifestError, match="no such manifest"):
        mask_manifest(tmp_path / "none.jsonl", tmp_path / "out")


def test_a_full_disk_leaves_no_manifest(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(masked, "write_plain", full)
    with pytest.raises(OSError, match="No space left"):
        mask_manifest(manifest, tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_manifest_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def lines(_: Path) -> Iterator[tuple[int, Fragment]]:
        for number in range(1, 4):
            taken.append(f"read {number}")
            yield number, Fragment(id=str(number), audio="a.wav", text="rien", language="fr")

    def copied(fragment: Fragment, *_: object) -> Fragment:
        taken.append(f"masked {fragment.id}")
        return fragment

    monkeypatch.setattr(masked, "read_numbered", lines)
    monkeypatch.setattr(masked, "_copied", copied)
    mask_manifest(tmp_path / "m.jsonl", tmp_path / "out")
    assert taken == ["read 1", "masked 1", "read 2", "masked 2", "read 3", "masked 3"]
