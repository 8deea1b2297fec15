"""Kaldi folders: what has a file comes back, what Kaldi's tools demand holds, and a fault leaves nothing half."""

import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import AsrError, ManifestError
from asr.exporters.kaldi import KaldiExportOptions, export_kaldi
from asr.fragment import Fragment
from asr.importers import Row

OPTIONS = KaldiExportOptions()
ONE = Fragment(id="s1-a", audio="/data/a.wav", text="bonjour  le\nmonde", language="fr", speaker="s1", gender="female")
# What has no file.
LOST = ("text_standard", "emphasis", "words", "expressions", "consent", "custom")


def write(output: Path, *fragments: Fragment) -> dict[str, str]:
    with export_kaldi(output, OPTIONS) as add:
        for fragment in fragments:
            add(fragment)
    return {path.name: path.read_text("utf-8") for path in output.iterdir()}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_kaldi_can_hold_comes_back(
    data: st.DataObject,
    corpora: st.SearchStrategy[tuple[Fragment, ...]],
    trip: Callable[..., list[Row]],
    recording: Path,
) -> None:
    given_ = data.draw(corpora)
    empty = {name: Fragment.model_fields[name].get_default(call_default_factory=True) for name in LOST}
    for before, after in zip(given_, trip("kaldi", given_), strict=True):
        speaker = None if before.speaker == before.id else before.speaker
        same = {"audio": str(recording), "text": " ".join(before.text.split()), "speaker": speaker}
        assert after == before.replace(**empty, **same)


def test_the_files_are_as_kaldi_wants_them(tmp_path: Path) -> None:
    other = ONE.replace(id="s1-B", start=0.5, duration=1.25, gender="other", dialect="fr-CA")
    files = write(tmp_path / "out", ONE, other, ONE.replace(id="é", speaker=None, gender=None))
    assert files == {
        "wav.scp": "%2Fdata%2Fa.wav /data/a.wav\n",
        "text": "s1-B bonjour le monde\ns1-a bonjour le monde\né bonjour le monde\n",
        "segments": "s1-B %2Fdata%2Fa.wav 0.5 1.75\ns1-a %2Fdata%2Fa.wav 0.0 -1\né %2Fdata%2Fa.wav 0.0 -1\n",
        "utt2spk": "s1-B s1\ns1-a s1\né é\n",
        "spk2gender": "s1 f\n",
        "utt2gender": "s1-B other\n",
        "utt2lang": "s1-B fr\ns1-a fr\né fr\n",
        "utt2dialect": "s1-B fr-CA\n",
    }


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(categories=["L", "N", "S"]), min_size=1, max_size=5), unique=True, min_size=2))
def test_files_are_sorted_as_the_sort_program_does(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    folder = tmp_path_factory.mktemp("sorted") / "out"
    write(folder, *(ONE.replace(id=id_) for id_ in ids))
    for name in ("text", "segments", "utt2spk"):
        assert subprocess.run(["sort", "-c", folder / name], env={"LC_ALL": "C"}, check=False).returncode == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"id": "a b"}, "the id of a fragment has a blank"),
        ({"speaker": "a\tb"}, "the speaker of a fragment has a blank"),
        ({"dialect": "fr CA"}, "the dialect of a fragment has a blank"),
        ({"audio": "/my data/a.wav"}, "the path of the recording has a blank"),
        ({}, "'s1-a' stands twice"),
    ],
)
def test_a_fragment_that_kaldi_cannot_hold_is_refused_and_the_rest_goes_on(
    tmp_path: Path, changes: dict[str, str], sentence: str
) -> None:
    with export_kaldi(tmp_path / "out", OPTIONS) as add:
        add(ONE)
        with pytest.raises(ManifestError, match=sentence):
            add(ONE.replace(**changes))
        with pytest.raises(UnicodeEncodeError):
            add(ONE.replace(id="s1-b", text="\ud800"))
        add(ONE.replace(id="s1-c"))
    text = (tmp_path / "out" / "text").read_text("utf-8")
    assert text == "s1-a bonjour le monde\ns1-c bonjour le monde\n"
    assert (tmp_path / "out" / "utt2spk").read_text("utf-8") == "s1-a s1\ns1-c s1\n"


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), export_kaldi(tmp_path / "out", OPTIONS) as add:
        add(ONE)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give databases room for a few pages."""
    connect = sqlite3.connect

    def small(*given: Any, **named: Any) -> sqlite3.Connection:
        store = connect(*given, **named)
        store.execute("PRAGMA max_page_count = 8")
        return store

    monkeypatch.setattr(sqlite3, "connect", small)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AsrError, match=r"cannot be sorted on disk: database or disk is full .*out"):
        write(tmp_path / "out", *(ONE.replace(id=f"{n}", text="x" * 500) for n in range(200)))
    assert list(tmp_path.iterdir()) == []
