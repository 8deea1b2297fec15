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
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

import asr.data.pack
from asr.addresses import parse_packed
from asr.audio import load_audio
from asr.data.pack import pack
from asr.errors import AsrError, AudioError, ManifestError
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
    assert sum(shard.fragments for shard in found.shards) == 11
    assert (len(found.shards), found.made, found.broken) == (3, 3, 0)
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
    found = pack([corpus], folder, shard_size=4, consent=ASKED)
    files = 1 + 2 * sum(shard.fragments > 0 for shard in found.shards)
    check = [shutil.which("sha256sum") or pytest.skip("no sha256sum"), "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder, check=True, capture_output=True).stdout.count(b": OK") == files >= 5
    damaged = folder / "shards" / "recording.000001.tar"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert subprocess.run(check, cwd=folder, check=False, capture_output=True).returncode == 1


def test_it_may_lie_anywhere(corpus: Path, tmp_path: Path) -> None:
    pack([corpus], tmp_path / "packed", consent=ASKED)
    shutil.move(tmp_path / "packed", tmp_path / "elsewhere")
    for item in read_manifest(tmp_path / "elsewhere" / "fragments.jsonl"):
        assert len(load_audio(item.audio))


def sums(folder: Path) -> dict[str, str]:
    """The hashes of all files but those that only the next packing reads."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".work" not in path.parts]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


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
    assert f"left out (corpus.jsonl:3): the recording of fragment {items[2].id!r} cannot be read" in caplog.messages
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
    with pytest.raises(ManifestError, match=r"two fragments have the id 'f/\d+ é\.x'.*\(corpus\.jsonl:\d+\)"):
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


def test_what_a_kill_leaves_is_swept_away(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    pack([corpus], folder, shard_size=1, consent=ASKED)
    whole = sums(folder)
    left = [folder / ".000019.jsonl", folder / ".fragments.jsonl.a.part", folder / ".work/.000000.json.b.part"]
    for path in left:
        path.write_text("half")
    (folder / ".work/000019/shards").mkdir(parents=True)
    pack([corpus], folder, shard_size=1, consent=ASKED)
    assert sums(folder) == whole
    assert not any(path.exists() for path in [*left, folder / ".work/000019"])


def test_a_corpus_that_shrinks_while_it_is_dealt_loses_nothing_more(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, passes = asr.data.pack._read, iter((5, 3))  # what the first pass counts, and what the second finds
    monkeypatch.setattr(asr.data.pack, "_read", lambda *given: islice(read(*given), next(passes)))
    pack([corpus], tmp_path / "packed", shard_size=2, consent=ASKED)
    assert len(list(read_manifest(tmp_path / "packed" / "fragments.jsonl"))) == 3


def dealt_of(work: Path, shards: int) -> list[Fragment]:
    return [item for number in range(shards) for _, item in asr.data.pack._placed(work / f"{number:06d}.lines")]


def test_what_a_speaker_says_in_one_go_stays_together(tmp_path: Path) -> None:
    rows = [
        Fragment(
            id=f"{speaker}-{number:02d}",
            audio=str(tmp_path / "none.wav"),
            text="x",
            language="en",
            speaker=f"s{speaker}",
            conversation=f"c{speaker}-{number // 30}",
        )
        for speaker in range(20)
        for number in range(60)
    ]
    write_manifest(rows, tmp_path / "rows.jsonl")
    count, _ = asr.data.pack._deal([tmp_path / "rows.jsonl"], tmp_path, 100, 0, None)
    dealt = [item.id for item in dealt_of(tmp_path, count)]
    assert sorted(dealt) == sorted(item.id for item in rows)
    before = [item.id for item in rows]
    follows = dict(pairwise(before))
    kept = sum(follows.get(one) == other for one, other in pairwise(dealt)) / len(rows)
    assert 0.85 < kept < 0.97
    # And speakers are far apart: the first two hundred of a manifest in order are of four of them.
    assert len({name.partition("-")[0] for name in dealt[:200]}) > 8


def test_without_a_fragment_the_other_archives_stay(corpus: Path, tmp_path: Path) -> None:
    items = list(read_manifest(corpus))
    pack([corpus], tmp_path / "packed", shard_size=3, consent=ASKED)
    whole = sums(tmp_path / "packed")
    write_manifest([items[0].replace(consent=None), *items[1:]], corpus)
    found = pack([corpus], tmp_path / "packed", shard_size=3, consent=ASKED)
    assert (len(found.shards), found.made) == (4, 1)
    left = sums(tmp_path / "packed")
    changed = {name for name in whole if whole[name] != left.get(name)} - {"fragments.jsonl", "SHA256SUMS"}
    assert len({name.split(".")[1] for name in changed}) == 1
    assert items[0].id not in {item.id for item in read_manifest(tmp_path / "packed" / "fragments.jsonl")}


def test_manifests_of_one_name(corpus: Path, tmp_path: Path) -> None:
    items = list(read_manifest(corpus))
    for name, some in (("a", items[:5]), ("b", items[5:])):
        write_manifest(some, tmp_path / name / "train.jsonl")
    pack([tmp_path / "a" / "train.jsonl", tmp_path / "b" / "train.jsonl"], tmp_path / "packed", consent=ASKED)
    assert len(list(read_manifest(tmp_path / "packed" / "fragments.jsonl"))) == 11


def test_a_damaged_archive_is_named(corpus: Path, tmp_path: Path) -> None:
    pack([corpus], tmp_path / "packed", consent=ASKED)
    items = list(read_manifest(tmp_path / "packed" / "fragments.jsonl"))
    archive = tmp_path / "packed" / "shards" / "recording.000000.tar"
    whole = archive.read_bytes()
    places = {item.id: parse_packed(item.audio) for item in items}
    for at in ("first", "last"):
        place = places[items[4].id]
        assert place is not None
        damaged = bytearray(whole)
        damaged[place.first if at == "first" else place.first + place.size - 1] ^= 1
        archive.write_bytes(damaged)
        with pytest.raises(AudioError, match=r"recording\.000000\.tar is damaged.*pack it again"):
            load_audio(items[4].audio)
        assert len(load_audio(items[5].audio))
    # Another speaker's recording in its place would be heard as theirs.
    one, other = (next(place for name, place in places.items() if place and name.startswith(n)) for n in ("f/0", "f/9"))
    assert one is not None and other is not None
    archive.write_bytes(whole)
    with pytest.raises(AudioError, match="has another checksum"):
        load_audio(str(other._replace(digest=one.digest)))


def test_memory_holds_a_number_of_lines_and_no_more(
    manifest: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr.data.pack, "_DEALT", 10)
    work = tmp_path / "work"
    work.mkdir()
    count, broken = asr.data.pack._deal([manifest("a", [1.0] * 95)], work, 10, 0, None)
    assert (count, broken) == (10, 0)
    dealt = dealt_of(work, 10)
    assert sorted(item.id for item in dealt) == sorted(f"a{number}" for number in range(95))
    assert [item.id for item in dealt] != [f"a{number}" for number in range(95)]
