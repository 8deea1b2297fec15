import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from asr.privacy.plan import Plan, Planner, remains
from asr.privacy.traces import Survey
from asr.sums import sha256_of

THEM = "speaker-k3v7"


def planner(folder: Path, *older: tuple[str, str]) -> Planner:
    survey = Survey([folder], [THEM])
    return Planner(survey, survey.traces(), older)


def plan(folder: Path) -> Plan:
    return planner(folder).plan()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One recording of theirs, one of another's, and the list of both."""
    folder = tmp_path / "data"
    folder.mkdir()
    lines = [
        {"id": "a-1", "audio": "mine.wav", "text": "x", "language": "fr", "speaker": THEM},
        {"id": "b-1", "audio": "other.wav", "text": "y", "language": "fr", "speaker": "speaker-b4n2"},
    ]
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "mine.wav").write_bytes(b"RIFF\0mine")
    (folder / "other.wav").write_bytes(b"RIFF\0other")
    return folder


def deeds(found: Plan) -> dict[str, tuple[str, str]]:
    return {Path(deed.path).name: (deed.do, deed.what) for deed in found.deeds}


def test_lists_come_before_the_recordings_that_they_name(folder: Path) -> None:
    found = plan(folder)
    assert [(deed.do, Path(deed.path).name) for deed in found.deeds] == [("strip", "m.jsonl"), ("remove", "mine.wav")]
    assert found.deeds[0].records == 1 and found.left == ()


@pytest.mark.parametrize(
    ("name", "deed"),
    [
        ("mine.srt", ("remove", "file")),  # named after a recording of theirs
        ("mine.v2.npy", ("remove", "file")),
        ("mine.flac", ("remove", "recording")),
        ("mine.py", None),  # no transcript, label, picture or feature
        ("a-1.txt", ("remove", "file")),  # after a fragment
        ("a-12.txt", None),
        (f"notes on {THEM}.docx", ("remove", "file")),  # after the speaker
        (f"{THEM}/b.dat", ("remove", "file")),
        (f"{THEM}9.txt", None),
        ("other.srt", None),
        ("copy.ogg", ("remove", "recording")),  # by its content
    ],
)
def test_what_files_are_called(folder: Path, name: str, deed: tuple[str, str] | None) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((folder / "mine.wav").read_bytes() if name == "copy.ogg" else b"\0\1nothing")
    assert deeds(plan(folder)).get(path.name) == deed


def test_a_list_that_bears_their_name_and_holds_others_is_left_for_its_name(folder: Path) -> None:
    (folder / "m.jsonl").rename(folder / f"{THEM}.jsonl")
    found = plan(folder)
    assert deeds(found)[f"{THEM}.jsonl"] == ("strip", "list")
    (folder / "all.txt").write_text("nothing\n")
    search = planner(folder)
    (folder / "mine.wav").unlink()
    assert {Path(left.path).name for left in remains(search, ())} == {f"{THEM}.jsonl"}
    assert list(remains(search, [str(folder / f"{THEM}.jsonl")])) == []


def test_archives_are_looked_into(folder: Path) -> None:
    with zipfile.ZipFile(folder / "labels.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("all.txt", f"of {THEM}\n" * 50)
    with zipfile.ZipFile(folder / "others.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b-1.npy", "of others\n" * 50)
    left = plan(folder).left
    assert [Path(each.path).name for each in left] == ["labels.zip"]
    assert "cannot be taken apart" in left[0].why


def test_models_are_told_by_the_hash_of_their_list(folder: Path) -> None:
    now, before, unknown = sha256_of(folder / "m.jsonl"), "1" * 64, "2" * 64
    for name, digest in (("a.pt", now), ("b.ckpt", before), ("c.pt", unknown), ("d.txt", now)):
        # Across two blocks of reading.
        (folder / name).write_bytes(b"\0" * ((1 << 20) - 30) + digest.encode() + b"\0")
    found = planner(folder, (before, "3" * 64), ("3" * 64, now), (unknown, "4" * 64)).plan()
    assert [Path(model).name for model in found.models] == ["a.pt", "b.ckpt"]
    # A model is no feature: it is listed, not removed, whatever its folder is called.
    (folder / f"run {THEM}").mkdir()
    (folder / "a.pt").rename(folder / f"run {THEM}" / "a.pt")
    again = plan(folder)
    assert "a.pt" not in deeds(again) and [Path(left.path).name for left in again.left] == ["a.pt"]


def test_a_plan_survives_being_written_down(folder: Path) -> None:
    from pydantic import TypeAdapter

    (folder / "n.jsonl").write_text(json.dumps({"audio": "talk.wav", "speaker": THEM, "start": 1, "duration": 2}))
    (folder / "talk.wav").write_bytes(b"RIFF\0talk")
    found = plan(folder)
    kind: Any = TypeAdapter(Plan)
    assert kind.validate_json(kind.dump_json(found)) == found
