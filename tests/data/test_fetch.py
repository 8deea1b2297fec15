"""A packed corpus in object storage, heard as the one on disk is; fsspec's memory stands for the store."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import asr.addresses
import asr.data.fetch
from asr.audio import load_audio
from asr.data.fetch import fetched
from asr.data.pack import pack
from asr.errors import ManifestError
from asr.fragment import read_manifest


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> fsspec.AbstractFileSystem:
    monkeypatch.setattr(asr.addresses, "STORES", frozenset({"memory", "gcs"}))
    return fsspec.filesystem("memory")


def test_a_packed_folder_has_a_manifest(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    pack([corpus], folder, consent=None)
    assert fetched(str(folder), tmp_path / "run") == str(folder / "fragments.jsonl")
    # It is written last; without it, something is not finished.
    (folder / "fragments.jsonl").unlink()
    with pytest.raises(ManifestError, match=r"there is no fragments\.jsonl in the folder, which `asr pack` writes"):
        fetched(str(folder), tmp_path / "run")


def test_a_path_is_left_as_it_is(tmp_path: Path) -> None:
    assert fetched("some/manifest.jsonl", tmp_path) == "some/manifest.jsonl"
    assert not list(tmp_path.iterdir())


def test_what_lies_in_a_store_is_heard_from_there(
    corpus: Path, tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    pack([corpus], tmp_path / "packed", consent=None)
    store.put(str(tmp_path / "packed"), "/bucket/packed", recursive=True)
    address = "memory://bucket/packed/fragments.jsonl"
    copy = fetched(address, tmp_path / "run")
    # By the folder as by the manifest, and again.
    for given in ("memory://bucket/packed", "memory://bucket/packed/", address):
        assert copy == fetched(given, tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == [Path(copy)]
    there, here = list(read_manifest(copy)), list(read_manifest(tmp_path / "packed" / "fragments.jsonl"))
    assert len(there) == len(here) > 0
    for one, other in zip(there, here, strict=True):
        assert one.audio.startswith("memory://bucket/packed/shards/recording.000000.tar#")
        np.testing.assert_array_equal(load_audio(one.audio), load_audio(other.audio))
        assert one.replace(audio="x") == other.replace(audio="x")


def test_several_processes_fetch_at_once(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not fsspec's memory, in which all who open a file share one handle.
    monkeypatch.setattr(asr.addresses, "STORES", frozenset({"file"}))
    pack([corpus], tmp_path / "packed", consent=None)
    # All have fetched it before any reads it.
    barrier = threading.Barrier(4)
    read = asr.data.fetch.read_objects

    def together(path: Path) -> Iterator[tuple[int, dict[str, Any] | ManifestError]]:
        barrier.wait(30)
        return read(path)

    monkeypatch.setattr(asr.data.fetch, "read_objects", together)
    with ThreadPoolExecutor(4) as threads:
        copies = set(threads.map(lambda _: fetched(f"file://{tmp_path}/packed", tmp_path / "run"), range(4)))
    (copy,) = copies
    items = list(read_manifest(copy))
    assert len(items) == 12 and all(item.audio.startswith("file://") for item in items)
    assert len(load_audio(items[0].audio)) == round((items[0].duration or 0) * 16000)


def test_what_cannot_be_fetched(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    with pytest.raises(ManifestError, match=r"memory://none/a\.jsonl cannot be fetched: there is no such file"):
        fetched("memory://none/a.jsonl", tmp_path)
    with pytest.raises(ManifestError, match=r"cannot be fetched: .*gcsfs"):
        fetched("gcs://none/a.jsonl", tmp_path)
    store.pipe("/b/broken.jsonl", b'{"id": "a", "audio": "a.tar"}\n{broken\n')
    with pytest.raises(ManifestError, match=r"memory://b/broken\.jsonl is broken in line 2; pack it again"):
        fetched("memory://b/broken.jsonl", tmp_path)
    row = {"id": "a", "audio": "/home/me/a.wav", "text": "x", "language": "en"}
    store.pipe("/b/local.jsonl", json.dumps(row).encode())
    with pytest.raises(ManifestError, match="line 1 leads to a file of another machine; pack it"):
        fetched("memory://b/local.jsonl", tmp_path)
    # No half of a copy is left for a run to find.
    assert not list(tmp_path.glob("*.jsonl"))
