"""Kaldi folders: joined as a dictionary would join them, every fault named, no command run."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment
from asr.importers.fields import RowOptions
from asr.importers.kaldi import import_kaldi

FRENCH = RowOptions(constants={"language": "fr"})


def run(folder: Path, options: RowOptions = FRENCH, **files: str) -> list[Fragment | ManifestError]:
    for path in folder.glob("*"):
        path.unlink()
    for name, content in files.items():
        (folder / name.replace("wav_scp", "wav.scp")).write_bytes(content.encode("utf-8", "surrogateescape"))
    return list(import_kaldi(folder, options))


def test_a_folder_with_segments(tmp_path: Path) -> None:
    items = run(
        tmp_path,
        RowOptions(),
        wav_scp="r1 wav/r1.wav\nr2\t wav/r 2.wav\n",
        text="s1-a bonjour  le monde\ns1-b\ns2-a oui\n",
        segments="s1-a r2 0.5 1.75\ns1-b r1 1.0 -1\ns2-a r1 0 0.25\n",
        utt2spk="s1-a s1\ns1-b s1\ns2-a s2-a\n",
        spk2gender="s1 f\ns2-a m\n",
        utt2lang="s1-a fr\ns1-b en\ns2-a de\n",
        utt2dur="s1-a 1.25\ns1-b 3.5\n",
        utt2dialect="s1-a fr-CA\n",
        utt2snr="s2-a 12\n",
    )
    wav = tmp_path / "wav"
    assert items == [
        Fragment(id="s1-a", audio=str(wav / "r 2.wav"), text="bonjour  le monde", language="fr", start=0.5,
                 duration=1.25, speaker="s1", gender="female", dialect="fr-CA"),
        Fragment(id="s1-b", audio=str(wav / "r1.wav"), text="", language="en", start=1.0, duration=3.5, speaker="s1",
                 gender="female"),
        Fragment(id="s2-a", audio=str(wav / "r1.wav"), text="oui", language="de", duration=0.25,
                 custom={"snr": "12"}),
    ]  # fmt: skip


def test_a_folder_without_segments(tmp_path: Path) -> None:
    (item,) = run(tmp_path, wav_scp="a a.wav\n", text="a x\n", utt2dur="a 2.5\n")
    assert item == Fragment(id="a", audio=str(tmp_path / "a.wav"), text="x", language="fr", duration=2.5)


ids = st.lists(st.sampled_from("abcdefgh"), unique=True).map(sorted)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ids, wav=ids, segments=st.none() | ids, speakers=ids, dialects=ids)
def test_joined_as_dictionaries_would(
    tmp_path: Path,
    text: list[str],
    wav: list[str],
    segments: list[str] | None,
    speakers: list[str],
    dialects: list[str],
) -> None:
    files = {
        "text": "".join(f"{key} said {key}\n" for key in text),
        "wav_scp": "".join(f"{key} {key}.wav\n" for key in wav),
        "utt2spk": "".join(f"{key} s\n" for key in speakers),
        "utt2dialect": "".join(f"{key} fr-BE\n" for key in dialects),
    }
    recordings = {key: key for key in text}
    if segments is not None:
        # Utterance a is in recording h, b in g …
        recordings = {key: "hgfedcba"["abcdefgh".index(key)] for key in segments}
        files["segments"] = "".join(f"{key} {recordings[key]} 0 1\n" for key in segments)
    found = {item.id: item for item in run(tmp_path, **files) if isinstance(item, Fragment)}
    expected = [key for key in text if recordings.get(key) in wav]
    assert list(found) == expected
    for key in expected:
        item = found[key]
        assert (item.text, Path(item.audio).stem) == (f"said {key}", recordings[key])
        assert item.speaker == ("s" if key in speakers else None)
        assert item.dialect == ("fr-BE" if key in dialects else None)


GOOD = {"wav_scp": "a a.wav\nb b.wav\nc c.wav\n", "text": "a x\nb y\nc z\n"}


@pytest.mark.parametrize(
    ("files", "sentence", "place"),
    [
        ({"wav_scp": "a a.wav\nb sph2pipe -f wav b.sph |\nc c.wav\n"}, "commands are never run", "text:2"),
        ({"wav_scp": "a a.wav\nb data.ark:1234\nc c.wav\n"}, "part of an archive", "text:2"),
        ({"wav_scp": "a a.wav\nb ../../etc/passwd\nc c.wav\n"}, "outside the corpus", "text:2"),
        ({"wav_scp": "a a.wav\nb /etc/passwd\nc c.wav\n"}, "outside the corpus", "text:2"),
        ({"wav_scp": "a a.wav\nb\nc c.wav\n"}, "no line in wav.scp", "text:2"),
        ({"wav_scp": "a a.wav\nb b\0.wav\nc c.wav\n"}, "NUL", "text:2"),
        ({"wav_scp": "a a.wav\nc c.wav\n"}, "no line in wav.scp", "text:2"),
        ({"text": "a x\na x\nc z\n", "wav_scp": "a a.wav\nc c.wav\n"}, "stands twice", "text:2"),
        ({"text": "a x\nb \udcff\nc z\n", "wav_scp": "a a.wav\nc c.wav\n"}, "not UTF-8", "text:2"),
        ({"segments": "a a 0 1\nb b 0\nc c 0 1\n"}, "must be: utterance, recording, start, end", "text:2"),
        ({"segments": "a a 0 1\nb b 2 1\nc c 0 1\n"}, "not after its start", "text:2"),
        ({"segments": "a a 0 1\nb b nan 1\nc c 0 1\n"}, "'start'", "text:2"),
        ({"segments": "a a 0 1\nb b 0 nan\nc c 0 1\n"}, "'end' must be a number", "text:2"),
        ({"segments": "a a 0 1\nb b -3 1\nc c 0 1\n"}, "'start'", "text:2"),
        ({"segments": "a a 0 1\nb b x 1\nc c 0 1\n"}, "'start' must be a number", "text:2"),
        ({"segments": "a a 0 1\nc c 0 1\n"}, "no line in segments", "text:2"),
        ({"utt2spk": "a s\nbb s\nc s\n", "text": "a x\nc z\n", "wav_scp": "a a.wav\nc c.wav\n"},
         "belongs to no utterance", "utt2spk:2"),
    ],
)  # fmt: skip
def test_a_broken_line_is_named_and_the_rest_goes_on(
    tmp_path: Path, files: dict[str, str], sentence: str, place: str
) -> None:
    items = run(tmp_path, **(GOOD | files))
    assert [item.id for item in items if isinstance(item, Fragment)] == ["a", "c"]
    (fault,) = (item for item in items if isinstance(item, ManifestError))
    assert sentence in str(fault) and f"{place})" in str(fault)
    assert "passwd" not in str(fault) and "sph2pipe" not in str(fault)


def test_the_folder_of_the_recordings_may_be_another(tmp_path: Path) -> None:
    files = GOOD | {"wav_scp": "a /data/a.wav\nb b.wav\nc /etc/c.wav\n"}
    options = RowOptions(constants={"language": "fr"}, audio_root="/data")
    first, second, fault = run(tmp_path, options, **files)
    assert isinstance(first, Fragment) and first.audio == "/data/a.wav"
    assert isinstance(second, Fragment) and second.audio == "/data/b.wav"
    assert isinstance(fault, ManifestError)


def test_what_is_not_sorted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"text is not sorted here; sort all files.*text:2"):
        run(tmp_path, **(GOOD | {"text": "b y\na x\n"}))


@pytest.mark.parametrize("missing", ["wav_scp", "text"])
def test_what_is_no_data_folder(tmp_path: Path, missing: str) -> None:
    files = {name: content for name, content in GOOD.items() if name != missing}
    with pytest.raises(ConfigError, match=rf"there is no {missing.replace('_', '.')} in "):
        run(tmp_path, **files)


def test_empty_files_have_no_fragments(tmp_path: Path) -> None:
    assert run(tmp_path, wav_scp="", text="") == []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60), name=st.sampled_from(["text", "wav.scp", "segments", "utt2spk", "spk2gender"]))
def test_any_bytes_end_in_fragments_or_sentences(tmp_path: Path, content: bytes, name: str) -> None:
    files: dict[str, Any] = {"text": b"a x\n", "wav.scp": b"a a.wav\n", "utt2spk": b"a s\n", name: content}
    for path in tmp_path.glob("*"):
        path.unlink()
    for file, data in files.items():
        (tmp_path / file).write_bytes(data)
    try:
        for item in import_kaldi(tmp_path, FRENCH):
            assert isinstance(item, Fragment | ManifestError)
    except ManifestError as error:
        assert "not sorted" in str(error)
