"""Paths of rows: whatever they say, nothing outside the folder is named."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import ManifestError
from asr.importers.places import AudioFolder, lies_in


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    (folder / "clips").mkdir(parents=True)
    (tmp_path / "corpus-2").mkdir()
    (tmp_path / "secret").mkdir()
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "out.wav").symlink_to(tmp_path / "secret" / "a.wav")
    (folder / "in").symlink_to(folder / "clips")
    return folder


@pytest.mark.parametrize(
    "name", ["a.wav", "clips/a.wav", "./clips//a.wav", "clips/../a.wav", "in/a.wav", "ABSOLUTE/a.wav"]
)
def test_paths_inside_are_taken(corpus: Path, name: str) -> None:
    placed = AudioFolder(corpus).place(name.replace("ABSOLUTE", str(corpus)))
    assert Path(placed).parent.resolve() in (corpus, corpus / "clips")


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "out/a.wav", "out.wav", "in/../../a.wav", "..", "clips/../..",
     "../corpus-2/a.wav", ".", "a\0.wav"],
)  # fmt: skip
def test_paths_outside_are_refused_without_being_repeated(corpus: Path, name: str) -> None:
    with pytest.raises(ManifestError) as caught:
        AudioFolder(corpus).place(name)
    assert "outside the corpus" in str(caught.value) or "NUL" in str(caught.value)
    assert name not in str(caught.value) or name == "."


def test_a_wider_folder_may_be_allowed(corpus: Path) -> None:
    assert AudioFolder(corpus / "clips", corpus).place("../a.wav") == str(corpus / "a.wav")
    with pytest.raises(ManifestError):
        AudioFolder(corpus / "clips", corpus).place("../../a.wav")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.sampled_from(["..", ".", "", "clips", "in", "out", "a.wav", "out.wav", "é"]), max_size=6))
def test_what_is_taken_is_inside_as_the_system_sees_it(corpus: Path, parts: list[str]) -> None:
    name = "/".join(parts)
    truth = Path(os.path.realpath(corpus / name)) if not name.startswith("/") else Path(os.path.realpath(name))
    inside = truth != corpus and truth.is_relative_to(corpus)
    try:
        placed = AudioFolder(corpus).place(name)
    except ManifestError:
        assert not inside
    else:
        assert inside and Path(os.path.realpath(placed)) == truth


def test_a_link_that_leaves_is_outside(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    inside = {name: lies_in(tmp_path / "in" / name, tmp_path / "in") for name in ("a", "b/../a", "../b", "link/b")}
    assert inside == {"a": True, "b/../a": True, "../b": False, "link/b": False}
