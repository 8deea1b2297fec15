"""A recording out of an archive against the same recording as a file."""

from __future__ import annotations

import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile

import asr.addresses
from asr.addresses import Packed
from asr.audio import load_audio, probe
from asr.audio.packed import read_packed
from asr.errors import AudioError
from asr.sums import sha256_of


@pytest.fixture
def archive(tmp_path: Path) -> tuple[Path, dict[str, Packed]]:
    """Three recordings in a tar, and where tarfile says that they are."""
    path = tmp_path / "some.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(3):
            name = tmp_path / f"{number}.flac"
            soundfile.write(name, np.random.default_rng(number).uniform(-0.5, 0.5, 8000 * (number + 1)), 16000)
            tar.add(name, name.name)
    with tarfile.open(path) as tar:
        return path, {
            member.name: Packed(str(path), member.offset_data, member.size, sha256_of(path.with_name(member.name))[:16])
            for member in tar
        }


def test_it_is_heard_as_the_file_is(archive: tuple[Path, dict[str, Packed]]) -> None:
    path, places = archive
    for name, place in places.items():
        file = path.with_name(name)
        assert read_packed(str(place)) == file.read_bytes()
        assert probe(str(place)) == probe(file)
        np.testing.assert_array_equal(load_audio(str(place), 0.1, 0.3), load_audio(file, 0.1, 0.3))
        assert read_packed(str(file)) is None


def test_it_is_read_from_object_storage(
    archive: tuple[Path, dict[str, Packed]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, places = archive
    monkeypatch.setattr(asr.addresses, "STORES", frozenset({"memory"}))
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/some.tar", path.read_bytes())
    asked = []
    cat = type(store).cat_file

    def watched(self: object, name: str, start: int | None = None, end: int | None = None) -> bytes:
        asked.append((start, end))
        return cat(self, name, start=start, end=end)

    monkeypatch.setattr(type(store), "cat_file", watched)
    place = places["1.flac"]
    there = str(place._replace(archive="memory://bucket/some.tar"))
    np.testing.assert_array_equal(load_audio(there), load_audio(path.with_name("1.flac")))
    # Nothing but its own bytes.
    assert asked == [(place.first, place.first + place.size)]


def test_what_cannot_be_read(archive: tuple[Path, dict[str, Packed]], monkeypatch: pytest.MonkeyPatch) -> None:
    path, places = archive
    with pytest.raises(AudioError, match=r"the archive .*gone\.tar cannot be read: No such file"):
        load_audio(str(Packed(str(path.with_name("gone.tar")), 0, 9, "0" * 16)))
    with pytest.raises(AudioError, match=r"some\.tar ends before the recording at byte 999999; copy it or pack it"):
        load_audio(str(Packed(str(path), 999999, 9, "0" * 16)))
    with pytest.raises(AudioError, match=r"some\.tar is damaged, or not that of its manifest: .* byte 0 has"):
        load_audio(str(places["1.flac"]._replace(first=0)))
    monkeypatch.setattr(asr.addresses, "STORES", frozenset({"memory", "gcs"}))
    with pytest.raises(AudioError, match=r"the archive memory://none/a\.tar cannot be read"):
        load_audio(f"memory://none/a.tar#0+1:{'0' * 16}")
    with pytest.raises(AudioError, match=r"the archive gcs://b/a\.tar cannot be read: .*gcsfs"):
        load_audio(f"gcs://b/a.tar#0+1:{'0' * 16}")


def test_damage_does_not_pass_for_sound(archive: tuple[Path, dict[str, Packed]]) -> None:
    path, places = archive
    place = places["2.flac"]
    content = bytearray(path.read_bytes())
    middle = place.first + place.size // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    with pytest.raises(AudioError, match="damaged"):
        load_audio(str(place))


def test_what_a_store_raises_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore's and aiohttp's errors are none of Python's own."""

    class StoreError(Exception):
        """Such a one."""

    def fail(*_: object, **__: object) -> bytes:
        raise StoreError("Unable to locate credentials")

    monkeypatch.setattr(asr.addresses, "STORES", frozenset({"memory"}))
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", fail)
    with pytest.raises(AudioError, match=r"memory://b/a\.tar cannot be read: Unable to locate credentials"):
        load_audio(f"memory://b/a.tar#0+1:{'0' * 16}")
