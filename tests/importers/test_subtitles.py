"""Subtitles as players take them: SRT and WebVTT, with what people really write in them."""

from pathlib import Path

import pytest

from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.importers.subtitles import SubtitleOptions, import_subtitles
from asr.transcript import Segment, Transcript
from asr.writers import write_transcript

OPTIONS = SubtitleOptions(constants={"language": "fr", "dialect": "fr-BE"})


def run(root: Path, name: str, text: str) -> list[Fragment | ManifestError]:
    (root / name).write_text(text, "utf-8")
    (root / Path(name).with_suffix(".wav")).write_bytes(b"")
    return list(import_subtitles(root, OPTIONS))


def told(found: list[Fragment | ManifestError]) -> list[tuple[float, float, str]]:
    return [(item.start, item.end or 0, item.text) for item in found if isinstance(item, Fragment)]


def test_srt(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        "a.srt",
        "1\r\n00:00:00,500 --> 00:00:01,750\r\n<i>Bonjour</i>\r\nà tous.\r\n\r\n"
        "2\r\n00:00:02,000 --> 00:00:03,000\r\nIl y en a\r\n90\r\n\r\n"
        "3\r\n00:00:04,000 --> 00:00:05,000\r\n\r\n"
        "4\r\n00:00:06,000 --> 00:00:07,000 X1:0\r\nun\r\n\r\ndeux\r\n5\r\n01:00:00,000 --> 01:00:01,000\r\ntrois",
    )
    assert told(found) == [
        (0.5, 1.75, "Bonjour à tous."),
        (2.0, 3.0, "Il y en a 90"),
        (6.0, 7.0, "un deux"),
        (3600.0, 3601.0, "trois"),
    ]
    assert found[0] == Fragment(id="a-00000500", audio=str(tmp_path / "a.wav"), text="Bonjour à tous.", language="fr",
                                dialect="fr-BE", start=0.5, duration=1.25)  # fmt: skip


def test_vtt(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        "a.vtt",
        "WEBVTT - title\nKind: captions\n\nNOTE\nNobody says this.\n\nSTYLE\n::cue { color: red }\n\n"
        "intro\n00:01.000 --> 00:02.500 align:start\n<v.loud s01>Tu viens&nbsp;? &lt;3\n\n"
        "NOTE nor this\n\n01:00:00.000 --> 01:00:01.000\n<v s01>a</v> <v s02>b</v>\n- c\n\n"
        "00:05.000 --> 00:06.000\n<c.yellow>oui</c>",
    )
    assert told(found) == [(1.0, 2.5, "Tu viens ? <3"), (3600.0, 3601.0, "a b - c"), (5.0, 6.0, "oui")]
    assert [item.speaker for item in found if isinstance(item, Fragment)] == ["s01", None, None]


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_what_our_writers_write_comes_back(tmp_path: Path, kind: str) -> None:
    texts = ["Ça va ?", "90", "un --> deux", "n°3\nsuite", "-"]
    segments = tuple(Segment(n + 0.25, n + 1.0, text, 0, 0, 1) for n, text in enumerate(texts))
    transcript = Transcript("a", "", "fr", None, 9.0, segments)
    (file,) = write_transcript(transcript, tmp_path / "a", [kind])
    found = run(tmp_path, file.name, file.read_text("utf-8"))
    assert told(found) == [
        (n + 0.25, n + 1.0, text) for n, text in enumerate([*texts[:2], "un -> deux", "n°3 suite", "-"])
    ]


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ("00:00:02,000 --> soon", "the times of this cue cannot be read"),
        ("2 --> 3", "the times of this cue cannot be read"),
        ("00:00:02,000 --> 00:00:01,000", "ends at 1 s, not after its start at 2 s"),
    ],
)
def test_a_broken_cue_is_named_and_the_rest_goes_on(tmp_path: Path, times: str, sentence: str) -> None:
    text = f"1\n00:00:00,000 --> 00:00:01,000\nun\n\n2\n{times}\nsecret\n\n3\n00:00:03,000 --> 00:00:04,000\ntrois\n"
    found = run(tmp_path, "a.srt", text)
    assert [type(item) for item in found] == [Fragment, ManifestError, Fragment]
    assert told(found) == [(0.0, 1.0, "un"), (3.0, 4.0, "trois")]
    assert sentence in str(found[1]) and "a.srt:6)" in str(found[1]) and "secret" not in str(found[1])


def test_bad_files_are_named_one_by_one(tmp_path: Path) -> None:
    cue = b"1\n00:00:00,000 --> 00:00:01,000\nun\n"
    (tmp_path / "alone.srt").write_bytes(cue)
    (tmp_path / "latin.srt").write_bytes(cue + "été".encode("latin-1"))
    (tmp_path / "latin.wav").write_bytes(b"")
    (tmp_path / "new\nline.srt").write_bytes(cue)
    (tmp_path / "new\nline.wav").write_bytes(b"")
    found = run(tmp_path, "z.srt", cue.decode())
    faults = [str(item) for item in found[:-1]]
    assert ["no recording" in fault or "UTF-8" in fault or "id" in fault for fault in faults] == [True] * 3
    assert "latin.srt:4" in faults[1]
    assert told(found) == [(0.0, 1.0, "un")]
