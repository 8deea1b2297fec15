"""The file of lines: cut off where a kill left it, and no one else's."""

import json
from pathlib import Path

import pytest

from asr.archive.output import Output, mark_of, moved
from asr.archive.work import Mark, encoded
from asr.errors import ConfigError


def line(name: str, **more: object) -> bytes:
    return encoded({"id": name, "audio": name, "start": 0.0, "audio_sha256": "a", "request_sha256": "r", **more})


def test_a_torn_line_and_a_torn_block_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    whole = line("a", text="é" * 40_000)
    for torn in (b"", b'{"id": "b', b"\xc3" * 70_000):
        path.write_bytes(whole + torn)
        with Output(path):
            assert path.read_bytes() == whole
    path.write_bytes(whole + line("b") + line("c")[:5])
    (tmp_path / "x.jsonl.block").write_text(str(len(whole)))
    with Output(path) as output:
        assert path.read_bytes() == whole
        output.append([line("d"), line("e")])
    assert path.read_bytes() == whole + line("d") + line("e")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.jsonl"]


def test_what_is_put_aside_is_found_by_its_id_the_latest_first(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Output(path) as output:
        output.append([line("a"), line("b", text="old"), line("c")])
        output.cut(len(line("a")), ["b"])
        output.append([line("b", text="new")])
        output.cut(len(line("a")), ["b"])
        earlier = output.earlier()
        assert path.read_bytes() == line("a")
        assert (earlier.line("b") or {})["text"] == "new" and earlier.line("a") is None
        assert moved(earlier.line("c") or {}, "c") == line("c") and mark_of(earlier.line("c") or {}) == Mark("a", "r")
        output.done()
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for content in (json.dumps({"id": "f", "audio": "a.wav", "text": "", "language": "fr"}) + "\n", "[1]\n", "text\n"):
        path.write_text(content)
        with Output(path) as output, pytest.raises(ConfigError, match=r"something else than transcripts .*line 1"):
            list(output.lines())
        assert path.read_text() == content
    path.write_bytes(line("a"))
    with Output(path) as output, pytest.raises(ConfigError, match="of none of these items"):
        output.cut(0, ["b"])
    assert path.read_bytes() == line("a")
    with Output(path, overwrite=True):
        assert path.read_bytes() == b""


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with Output(tmp_path / "x.jsonl"), pytest.raises(ConfigError, match="another run is writing"):
        Output(tmp_path / "x.jsonl")


@pytest.mark.parametrize("content", [b'{"mine": 1}', b"a diary\nof two lines, the last without an end"])
def test_a_file_of_something_else_without_an_end_of_line_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="something else than transcripts"):
        Output(path)
    assert path.read_bytes() == content


def test_what_a_kill_left_beside_it_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "x[1].jsonl"
    left, others = tmp_path / ".x[1].jsonl.previous.a1.part", tmp_path / ".x1.jsonl.block.b2.part"
    for file in (left, others):
        file.touch()
    with Output(path):
        assert not left.exists() and others.exists()
