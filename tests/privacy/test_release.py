"""Whole releases: what leaves, that nothing else does, and that a kill or a full disk loses nothing."""

import json
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.flac import FLAC

from asr.audio import load_audio
from asr.audio.sources import Samples
from asr.errors import AsrError, ConfigError, ManifestError
from asr.fragment import Fragment, read_manifest, write_manifest
from asr.privacy.cells import Cell, cell_of
from asr.privacy.pseudonyms import pseudonym
from asr.privacy.release import ReleaseOptions, pseudonymise

KEY, OTHER = bytes(32), b"\1" * 32
TOWNS = ("quebec", "rimouski", "gaspe")
SECRETS = ("jeanne", "dupont", "call-514", "form of", "luc tremblay", "2024-05-14", "1715681730", "entrevue", "RIFF")


@pytest.fixture
def corpus(tmp_path: Path, voice: Callable[..., np.ndarray]) -> Path:
    """24 fragments of 8 speakers in 4 long recordings; 6 in each recording, out of 3 towns."""
    folder = tmp_path / "entrevues"
    folder.mkdir()
    for number in range(4):
        soundfile.write(folder / f"entrevue-{number}.wav", voice(7.0, number), 16000, subtype="PCM_16")
    rows = []
    for n in range(24):
        speaker = n % 8
        rows.append(
            {
                "id": f"dupont-{n:02d}",
                "audio": f"entrevue-{n // 6}.wav",
                "start": 0.5 + n % 6,
                "duration": 0.5,
                "text": f"phrase {n}",
                "language": "fr",
                "dialect": f"fr-CA-x-{TOWNS[max(0, speaker - 5)]}",
                "gender": "f",
                "speaker": f"Jeanne {speaker}",
                "conversation": f"call-514-{n // 6}",
                "annotator": "Luc Tremblay",
                "words": [{"text": "phrase", "start": 0.75 + n % 6, "duration": 0.25}],
                "consent": {"id": f"form of {speaker}", "purposes": ["training"], "granted": "2024-05-14"},
                "recorded": 1715681730,
                "mic": "phone",
            }
        )
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "corpus.jsonl"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_release_is_whole_and_names_nobody(corpus: Path, tmp_path: Path) -> None:
    before = contents(corpus.parent)
    report = pseudonymise(corpus, tmp_path / "release", KEY, ReleaseOptions(k=2))
    assert contents(corpus.parent) == before
    assert not (tmp_path / ".release.part").exists()
    assert (report.fragments, report.speakers, report.held_back, report.skipped) == (24, 8, 0, 0)
    assert report.dropped == {"mic": 24, "recorded": 24}

    files = contents(tmp_path / "release")
    for name, content in files.items():
        for secret in SECRETS:
            assert secret.encode() not in content, name
            assert secret not in name
    assert len(files) == 25

    sources = {pseudonym("fragment", item.id, KEY): item for item in read_manifest(corpus)}
    told = list(read_manifest(tmp_path / "release" / "manifest.jsonl"))
    assert {item.id for item in told} == sources.keys()
    for item in told:
        source = sources[item.id]
        assert (item.text, item.start, item.duration) == (source.text, 0.0, 0.5)
        assert [(word.start, word.duration) for word in item.words] == [(0.25, 0.25)]
        # Exactly the span, and of the sound nothing is lost.
        span = load_audio(source.audio, source.start, source.duration)
        np.testing.assert_array_equal(load_audio(item.audio), span)
        read = mutagen.File(item.audio)
        assert isinstance(read, FLAC) and read.tags is None and read.info.total_samples == 8000


def test_what_files_tell_of_when_they_were_made_is_the_same_for_all(corpus: Path, tmp_path: Path) -> None:
    pseudonymise(corpus, tmp_path / "release", KEY)
    paths = [tmp_path / "release", *(tmp_path / "release").rglob("*")]
    assert len(paths) > 26
    assert {path.stat().st_mtime_ns for path in paths} == {315_532_800 * 10**9}


def test_rare_towns_are_widened_and_the_report_does_not_count_them(corpus: Path, tmp_path: Path) -> None:
    """Six speakers are of Quebec, one each of the two other towns; those two alone share the region."""
    for k, dialects, held in ((2, {"fr-CA-x-quebec", "fr-CA"}, 0), (5, {"fr-CA-x-quebec"}, 6)):
        report = pseudonymise(corpus, tmp_path / f"{k}", KEY, ReleaseOptions(k=k))
        told = list(read_manifest(tmp_path / f"{k}" / "manifest.jsonl"))
        assert {item.dialect for item in told} == dialects
        assert (len(told), report.held_back) == (24 - held, held)
        # No recording stays of what is held back.
        assert {Path(item.audio) for item in told} == set((tmp_path / f"{k}").rglob("*.flac"))
        rows = report.to_dict()["widened"]
        assert [row["cell"]["dialect"] for row in rows] == ["fr-CA-x-gaspe", "fr-CA-x-rimouski"]
        assert {row["speakers"] for row in rows} == {f"<{k}"}
        assert {row["shown"] and row["shown"]["dialect"] for row in rows} == ({None} if held else {"fr-CA"})


def test_two_keys_share_no_id_and_order_tells_nothing(corpus: Path, tmp_path: Path) -> None:
    orders, ids = [], []
    for number, key in enumerate((KEY, OTHER)):
        pseudonymise(corpus, tmp_path / f"{number}", key, ReleaseOptions(k=1, audio=False))
        told = list(read_manifest(tmp_path / f"{number}" / "manifest.jsonl"))
        orders.append([item.text for item in told])
        names = ((item.id, item.speaker, item.conversation, item.annotator, item.consent.id) for item in told)
        ids.append({name for row in names for name in row})
    assert ids[0].isdisjoint(ids[1]) and len(ids[0]) == len(ids[1]) == 24 + 8 + 4 + 1 + 8
    source = [item.text for item in read_manifest(corpus)]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(source)
    assert source not in orders and orders[0] != orders[1]


def test_the_same_key_makes_the_same_release(corpus: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        pseudonymise(corpus, tmp_path / name, KEY)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


fragments = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 9).map(str)),
        st.sampled_from((None, "en", "en-GB", "en-GB-x-cumbria", "en-GB-x-devon", "en-IN")),
        st.sampled_from((None, "f", "m")),
        st.sampled_from((None, "20-29", "70-79")),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(fragments, st.integers(2, 5))
def test_every_cell_that_leaves_has_k_speakers(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str | None, ...]], k: int
) -> None:
    folder = tmp_path_factory.mktemp("cells")
    items = [
        Fragment(
            id=str(n), audio="a.wav", text="", language="en", speaker=who, dialect=dialect, gender=gender, age_band=age
        )
        for n, (who, dialect, gender, age) in enumerate(rows)
    ]
    write_manifest(items, folder / "m.jsonl")
    sharing: dict[Cell, set[str | None]] = defaultdict(set)
    by_speaker: dict[str | None, set[Cell]] = defaultdict(set)
    try:
        report = pseudonymise(folder / "m.jsonl", folder / "release", KEY, ReleaseOptions(k=k, audio=False))
    except AsrError as error:
        assert f"nothing can be released: {len(rows)} fragments" in str(error)
        assert len({row[0] for row in rows} - {None}) < k and not list(folder.glob("*release*"))
        return
    for item in read_manifest(folder / "release" / "manifest.jsonl"):
        sharing[cell_of(item)].add(item.speaker)
        by_speaker[item.speaker].add(cell_of(item))
    assert all(len(speakers - {None}) >= k for speakers in sharing.values())
    assert report.fragments + report.held_back == len(rows)
    assert report.speakers == len(by_speaker.keys() - {None})
    assert report.in_several_cells == sum(len(cells) > 1 for who, cells in by_speaker.items() if who is not None)


def test_speakers_whose_recordings_fail_do_not_count(corpus: Path, tmp_path: Path) -> None:
    """The fourth recording holds one fragment each of speakers 2 to 7; without speaker 2's others k is not reached."""
    kept = [item for item in read_manifest(corpus) if item.speaker == "Jeanne 0" or "entrevue-3" in item.audio]
    write_manifest((item.replace(dialect="fr-CA") for item in kept), corpus)
    whole = pseudonymise(corpus, tmp_path / "whole", KEY, ReleaseOptions(k=7))
    assert whole.speakers == 7
    (corpus.parent / "entrevue-3.wav").write_bytes(b"RIFF but no sound")
    errors: list[ManifestError] = []
    with pytest.raises(AsrError, match="nothing can be released: 3 fragments are of fewer than 7"):
        pseudonymise(corpus, tmp_path / "less", KEY, ReleaseOptions(k=7), errors)
    assert len(errors) == 6 and not (tmp_path / "less").exists()


def test_bad_lines_are_named_by_their_place_and_nothing_else(corpus: Path, tmp_path: Path) -> None:
    good = corpus.read_text().splitlines()
    row = json.loads(good[0])
    soundfile.write(tmp_path / "outside.wav", np.zeros(16000, np.float32), 16000)
    (corpus.parent / "link.wav").symlink_to(tmp_path / "outside.wav")
    (corpus.parent / "loop.wav").symlink_to(corpus.parent / "loop.wav")
    (corpus.parent / "noise.wav").write_bytes(b"jeanne" * 100)
    bad = [
        row | {"id": "two\nlines"},
        row | {"id": "a", "audio": "../outside.wav"},
        row | {"id": "b", "audio": "link.wav"},
        row | {"id": "c", "audio": "/dev/zero"},
        row | {"id": "d", "audio": "jeanne-dupont.wav"},
        row | {"id": "e", "audio": "noise.wav"},
        row | {"id": "f", "start": 100.0},
        row,
        row | {"id": "g", "audio": "loop.wav"},
        row | {"id": "h", "audio": "x" * 5000},
    ]
    corpus.write_text("\n".join([*good, "{", *map(json.dumps, bad)]) + "\n")
    errors: list[ManifestError] = []
    report = pseudonymise(corpus, tmp_path / "release", KEY, ReleaseOptions(k=1), errors)
    assert (report.fragments, report.skipped) == (24, 11)
    assert [error.line for error in errors] == list(range(25, 36))
    words = [
        "not JSON", "control characters", "outside", "outside", "outside", "no such recording", "the recording",
        "the recording lasts 7.000 s", "stands in line 1 too", "recording", "recording",
    ]  # fmt: skip
    for error, word in zip(errors, words, strict=True):
        assert word in str(error)
        assert "jeanne" not in str(error).lower() and "outside.wav" not in str(error)
    with_root = pseudonymise(corpus, tmp_path / "more", KEY, ReleaseOptions(k=1, root=tmp_path))
    assert with_root.fragments == 26


def test_what_cannot_be_begun_is_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        pseudonymise(corpus, tmp_path / "there", KEY)
    with pytest.raises(ManifestError, match="the manifest cannot be read: No such file"):
        pseudonymise(corpus.with_name("other.jsonl"), tmp_path / "release", KEY)
    with pytest.raises(ConfigError, match="'k' must be 1"):
        ReleaseOptions(k=0)
    assert not list(tmp_path.glob("*release*"))


def test_words_and_sound_are_changed_together(corpus: Path, tmp_path: Path) -> None:
    def mask(fragment: Fragment, samples: Samples | None) -> tuple[Fragment, Samples | None]:
        assert samples is not None and fragment.words[0].start == 0.25
        return fragment.replace(text="[NAME]"), np.where(np.arange(len(samples)) < 4000, 0, samples)

    options = ReleaseOptions(k=1, changes={"mask": mask})
    assert pseudonymise(corpus, tmp_path / "release", KEY, options).changes == ("mask",)
    for item in read_manifest(tmp_path / "release" / "manifest.jsonl"):
        samples = load_audio(item.audio)
        assert item.text == "[NAME]" and not samples[:4000].any() and samples[4000:].any()


def test_what_cannot_be_changed_stays_behind(corpus: Path, tmp_path: Path) -> None:
    def refuse(fragment: Fragment, samples: Samples | None) -> tuple[Fragment, Samples | None]:
        if fragment.text == "phrase 7":
            raise ManifestError("its words have no times")
        return fragment, samples

    errors: list[ManifestError] = []
    report = pseudonymise(corpus, tmp_path / "release", KEY, ReleaseOptions(k=1, changes={"refuse": refuse}), errors)
    assert (report.fragments, report.skipped) == (23, 1)
    assert str(errors[0]) == f"its words have no times ({corpus}:8)"
    assert len(list((tmp_path / "release").rglob("*.flac"))) == 23


SCRIPT = """
import sys, time
from asr.privacy import release
from asr.privacy.recordings import write_plain
def slow(path, samples):
    time.sleep(0.03)
    write_plain(path, samples)
release.write_plain = slow
release.pseudonymise(sys.argv[1], sys.argv[2], bytes(32), release.ReleaseOptions(k=1))
"""


def test_a_kill_at_any_moment_leaves_no_half_release(corpus: Path, tmp_path: Path) -> None:
    pseudonymise(corpus, tmp_path / "whole", KEY, ReleaseOptions(k=1))
    target, work = tmp_path / "release", tmp_path / ".release.part"
    for wanted in (1, 12, 24):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(corpus), str(target)])
        while process.poll() is None and len(list(work.rglob("*.flac"))) < wanted:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not target.exists() or contents(target) == contents(tmp_path / "whole")
    if not target.exists():
        (work / "release" / "audio" / "zz").mkdir(parents=True, exist_ok=True)
        (work / "release" / "audio" / "zz" / "fragment-zz.flac").write_bytes(b"of a run that was killed")
        with pytest.raises(ConfigError, match="begun with another key; use that one, or remove the folder"):
            pseudonymise(corpus, target, OTHER, ReleaseOptions(k=1))
        with pytest.raises(ConfigError, match="begun with another choice of options"):
            pseudonymise(corpus, target, KEY, ReleaseOptions(k=2))
        pseudonymise(corpus, target, KEY, ReleaseOptions(k=1))
    assert contents(target) == contents(tmp_path / "whole")
    assert not work.exists()


def test_what_is_done_is_not_done_again(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def stop(fragment: Fragment, samples: Samples | None) -> tuple[Fragment, Samples | None]:
        if len(done) == 15:
            done.append("stopped")
            raise KeyboardInterrupt
        done.append(fragment.id)
        return fragment, samples

    options = ReleaseOptions(k=1, changes={"stop": stop})
    with pytest.raises(KeyboardInterrupt):
        pseudonymise(corpus, tmp_path / "release", KEY, options)
    assert not (tmp_path / "release").exists()
    report = pseudonymise(corpus, tmp_path / "release", KEY, options)
    assert report.fragments == 24 and report.dropped["mic"] == 24
    assert len(done) == 25 and len(set(done)) == 25


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Lets no file grow beyond so many bytes, which the system reports like a full disk (EFBIG for ENOSPC)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 5_000, 24_000])
def test_a_full_disk_is_a_sentence_and_nothing_is_lost(
    corpus: Path, tmp_path: Path, small_files: Callable[[int], None], size: int
) -> None:
    before = contents(corpus.parent)
    small_files(size)
    try:
        with pytest.raises(AsrError, match=r"the release cannot be written: .*make room and give the same command"):
            pseudonymise(corpus, tmp_path / "release", KEY, ReleaseOptions(k=1))
    finally:
        small_files(resource.RLIM_INFINITY)
    assert not (tmp_path / "release").exists() and contents(corpus.parent) == before
    assert pseudonymise(corpus, tmp_path / "release", KEY, ReleaseOptions(k=1)).fragments == 24


def test_memory_does_not_grow_with_the_manifest(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        items = (
            Fragment(id=f"i{n}", audio="a.wav", text="des mots " * 20, language="fr", speaker=f"s{n}", dialect="fr-CA")
            for n in range(count)
        )
        write_manifest(items, tmp_path / f"{count}.jsonl")
        tracemalloc.start()
        try:
            pseudonymise(tmp_path / f"{count}.jsonl", tmp_path / f"{count}", KEY, ReleaseOptions(audio=False))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # what is loaded once
    # The text alone of the difference is 180 kB, and the objects several times that.
    assert peak(1400) < peak(400) + 100_000
