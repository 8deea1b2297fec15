"""Archives against lhotse, sha256sum and the recordings themselves; and packing that is killed at any moment."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

import asr.data.pack
from asr.audio import load_audio
from asr.data.pack import pack
from asr.errors import AsrError, ManifestError
from asr.fragment import Consent, Fragment, WordTime, read_manifest, write_manifest
from asr.privacy.consent import ConsentCheck

ASKED = ConsentCheck("training")


@pytest.fixture
def corpus(tmp_path: Path, consent: Consent) -> Path:
    """Eleven fragments of recordings of several rates; one is cut out of the middle, one has odd signs in its id."""
    fragments = []
    for number in range(11):
        path = tmp_path / f"{number}.wav"
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, 24000)
        soundfile.write(path, samples, (16000, 8000, 44100)[number % 3], subtype="PCM_16")
        fragments.append(
            Fragment(id=f"f/{number} é.x", audio=str(path), text=f"text {number}", language="en", consent=consent)
        )
    cut = {"start": 0.25, "duration": 0.2, "words": (WordTime(text="text", start=0.3, duration=0.1),)}
    fragments[3] = fragments[3].replace(**cut, dialect="en-IN", speaker="s1", custom={"mood": "good"})
    write_manifest(fragments, tmp_path / "corpus.jsonl")
    return tmp_path / "corpus.jsonl"


def test_what_comes_out_is_what_went_in(corpus: Path, tmp_path: Path) -> None:
    found = pack([corpus], tmp_path / "packed", shard_size=4, consent=ASKED)
    assert [shard.fragments for shard in found.shards] == [4, 4, 3]
    assert (found.made, found.broken) == (3, 0)
    before = {item.id: item for item in read_manifest(corpus)}
    after = {item.id: item for item in read_manifest(tmp_path / "packed" / "fragments.jsonl")}
    assert after.keys() == before.keys()
    # Dealt at random: not in the order of the manifest.
    assert list(after) != list(before) and len(after) == 11
    for name, item in after.items():
        old = before[name]
        sound, original = load_audio(item.audio), load_audio(old.audio, old.start, old.duration)
        assert len(sound) == len(original) == round((item.duration or 0) * 16000)
        np.testing.assert_allclose(sound, original, atol=0.5 / 32768 + 1e-7)
        same = {"audio": "x", "start": 0.0, "duration": 1.0, "words": ()}
        assert item.replace(**same) == old.replace(**same)
    # What has 16 bits and 16 kHz is the same to the last bit.
    exact = next(name for name in after if name.startswith("f/0"))
    np.testing.assert_array_equal(load_audio(after[exact].audio), load_audio(before[exact].audio))
    cut = after["f/3 é.x"]
    assert (cut.start, cut.duration) == (0.0, 0.2)
    assert cut.words[0].start == pytest.approx(0.05)
    assert cut.audio.startswith(str(tmp_path / "packed" / "shards" / "recording."))


def test_lhotse_reads_it(corpus: Path, tmp_path: Path) -> None:
    pack([corpus], tmp_path / "packed", shard_size=4, consent=ASKED)
    cuts = {cut.id: cut for cut in CutSet.from_shar(in_dir=tmp_path / "packed" / "shards")}
    items = {item.id: item for item in read_manifest(tmp_path / "packed" / "fragments.jsonl")}
    assert cuts.keys() == items.keys()
    for name, cut in cuts.items():
        np.testing.assert_array_equal(cut.load_audio()[0], load_audio(items[name].audio))
        assert (cut.supervisions[0].text, cut.supervisions[0].speaker) == (items[name].text, items[name].speaker)


def test_sha256sum_checks_it(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    pack([corpus], folder, shard_size=4, consent=ASKED)
    check = [shutil.which("sha256sum") or pytest.skip("no sha256sum"), "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder, check=True, capture_output=True).stdout.count(b": OK") == 7
    damaged = folder / "shards" / "recording.000001.tar"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert subprocess.run(check, cwd=folder, check=False, capture_output=True).returncode == 1


def test_it_may_lie_anywhere(corpus: Path, tmp_path: Path) -> None:
    pack([corpus], tmp_path / "packed", consent=ASKED)
    shutil.move(tmp_path / "packed", tmp_path / "elsewhere")
    for item in read_manifest(tmp_path / "elsewhere" / "fragments.jsonl"):
        assert len(load_audio(item.audio))


def sums(folder: Path) -> dict[str, str]:
    """The manifest, and what each archive and list of cuts holds; a gzip file's header has a time in it."""
    manifest = (folder / "fragments.jsonl").read_text("utf-8")
    archives = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("shards/*.tar")}
    cuts = {str(cut.id): str(cut.supervisions) for cut in CutSet.from_shar(in_dir=folder / "shards")}
    return {"manifest": manifest} | archives | cuts


def test_what_is_there_is_kept_and_what_changed_is_made_anew(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    pack([corpus], folder, shard_size=4, consent=ASKED)
    whole = sums(folder)
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("shards/*.tar")}
    assert pack([corpus], folder, shard_size=4, consent=ASKED).made == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("shards/*.tar")} == times
    # Damaged.
    (folder / "shards" / "recording.000001.tar").write_bytes(b"nothing")
    assert pack([corpus], folder, shard_size=4, consent=ASKED).made == 1
    assert sums(folder) == whole
    # A recording is another one now.
    item = next(read_manifest(corpus))
    soundfile.write(item.audio, np.zeros(16000), 16000)
    assert pack([corpus], folder, shard_size=4, consent=ASKED).made == 1
    packed = {fragment.id: fragment for fragment in read_manifest(folder / "fragments.jsonl")}
    assert not load_audio(packed[item.id].audio).any()
    # In fewer shards: nothing is left of the others.
    pack([corpus], folder, shard_size=100, consent=ASKED)
    shards = ["shards/cuts.000000.jsonl.gz", "shards/recording.000000.tar"]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file()) == [
        ".work/000000.json", ".work/000000.jsonl", "fragments.jsonl", *shards,
    ]  # fmt: skip
    assert len(list(read_manifest(folder / "fragments.jsonl"))) == 11


def test_several_processes_make_the_same(corpus: Path, tmp_path: Path) -> None:
    pack([corpus], tmp_path / "one", shard_size=3, consent=ASKED)
    pack([corpus], tmp_path / "two", shard_size=3, jobs=2, consent=ASKED)
    one, two = sums(tmp_path / "one"), sums(tmp_path / "two")
    assert one == two


def test_what_cannot_be_read_is_left_out(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = list(read_manifest(corpus))
    Path(items[2].audio).write_bytes(b"secret")
    with corpus.open("a", encoding="utf-8") as handle:
        handle.write("{broken\n")
    with caplog.at_level(logging.WARNING):
        found = pack([corpus], tmp_path / "packed", consent=ASKED)
    assert (found.shards[0].unreadable, found.shards[0].fragments, found.broken) == ((items[2].id,), 10, 1)
    assert any(items[2].id in message and "run `asr validate`" in message for message in caplog.messages)
    # Mended, it is tried again.
    soundfile.write(items[2].audio, np.zeros(8000), 16000)
    assert pack([corpus], tmp_path / "packed", consent=ASKED).shards[0].fragments == 11


def test_a_shard_of_which_nothing_can_be_read(corpus: Path, tmp_path: Path) -> None:
    for item in read_manifest(corpus):
        Path(item.audio).unlink()
    found = pack([corpus], tmp_path / "packed", shard_size=100, consent=ASKED)
    assert found.shards[0].fragments == 0
    assert (tmp_path / "packed" / "fragments.jsonl").read_bytes() == b""


def test_only_what_may_be_used_is_packed(corpus: Path, tmp_path: Path) -> None:
    items = [item.replace(consent=None) if n % 2 else item for n, item in enumerate(read_manifest(corpus))]
    write_manifest(items, corpus)
    pack([corpus], tmp_path / "packed", consent=ASKED)
    assert len(list(read_manifest(tmp_path / "packed" / "fragments.jsonl"))) == 6
    pack([corpus], tmp_path / "all", consent=None)
    assert len(list(read_manifest(tmp_path / "all" / "fragments.jsonl"))) == 11
    write_manifest([item.replace(consent=None) for item in items], corpus)
    with pytest.raises(ManifestError, match="no fragment in it can be packed"):
        pack([corpus], tmp_path / "none", consent=ASKED)


def test_what_goes_wrong_is_a_sentence(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(AsrError, match="holds other things; name an empty folder"):
        pack([corpus], tmp_path, consent=ASKED)
    with pytest.raises(AsrError, match="is a file; name a folder"):
        pack([corpus], corpus, consent=ASKED)
    with pytest.raises(ManifestError, match=r"two fragments have the id 'f/\d+ é\.x'"):
        pack([corpus, corpus], tmp_path / "packed", consent=ASKED)


def test_killed_at_any_moment_it_goes_on(corpus: Path, tmp_path: Path) -> None:
    pack([corpus], tmp_path / "whole", shard_size=1, consent=ASKED)
    # A little slower, so that there are moments to be killed in.
    script = """
import sys, time
from pathlib import Path
import asr.data.pack as packing
write = packing._write
def slow(*given):
    time.sleep(0.05)
    found = write(*given)
    time.sleep(0.05)
    return found
packing._write = slow
print("begun", flush=True)
packing.pack([Path(sys.argv[1])], Path(sys.argv[2]), shard_size=1, consent=None)
"""
    folder = tmp_path / "packed"
    command = [sys.executable, "-c", script, str(corpus), str(folder)]
    kept = 0
    for pause in (0.1, 0.4, 0.7):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        # The first shard waits for lhotse to be loaded.
        while not list(folder.glob(".work/*.json")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        finished = len(list(folder.glob(".work/*.json")))
        assert kept <= finished <= 11
        kept = finished
    assert kept > 0
    found = pack([corpus], folder, shard_size=1, consent=None)
    assert found.made == 11 - kept
    assert sums(folder) == sums(tmp_path / "whole")


def test_memory_holds_a_number_of_lines_and_no_more(
    manifest: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr.data.pack, "_DEALT", 10)
    work = tmp_path / "work"
    work.mkdir()
    count, broken = asr.data.pack._deal([manifest("a", [1.0] * 95)], work, 10, 0, None)
    assert (count, broken) == (10, 0)
    dealt = [fragment for number in range(10) for fragment in asr.data.pack._fragments(work / f"{number:06d}.lines")]
    assert sorted(item.id for item in dealt) == sorted(f"a{number}" for number in range(95))
    assert [item.id for item in dealt] != [f"a{number}" for number in range(95)]
