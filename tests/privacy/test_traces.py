import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ConfigError
from asr.exporters.label_studio import copy_stem
from asr.privacy.traces import Names, Survey, Traces, is_telling, overlaps, walk

PIECES = st.sampled_from(["s01", "s01-b", "speaker", "x", "7", "-", "_", " ", "é", ".", "a", "/", "talk-17-0", "«"])


def holds(text: str, name: str, others: tuple[str, ...]) -> bool:
    """Whether a name stands in a text by itself, letter by letter."""
    for start in range(len(text) - len(name) + 1):
        end = start + len(name)
        inside = any(
            text[at : at + len(other)] == other
            for other in others
            for at in range(max(0, end - len(other)), start + 1)
            if other[start - at : start - at + len(name)] == name and at == start - other.find(name)
        )
        alone = not text[:start][-1:].isalnum() and not text[end:][:1].isalnum()
        if text[start:end] == name and alone and not inside:
            return True
    return False


@given(st.lists(PIECES, max_size=12).map("".join))
def test_names_are_found_where_they_stand_by_themselves(text: str) -> None:
    names = Names(Traces(("s01",), fragments=("talk-17-0", "7"), protected=("s01-b",)))
    expected = holds(text, "s01", ("s01-b",)) or holds(text, "talk-17-0", ("s01-b",))
    assert names.mentions(text) == expected
    assert names.in_stream(io.BytesIO(text.encode())) == expected


@pytest.mark.parametrize(
    "form",
    [
        '"text": "il fait \\u00ab cru \\u00bb ici"',
        '{"text": "il fait « cru » ici"}',
        "il%20fait%20%C2%AB%20cru%20%C2%BB%20ici",
        "il fait « cru » ici".encode("utf-16"),
        "il fait « cru » ici".encode("latin-1"),
    ],
)
def test_words_are_found_however_they_are_written(form: str | bytes) -> None:
    names = Names(Traces(("nobody",), texts=("il fait « cru » ici",)))
    data = form.encode() if isinstance(form, str) else form
    assert names.in_bytes(b"before " + data + b" after")
    assert not names.in_bytes(b"il fait cru ici")


def test_a_name_across_two_blocks_is_found() -> None:
    names = Names(Traces(("speaker-k3v7",), protected=("in-speaker-k3v7-and-more",)))
    for before in range((1 << 20) - 28, (1 << 20) + 2):
        assert not names.in_stream(io.BytesIO(b"." * before + b"in-speaker-k3v7-and-more"))
        assert names.in_stream(io.BytesIO(b"." * before + b"speaker-k3v7"))
        assert not names.in_stream(io.BytesIO(b"." * before + b"speaker-k3v77"))


def test_short_names_tell_nothing() -> None:
    assert [is_telling(name) for name in ("7", "fr", "007", "anna", "s01", "a-1", "123456", "speaker")] == [
        False, False, False, False, True, True, True, True,
    ]  # fmt: skip
    names = Names(Traces(("7", "s01")))
    assert names.exact == {"7", "s01"} and not names.mentions("7")
    # Random bytes hold any three, so in binary data they are no name.
    assert names.in_bytes(b"\0s01\0") and not names.in_bytes(b"\0s01\0", binary=True)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 5)), max_size=4), st.floats(0, 10), st.floats(0.1, 5))
def test_overlap_is_that_of_a_grid(spans: list[tuple[float, float]], start: float, long: float) -> None:
    ours = tuple((since, since + length) for since, length in spans)
    shared = max((min(start + long, until) - max(start, since) for since, until in ours), default=0.0)
    assert overlaps(start, start + long, ours) == (shared > 0.05)
    assert overlaps(start, None, [(3.0, None)])


def write(path: Path, *lines: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def line(name: str, speaker: str | None, audio: str = "a.wav", **more: Any) -> dict[str, Any]:
    return {"id": name, "audio": audio, "text": f"what was said in {name}", "language": "fr", "speaker": speaker} | more


def test_what_is_shared_is_told_from_what_is_theirs(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav", "sub/a.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    write(
        tmp_path / "m.jsonl",
        line("one", "s01", start=1.0, duration=2.0),
        line("two", "s01", "b.wav"),
        line("three", "s02", "b.wav", start=0.5, duration=1.0),
        line("four", "s02", "sub/a.wav"),
        line("five", "s01", "missing.wav"),
    )
    # The same without speakers: theirs by its time, another's by its time, theirs by its id.
    write(tmp_path / "bare.jsonl", line("copy", None, start=1.2, duration=0.5), {"id": "one", "text": "x"})
    traces = Survey([tmp_path], ["s01"]).traces()
    assert set(traces.alone) == {str(tmp_path / "a.wav")}
    assert set(traces.shared) == {str(tmp_path / "b.wav")}
    assert traces.spans == {str(tmp_path / "a.wav"): ((1.0, 3.0),), str(tmp_path / "b.wav"): ((0.0, None),)}
    assert traces.fragments == ("copy", "five", "one", "two")
    assert traces.overlapping == 1
    assert set(traces.lists) == {str(tmp_path / "m.jsonl")}
    # Another recording of the same name is another's.
    assert "a.wav" in traces.protected and "a.wav" not in Names(traces).alone
    # Somebody speaks in it at another time, who knows who.
    write(tmp_path / "bare.jsonl", line("other", None, start=5.0, duration=0.5))
    traces = Survey([tmp_path], ["s01"]).traces()
    assert set(traces.shared) == {str(tmp_path / "a.wav"), str(tmp_path / "b.wav")}


def test_an_id_or_a_text_that_others_have_too_is_not_theirs(tmp_path: Path) -> None:
    same = {"text": "the same five words here"}
    write(tmp_path / "m.jsonl", line("0001", "s01") | same, line("0002", "s01"))
    write(tmp_path / "n.jsonl", line("0001", "s02", "n.wav") | same)
    traces = Survey([tmp_path], ["s01"]).traces()
    assert traces.fragments == ("0002",) and traces.doubtful == 1
    assert traces.texts == ("what was said in 0002",)


def test_a_copy_for_annotators_names_nobody_and_is_theirs(tmp_path: Path) -> None:
    rows = [{"id": f"f{number}", "speaker": f"s0{number}", "audio": f"{number}.wav"} for number in (1, 2)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "studio" / "audio").mkdir(parents=True)
    copies = {name: tmp_path / "studio" / "audio" / f"{copy_stem(name)}.flac" for name in ("f1", "f2", "f3")}
    # The last one is another task's sound under their fragment's id, which our tasks never have.
    addresses = {name: f"/data/local-files/?d=audio/{copies[name].name}" for name in ("f1", "f2")}
    tasks = [{"data": {"id": name, "audio": address}} for name, address in addresses.items()]
    tasks.append({"data": {"id": "f1", "audio": f"/data/local-files/?d=audio/{copies['f3'].name}"}})
    (tmp_path / "studio" / "tasks.json").write_text(json.dumps(tasks))
    for number, copy in enumerate(copies.values()):
        copy.write_bytes(bytes([number]))
    traces = Survey([tmp_path], ["s01"]).traces()
    assert list(traces.alone) == [str(copies["f1"].resolve())]
    assert traces.doubtful == 1


def test_names_that_hold_theirs_are_protected(tmp_path: Path) -> None:
    write(tmp_path / "m.jsonl", line("s01-1", "s01"), line("s01-1.2", "s02", "s01-b.wav"), line("x", "s01b"))
    traces = Survey([tmp_path], ["s01"]).traces()
    assert traces.protected == ("s01-1.2", "s01-b.wav", "s01b")
    names = Names(traces)
    assert names.mentions("s01-1.txt") and names.mentions("in s01") and not names.mentions("s01-1.2.txt")


def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    write(inside / "m.jsonl", line("one", "s01"))
    write(outside / "n.jsonl", line("two", "s01"))
    (inside / "door").symlink_to(outside)
    (inside / "window.jsonl").symlink_to(outside / "n.jsonl")
    assert [path.name for path in walk([inside])] == ["door", "m.jsonl", "window.jsonl"]
    assert Survey([inside], ["s01"]).traces().fragments == ("one",)


def test_what_cannot_be_read_is_kept_in_mind(tmp_path: Path) -> None:
    write(tmp_path / "m.jsonl", line("one", "s01"))
    (tmp_path / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\x03")
    survey = Survey([tmp_path], ["s01"])
    survey.traces()
    assert [Path(path).name for path in survey.unreadable] == ["cut.jsonl.gz"]
    with pytest.raises(ConfigError, match="there is no folder"):
        Survey([tmp_path / "m.jsonl"], ["s01"])
