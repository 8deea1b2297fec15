"""Files as the whisper command writes them."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from whisper.utils import get_writer

from asr.errors import ConfigError
from asr.transcript import Segment, Transcript
from asr.writers import FORMATS, format_timestamp, write_transcript


def transcript(*segments: tuple[float, float, str]) -> Transcript:
    return Transcript(
        id="a",
        text=" ".join(text for _, _, text in segments),
        language="fr",
        dialect="fr-CA",
        duration=5.0,
        segments=tuple(Segment(*segment, -0.2, 0.01, 1.1) for segment in segments),
    )


def whispers(heard: Transcript, name: str, folder: Path) -> bytes:
    get_writer(name, str(folder))(heard.to_dict(), "theirs.wav", {})
    return (folder / f"theirs.{name}").read_bytes()


CASES = {
    "none": (),
    "accents": ((0.0, 1.5, "C’est là, œuvre"), (1.5, 3.0005, " deux\tmots ")),
    "arrow": ((0.0, 1.0, "a --> b"),),
    "past an hour": ((3599.9996, 3661.25, "x"), (36_000.0, 360_000.5, "y")),
    "empty": ((0.0, 0.0, ""),),
}


@pytest.mark.parametrize("name", ["txt", "srt", "vtt", "tsv"])
@pytest.mark.parametrize("case", CASES)
def test_the_layout_is_whispers(tmp_path: Path, case: str, name: str) -> None:
    heard = transcript(*CASES[case])
    (path,) = write_transcript(heard, tmp_path / "ours", [name])
    assert path.read_bytes() == whispers(heard, name, tmp_path)


TIMES = st.floats(0, 400_000)
# Line breaks and arrows of any length are where Whisper's own files break.
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])).filter(lambda text: "--->" not in text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(segments=st.lists(st.tuples(TIMES, TIMES, TEXTS), max_size=4))
def test_any_text_at_any_time(tmp_path: Path, segments: list[tuple[float, float, str]]) -> None:
    heard = transcript(*segments)
    for path in write_transcript(heard, tmp_path / "ours", ["txt", "srt", "vtt", "tsv"]):
        assert path.read_bytes() == whispers(heard, path.suffix[1:], tmp_path)


def test_json_is_the_transcript(tmp_path: Path) -> None:
    heard = transcript((0.0, 1.0, "là"))
    (path,) = write_transcript(heard, tmp_path / "a", ["json"])
    data = json.loads(path.read_text("utf-8"))
    assert data == json.loads(json.dumps(heard.to_dict()))
    assert data["dialect"] == "fr-CA"
    assert "là" in path.read_text("utf-8")


def test_a_line_break_in_a_text_breaks_no_layout(tmp_path: Path) -> None:
    heard = transcript((0.0, 1.0, "one\n\ntwo\u2028three ---> four\r\n"))
    files = {path.suffix: path.read_text("utf-8") for path in write_transcript(heard, tmp_path / "a", FORMATS)}
    assert files[".txt"] == "one two three ---> four\n"
    assert files[".srt"] == "1\n00:00:00,000 --> 00:00:01,000\none two three -> four\n\n"
    assert files[".tsv"].splitlines()[1:] == ["0\t1000\tone two three ---> four"]


def test_a_stem_keeps_its_dots_and_makes_its_folder(tmp_path: Path) -> None:
    paths = write_transcript(transcript(), tmp_path / "new" / "a.part1", ["srt", "txt", "srt"])
    assert paths == (tmp_path / "new" / "a.part1.srt", tmp_path / "new" / "a.part1.txt")


def test_an_unknown_format_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'doc' is not known; choose from txt, srt, vtt, tsv, json"):
        write_transcript(transcript(), tmp_path / "a", ["txt", "doc"])
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_cannot_be_written_leaves_the_old_files(tmp_path: Path) -> None:
    write_transcript(transcript((0.0, 1.0, "old")), tmp_path / "a", ["txt"])
    with pytest.raises(UnicodeEncodeError):
        write_transcript(transcript((0.0, 1.0, "\ud800")), tmp_path / "a", ["txt"])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old\n"]


@pytest.mark.parametrize(
    ("seconds", "hours", "expected"),
    [
        (0.0, False, "00:00.000"),
        (59.9996, False, "01:00.000"),
        (3599.9996, False, "01:00:00.000"),
        (3599.9, True, "00:59:59.900"),
        (360_000, True, "100:00:00.000"),
    ],
)
def test_timestamps(seconds: float, hours: bool, expected: str) -> None:
    assert format_timestamp(seconds, hours=hours, decimal_marker=".") == expected
