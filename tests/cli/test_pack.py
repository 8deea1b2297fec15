"""Packing as a user does it; and what an erasure makes of the archives."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner

import asr.addresses
from asr.cli import app
from asr.data.fetch import fetched
from asr.fragment import read_manifest, write_manifest
from asr.privacy.record import open_record
from asr.sums import sha256_of

_WORDS = ["red", "green", "blue", "brown", "white", "black", "pink", "grey", "orange", "purple", "yellow", "violet"]


def run(*arguments: str | Path | int) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def test_pack(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    code, out, _ = run("pack", corpus, "--output", folder, "--shard-size", 5, "--jobs", 1)
    assert (code, out) == (
        0,
        f"12 fragments, 0.00 h, in 3 archives, 3 of them new; train with data.train={folder}\n",
    )
    assert len(list(read_manifest(folder / "fragments.jsonl"))) == 12
    code, out, _ = run("pack", corpus, "--output", folder, "--shard-size", 5, "--jobs", 1)
    assert code == 0 and "3 archives, 0 of them new" in out
    entries = list(open_record().entries())
    assert [entry.details["command"] for entry in entries if "command" in entry.details] == ["pack", "pack"]
    # What was packed is a corpus like any other.
    assert run("validate", folder / "fragments.jsonl")[0] == 0
    assert "12" in run("stats", folder / "fragments.jsonl")[1]


def test_what_is_left_out_is_said(corpus: Path, tmp_path: Path) -> None:
    Path(next(read_manifest(corpus)).audio).write_bytes(b"no audio")
    code, out, err = run("pack", corpus, "--output", tmp_path / "packed", "--jobs", 1)
    assert code == 1 and out.startswith("11 fragments")
    assert "1 fragments were left out; run `asr validate` on their manifests" in err


def test_consent_is_asked_for(corpus: Path, tmp_path: Path) -> None:
    write_manifest([item.replace(consent=None) for item in list(read_manifest(corpus))], corpus)
    code, _, err = run("pack", corpus, "--output", tmp_path / "packed")
    assert code == 1 and "nothing in it may be used" in err
    assert run("pack", corpus, "--output", tmp_path / "packed", "--without-consent-check", "--jobs", 1)[0] == 0


def test_an_erasure_names_the_archives_that_must_be_packed_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    items = [
        item.replace(id=f"call-{n:04d}-qx", text=f"{_WORDS[n]} and nothing more", speaker=f"speaker-k3v{n % 3}")
        for n, item in enumerate(list(read_manifest(corpus)))
    ]
    write_manifest(items, corpus)
    folder = tmp_path / "packed"
    assert run("pack", corpus, "--output", folder, "--shard-size", 1, "--jobs", 1)[0] == 0
    told = {Path(item.audio.partition("#")[0]).name: item for item in read_manifest(folder / "fragments.jsonl")}
    theirs = {name for name, item in told.items() if item.speaker == "speaker-k3v1"}
    code, out, err = run("erase", tmp_path, "--speaker", "speaker-k3v1")
    # It is not done, and the archives that hold the voice are named: those, and no others.
    assert code == 1
    assert {name for name in told if name in out + err} == theirs
    assert "is an archive with recordings of theirs; pack the corpus again (asr pack)" in err
    assert {item.speaker for item in read_manifest(folder / "fragments.jsonl")} == {"speaker-k3v0", "speaker-k3v2"}
    # Packed again, nothing is left of it.
    assert run("pack", corpus, "--output", folder, "--shard-size", 1, "--jobs", 1)[0] == 0
    assert all(
        item.id.encode() not in path.read_bytes()
        for item in items
        if item.speaker == "speaker-k3v1"
        for path in folder.glob("shards/*.tar")
    )
    assert len(list(read_manifest(folder / "fragments.jsonl"))) == 8


def test_what_was_trained_on_archives_is_told_by_the_first_list(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    write_manifest([item.replace(speaker="speaker-k3v1") for item in list(read_manifest(corpus))], corpus)
    assert run("pack", corpus, "--output", tmp_path / "packed", "--jobs", 1)[0] == 0
    record = open_record()
    for details, manifest in (({"run": "mine"}, tmp_path / "packed" / "fragments.jsonl"), ({"run": "other"}, None)):
        with record.during("train", why="test", manifests=[manifest] if manifest else [], details=details):
            pass
    digest = sha256_of(tmp_path / "packed" / "fragments.jsonl")
    shutil.rmtree(tmp_path / "packed")
    (tmp_path / "runs").mkdir()
    for name, content in (("last.pt", digest), ("other.pt", "0" * 64)):
        (tmp_path / "runs" / name).write_text(f"weights {content} weights")
    _, out, _ = run("erase", tmp_path, "--speaker", "speaker-k3v1", "--dry-run")
    assert [line.partition(", entry")[0] for line in out.splitlines() if line.startswith("trained on them")] == [
        f"trained on them: {tmp_path / 'runs' / 'last.pt'}", "trained on them: run 'mine'",
    ]  # fmt: skip


def test_archives_are_named_by_what_their_manifest_says(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No search of bytes would find an id like ``7``; and of what lies in a store there are no bytes here."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(asr.addresses, "STORES", frozenset({"memory"}))
    old = list(read_manifest(corpus))
    items = [item.replace(id=str(n), speaker=f"speaker-k3v{n % 3}") for n, item in enumerate(old)]
    write_manifest(items, corpus)
    folder = tmp_path / "packed"
    assert run("pack", corpus, "--output", folder, "--shard-size", 100, "--jobs", 1)[0] == 0
    fsspec.filesystem("memory").put(str(folder), "/erased", recursive=True)
    fetched("memory://erased", tmp_path / "run")
    code, _, err = run("erase", tmp_path, "--speaker", "speaker-k3v1")
    assert code == 1
    why = "is an archive with recordings of theirs; pack the corpus again (asr pack)"
    for archive in (folder / "shards" / "recording.000000.tar", "memory://erased/shards/recording.000000.tar"):
        assert f"left: {archive} {why}" in err
