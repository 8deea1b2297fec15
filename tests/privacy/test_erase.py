import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.errors import AsrError, ConfigError
from asr.fragment import read_manifest
from asr.model.checkpoint import CheckpointInfo, save_checkpoint
from asr.model.network import DialectWhisper
from asr.privacy import erase as module
from asr.privacy.erase import Erasure, Training, erase, plan_erasure, resume
from asr.privacy.tombstones import Tombstones
from asr.sums import sha256_of

Run = Callable[..., Erasure]


def places(folder: Path) -> dict[str, Path]:
    return {
        "tombstones": folder / "state" / "tombstones.json",
        "state": folder / "state" / "erase.jsonl",
        "deletions": folder / "state" / "deletions.json",
    }


@pytest.fixture
def run(tmp_path: Path, people: Any, file_record: Any, them: str) -> Run:
    """Erases the first speaker."""
    return lambda: erase([people.data], [them], record=file_record, **places(tmp_path))


def test_nothing_of_the_speaker_is_found_by_brute_force(people: Any, run: Run) -> None:
    before = people.hashes()
    assert people.found()  # the search sees them
    erasure = run()
    assert people.found() == []
    assert erasure.left == ()
    # No file has the content of a recording of theirs, under whatever name.
    assert not before & people.hashes() & set(people.gone)
    # Nor does any output hold it.
    for path in places(people.data.parent).values():
        content = path.read_text() if path.exists() else ""
        assert not [needle for needle in people.gone if needle in content]


def test_others_lose_nothing(people: Any, run: Run, them: str) -> None:
    before = {f.id: f for f in read_manifest(people.data / "all.jsonl") if f.speaker != them}
    lines = [
        line for line in (people.data / "all.jsonl").read_bytes().splitlines() if json.loads(line)["speaker"] != them
    ]
    files = {
        name: data for name, data in people.everything().items() if any(f"{kept}." in name for kept in people.kept)
    }
    assert len(files) > 20
    run()
    assert {f.id: f for f in read_manifest(people.data / "all.jsonl")} == before
    # Not a byte of their lines is another one.
    assert (people.data / "all.jsonl").read_bytes().splitlines() == lines
    assert files.items() <= people.everything().items()
    assert [f.speaker for f in read_manifest(people.data / "splits" / "train.jsonl.gz")] == [
        f.speaker for f in before.values() if not f.conversation
    ]
    tasks = json.loads((people.data / "export.json").read_text())
    assert [task["id"] for task in tasks] == [3, 4, 5, 6, 99]
    regions = tasks[-1]["annotations"][0]["result"]
    assert [region["value"]["start"] for region in regions] == [2.5, 5.2]


def test_only_their_stretches_of_a_conversation_are_silent(people: Any, run: Run) -> None:
    talk = people.data / "audio" / "talk-17.flac"
    before, rate = soundfile.read(talk, dtype="int16")
    run()
    after, _ = soundfile.read(talk, dtype="int16")
    silent = np.zeros(len(before), bool)
    for start, end in ((0.5, 2.0), (4.0, 5.0)):
        silent[round(start * rate) : round(end * rate)] = True
    assert not after[silent].any()
    assert (after[~silent] == before[~silent]).all()
    cues = (people.data / "transcripts" / "talk-17.srt").read_text()
    assert cues.count("-->") == 2 and "00:00:02,500" in cues


def test_a_dry_run_writes_nothing(people: Any, file_record: Any, them: str) -> None:
    before = people.everything()
    erasure = plan_erasure([people.data], [them], file_record)
    assert erasure.counts["silence recording"] == 1
    assert erasure.counts["remove recording"] == 4
    assert people.everything() == before
    assert not file_record.path.exists()


def test_what_was_erased_is_refused(people: Any, run: Run, tmp_path: Path) -> None:
    fragments = list(read_manifest(people.data / "all.jsonl"))
    backup = tmp_path / "backup"
    shutil.copytree(people.data, backup)
    run()
    graves = Tombstones(places(tmp_path)["tombstones"])
    reasons = {}
    for fragment in fragments:
        audio = fragment.audio.replace(str(people.data), str(backup))
        reasons[fragment.id] = graves.reason(fragment.replace(speaker=None, id="new", audio=audio))
    # The conversation as it was holds their voice, so nobody's fragment of it comes back.
    expected = {f.id: "audio" if f.conversation or f.id not in people.kept else None for f in fragments}
    assert reasons == expected


def test_the_record_says_what_was_done_and_holds_no_id(people: Any, run: Run, file_record: Any) -> None:
    hashes = {sha256_of(people.data / "all.jsonl"), sha256_of(people.data / "splits" / "train.jsonl.gz")}
    run()
    (entry,) = file_record.entries()
    assert entry.action == "erase"
    rewritten = dict(entry.details["rewritten"])
    assert hashes <= rewritten.keys()
    assert rewritten[max(hashes)] in {sha256_of(path) for path in people.data.rglob("*.jsonl*")}
    assert not [needle for needle in people.gone if needle in file_record.path.read_text()]


def test_models_trained_on_the_speaker_are_listed(
    people: Any, run: Run, file_record: Any, tiny_whisper: Any, tmp_path: Path
) -> None:
    manifest = people.data / "splits" / "train.jsonl.gz"
    digest = sha256_of(manifest)
    trained, other = people.data / "runs" / "last.pt", people.data / "runs" / "other.pt"
    for path, found in ((trained, digest), (other, "0" * 64)):
        info = CheckpointInfo(base_model="tiny", manifests={"train.jsonl.gz": found})
        save_checkpoint(DialectWhisper(tiny_whisper), info, path)
    # A list of before an earlier erasure: nobody has it any more, but it held what the later one held.
    file_record.append("train", why="test", manifests=["a" * 64], details={"run": "one", "stage": "begin"})
    made = {"last.pt": "d" * 64}
    file_record.append("train", why="test", details={"stage": "end", "begun": 1, "checkpoints": made})
    # One went on from what came of it, another from elsewhere.
    for number, begun in enumerate(("d", "e"), start=3):
        model = {"name": "last.pt", "sha256": begun * 64}
        file_record.append("train", why="test", manifests=["f" * 64], details={"run": f"{number}", "model": model})
    file_record.append("train", why="test", manifests=["b" * 64])
    file_record.append("erase", why="test", details={"rewritten": [["a" * 64, "c" * 64]]})
    file_record.append("erase", why="test", details={"rewritten": [["c" * 64, digest]]})
    erasure = run()
    assert erasure.plan.models == (str(trained),)
    assert erasure.trained == (Training(1, "one", made), Training(3, "3", {}))
    listed = json.loads(places(tmp_path)["deletions"].read_text())
    assert [model["path"] for model in listed["models_trained_on_them"]] == [str(trained)]
    assert [training["entry"] for training in listed["trainings_in_the_record"]] == [1, 3]
    (*_, recorded) = file_record.entries()
    assert [model["name"] for model in recorded.details["models"]] == ["last.pt"]
    assert str(people.data) not in json.dumps(recorded.details)


def test_nothing_outside_the_folders_is_touched(people: Any, run: Run, tmp_path: Path, them: str) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    theirs = next(f for f in read_manifest(people.data / "all.jsonl") if f.speaker == them)
    soundfile.write(outside / f"{them}.wav", np.full(8000, 0.1), 16000)
    line = theirs.to_dict() | {"id": "x-77-b", "audio": "../elsewhere/" + f"{them}.wav"}
    (outside / "list.jsonl").write_text(json.dumps(line) + "\n")
    with (people.data / "all.jsonl").open("a") as handle:
        handle.write(json.dumps(line) + "\n")
    (people.data / f"{them}-link.wav").symlink_to(outside / f"{them}.wav")
    (people.data / f"{them}-inside").symlink_to(people.data / "kaldi")
    (people.data / "out").symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.iterdir()}
    erasure = run()
    assert {path: path.read_bytes() for path in outside.iterdir()} == before
    why = {Path(left.path).name: left.why for left in erasure.left}
    assert "outside" in why[f"{them}.wav"] and "out of the folders" in why[f"{them}-link.wav"]
    assert not (people.data / f"{them}-inside").is_symlink()
    assert (people.data / "kaldi" / "text").exists()
    content = places(tmp_path)["deletions"].read_text()
    assert them not in content and "outside" in content


def test_what_cannot_be_taken_apart_is_left_and_said(people: Any, run: Run, them: str) -> None:
    (people.data / "features" / "all.h5").write_bytes(b"\x89HDF\0\0" + them.encode() + b"\0")
    (people.data / "broken.json").write_text('{"speaker": "' + them)
    packed = (people.data / "cuts.jsonl.gz").read_bytes()
    (people.data / "short.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    erasure = run()
    assert {Path(left.path).name for left in erasure.left} == {"all.h5", "broken.json", "short.jsonl.gz"}
    assert (people.data / "broken.json").exists()


def test_an_unknown_speaker_and_a_missing_folder(people: Any, file_record: Any) -> None:
    with pytest.raises(ConfigError, match="nothing in these folders"):
        plan_erasure([people.data], ["nobody-at-all"], file_record)
    with pytest.raises(ConfigError, match="there is no folder"):
        plan_erasure([people.data / "nowhere"], ["nobody-at-all"], file_record)


def test_a_second_erasure_waits_for_the_first(people: Any, run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    def stop(*_: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_do", stop)
    with pytest.raises(KeyboardInterrupt):
        run()
    with pytest.raises(ConfigError, match="--resume"):
        run()
    with pytest.raises(ConfigError, match="there is no erasure"):
        resume(tmp_path / "none.jsonl", record=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("at", [0, 5, 12])
def test_a_full_disk_is_a_sentence_and_can_be_gone_on_with(
    people: Any, run: Run, file_record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    real, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > at:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AsrError, match="No space left on device") as caught:
        run()
    monkeypatch.undo()
    if at == 0:
        assert "nothing was changed" in str(caught.value)
        run()
    else:
        assert "--resume" in str(caught.value)
        resume(places(tmp_path)["state"], record=file_record)
    assert people.found() == []


def test_a_state_cut_short_anywhere_goes_on(
    people: Any, run: Run, file_record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = places(tmp_path)["state"]
    kept = tmp_path / "kept.jsonl"
    real = module._remove_folders

    def copy(planner: Any) -> None:
        shutil.copy(state, kept)
        real(planner)

    monkeypatch.setattr(module, "_remove_folders", copy)
    run()
    data = kept.read_bytes()
    first = data.index(b"\n") + 1
    for end in (first, first + 5, len(data) - 1, len(data)):
        state.write_bytes(data[:end])
        resume(state, record=file_record)
        assert not state.exists()
    assert len(list(file_record.entries())) == 1
    for broken in (b"", data[: first // 2], b"[]\n"):
        state.write_bytes(broken)
        with pytest.raises(ConfigError, match="damaged"):
            resume(state, record=file_record)
        assert state.exists()


_EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.link", "os.chmod", "os.truncate", "tempfile.mkstemp"}


def _in_child(work: Callable[[], object], die_at: int, counted: Path) -> int:
    """Run something in a process of its own that dies at its so-manieth touch of the disk; return the exit status.

    If it lives, the number of its touches is written to a file.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    touches = 0

    def count() -> None:
        nonlocal touches
        touches += 1
        if touches == die_at:
            os._exit(9)

    def audit(event: str, arguments: Any) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in _EVENTS or writes:
            count()

    note, sync = module._note, os.fsync

    def counted_note(*given: Any) -> None:
        count()
        note(*given)
        count()

    def counted_sync(descriptor: int) -> None:
        sync(descriptor)
        count()

    module._note, os.fsync = counted_note, counted_sync
    try:
        sys.addaudithook(audit)
        work()
        counted.write_text(str(touches))
    except BaseException:
        os._exit(1)
    os._exit(0)


def test_killed_at_any_touch_of_the_disk_it_ends_the_same(
    build_corpus: Callable[[Path], Any], them: str, tmp_path: Path, file_record: Any
) -> None:
    # Paths are part of what is compared, so every run has the same ones.
    work, fresh = tmp_path / "work", tmp_path / "fresh"
    corpus = build_corpus(work / "data")
    for name in ("transcripts", "features"):  # more of the same
        for path in sorted((work / "data" / name).iterdir())[:-7]:
            path.unlink()
    shutil.copytree(work, fresh)
    record = type(file_record)(work / "record.jsonl")

    def begin() -> None:
        erase([corpus.data], [them], record=record, **places(work))

    def outcome() -> Any:
        listed = json.loads(places(work)["deletions"].read_text())
        items = [{key: item[key] for key in ("did", "what", "records")} for item in listed["deleted"]]
        others = {key: listed[key] for key in ("left", "overlapping_fragments_of_others", "trainings_in_the_record")}
        graves = len(Tombstones(places(work)["tombstones"]))
        actions = [entry.action for entry in record.entries()]
        strays = [path.name for path in work.rglob("*.part")]
        return (
            corpus.everything(),
            items,
            others,
            graves,
            actions,
            strays,
            sorted(path.name for path in (work / "state").iterdir()),
        )

    begin()
    expected = outcome()
    assert corpus.found() == [] and expected[4] == ["erase"]
    shutil.rmtree(work)
    shutil.copytree(fresh, work)
    assert _in_child(begin, 0, tmp_path / "touches") == 0
    total = int((tmp_path / "touches").read_text())
    assert total > 100
    # All at the beginning and at the end, and one in eleven between; ASR_KILL_STEP=1 tries every one, in minutes.
    step = int(os.environ.get("ASR_KILL_STEP", "11"))
    resumed = 0
    for touch in sorted({*range(1, 6), *range(6, total - 12, step), *range(total - 12, total)}):
        shutil.rmtree(work)
        shutil.copytree(fresh, work)
        assert _in_child(begin, touch, tmp_path / "touches") == 9
        if places(work)["state"].exists():
            resumed += 1
            resume(places(work)["state"], record=record)
        elif not places(work)["deletions"].exists():  # it had not begun
            begin()
        assert outcome() == expected, f"killed at touch {touch}"
    assert resumed > 20


def test_a_reader_sees_the_old_list_or_the_new_one(people: Any, run: Run, tmp_path: Path) -> None:
    path = people.data / "all.jsonl"
    before = sha256_of(path)
    seen = tmp_path / "seen"

    def look(event: str, _: Any) -> None:
        if event in _EVENTS:
            with seen.open("a") as handle:
                handle.write(sha256_of(path) + "\n")

    child = os.fork()
    if not child:  # no hook can be taken off again
        try:
            sys.addaudithook(look)
            run()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    looks = seen.read_text().split()
    assert len(looks) > 50
    assert set(looks) == {before, sha256_of(path)} and before != sha256_of(path)
