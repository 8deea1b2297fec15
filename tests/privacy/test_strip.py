import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from asr.errors import ManifestError
from asr.privacy.strip import Stripper, is_text
from asr.privacy.traces import Names, Survey, Traces


@pytest.fixture
def stripper(tmp_path: Path) -> Stripper:
    """Of a speaker with one recording alone and one shared, where they speak from 1 to 2 s."""
    traces = Traces(
        ("s01", "7"),
        fragments=("f1-x", "9"),
        alone={str(tmp_path / "alone.wav"): "a" * 64},
        shared={str(tmp_path / "talk.wav"): "b" * 64},
        spans={str(tmp_path / "alone.wav"): ((0.0, None),), str(tmp_path / "talk.wav"): ((1.0, 2.0),)},
        texts=("je prends le tram",),
    )
    for name in ("alone.wav", "talk.wav", "kept.wav"):
        (tmp_path / name).write_bytes(b"")
    return Stripper(traces, Names(traces), Survey([tmp_path], ["s01"]).resolve)


def stripped(stripper: Stripper, path: Path, data: Any, **more: Any) -> Any:
    path.write_text(json.dumps(data))
    stripper.strip(path, **more)
    return json.loads(path.read_text())


KEPT = {"speaker": "s02", "audio": "kept.wav", "text": "oui"}


@pytest.mark.parametrize(
    ("record", "left"),
    [
        ({"speaker": "s01", "text": "x"}, None),
        ({"speaker": "7"}, None),
        ({"speaker": 7}, None),
        ({"a": {"speaker": "s01"}}, None),  # what tells of them takes the record with it
        ({"id": "f1-x"}, None),
        ({"id": "9"}, None),  # too short to be searched for, but an id
        ({"count": "9"}, {"count": "9"}),
        ({"about": "see f1-x there"}, None),
        ({"audio": "/data/local-files/?d=alone.wav"}, None),
        ({"text": "je prends le tram"}, None),
        ({"digest": "a" * 64}, None),
        ({"audio": "talk.wav", "start": 1.5, "duration": 1.0}, None),
        ({"audio": "talk.wav", "start": 2.0, "duration": 1.0}, {"audio": "talk.wav", "start": 2.0, "duration": 1.0}),
        # Of another speaker, whatever else it says: only the key goes.
        (KEPT | {"previous": "f1-x"}, KEPT),
        (KEPT | {"audio": "talk.wav", "start": 1.5, "duration": 1.0}, ...),
        ({"speakers": ["s01", "s02"], "n": 1}, {"speakers": ["s02"], "n": 1}),
        ({"speakers": ["s01"], "n": 1}, None),
        ({"by": {"f1-x": 1, "f2-x": 2}}, {"by": {"f2-x": 2}}),
        ({"supervisions": [{"speaker": "s01"}, {"speaker": "s02"}]}, {"supervisions": [{"speaker": "s02"}]}),
        ({"supervisions": [{"speaker": "s01"}]}, None),
        # A text of the whole conversation holds theirs.
        ({"audio": "talk.wav", "text": "tout"}, {"audio": "talk.wav"}),
    ],
)
def test_what_goes_of_a_record(stripper: Stripper, tmp_path: Path, record: Any, left: Any) -> None:
    left = record if left is ... else left
    assert stripped(stripper, tmp_path / "x.json", [record, KEPT]) == [KEPT] if left is None else [left, KEPT]
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(record) + "\n" + json.dumps(KEPT) + "\n")
    counts = stripper.count(path)
    stripper.strip(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == ([KEPT] if left is None else [left, KEPT])
    assert (counts.gone, counts.changed) == (left is None, left is not None and left != record)
    again = path.read_bytes()
    stripper.strip(path)
    assert path.read_bytes() == again


def test_of_one_object_that_is_the_file_only_parts_go(stripper: Stripper, tmp_path: Path) -> None:
    report = {"system": "base", "worst": [{"id": "f1-x"}], "train": "lists/s01.jsonl", "n": 3}
    assert stripped(stripper, tmp_path / "r.json", report) == {"system": "base", "worst": [], "n": 3}
    heard = {"id": "talk.wav", "text": "tout", "segments": [{"start": 1.1, "end": 1.9}, {"start": 3.0, "end": 4.0}]}
    left = stripped(stripper, tmp_path / "talk.json", heard, spans=((1.0, 2.0),))
    assert left == {"id": "talk.wav", "segments": [{"start": 3.0, "end": 4.0}]}


def test_lines_that_stay_stay_to_the_byte(stripper: Stripper, tmp_path: Path) -> None:
    kept = b'{"speaker":"s02" , "text": "\\u00e9"}\r\n\n{broken\n'
    path = tmp_path / "m.jsonl.gz"
    path.write_bytes(gzip.compress(kept + b'{"speaker": "s01"}\n{"speaker": "s01"'))
    path.chmod(0o600)
    stripper.strip(path)
    assert gzip.decompress(path.read_bytes()) == kept
    assert path.stat().st_mode & 0o777 == 0o600


def test_tables_text_and_kaldi(stripper: Stripper, tmp_path: Path) -> None:
    cases = {
        "a.tsv": ("client_id\tpath\tups\n7\ta.mp3\t1\ns02\tb.mp3\t7\n", "client_id\tpath\tups\ns02\tb.mp3\t7\n"),
        "b.csv": ('id,text\nf1-x,"a\nb"\nz,"je prends le tram"\ny,oui\n', "id,text\ny,oui\n"),
        "c.tsv": ("s01\tx\ns02\ty\n", "s02\ty\n"),
        "notes.md": ("# Talk\nwith s01.\nand s012\n", "# Talk\nand s012\n"),
        "spk2utt": ("7 9\ns02 f2-x f1-x f3-x\n", "s02 f2-x f3-x\n"),
        "text": ("9 oui\n99 non\n", "99 non\n"),
        "utt2spk": ("f7 7\nf8 s02\n", "f8 s02\n"),
    }
    for name, (before, after) in cases.items():
        (tmp_path / name).write_text(before)
        stripper.strip(tmp_path / name)
        assert (tmp_path / name).read_text() == after, name
    (tmp_path / "talk.tsv").write_text("start\tend\ttext\n0\t900\tun\n1000\t1900\tdeux\n2000\t2500\ttrois\n")
    stripper.strip(tmp_path / "talk.tsv", ((1.0, 2.0),))
    assert (tmp_path / "talk.tsv").read_text() == "start\tend\ttext\n0\t900\tun\n2000\t2500\ttrois\n"


def test_a_file_name_that_others_have_too_is_told_by_its_folder(tmp_path: Path) -> None:
    mine, other = tmp_path / "a" / "0001.wav", tmp_path / "b" / "0001.wav"
    for path in (mine, other):
        path.parent.mkdir()
        path.write_bytes(b"")
    traces = Traces(("s01",), alone={str(mine): "a" * 64}, spans={str(mine): ((0.0, None),)}, protected=("0001.wav",))
    stripper = Stripper(traces, Names(traces), Survey([tmp_path], ["s01"]).resolve)
    records = [{"path": "a/0001.wav"}, {"path": "b/0001.wav"}, {"path": "c/0001.wav"}]
    assert stripped(stripper, tmp_path / "x.json", records) == records[1:]


def test_nothing_left_is_said(stripper: Stripper, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"speaker": "s01"}\n\n')
    assert stripper.count(tmp_path / "m.jsonl").empty
    (tmp_path / "m.jsonl").write_text("")
    assert not stripper.count(tmp_path / "m.jsonl").empty


def test_what_cannot_be_taken_apart_stays(stripper: Stripper, tmp_path: Path) -> None:
    packed = gzip.compress(b'{"speaker": "s01"}\n' * 100)
    for name, content in (("x.json", b"{"), ("x.jsonl.gz", packed[:-12])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ManifestError, match=r"no JSON|cut short"):
            stripper.strip(tmp_path / name)
        assert (tmp_path / name).read_bytes() == content
    assert not list(tmp_path.glob(".*"))


def test_text_is_told_from_what_is_none(tmp_path: Path) -> None:
    for content, expected in ((b"", True), ("é".encode(), True), ("é".encode("utf-16"), True), (b"RIFF\0\0", False)):
        (tmp_path / "x").write_bytes(content)
        assert is_text(tmp_path / "x") == expected
