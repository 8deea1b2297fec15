"""Audiofolders, as the Hugging Face documentation lays them out."""

from pathlib import Path

import pytest

from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment
from asr.importers.audiofolder import import_audiofolder
from asr.importers.fields import FieldSource, RowOptions

FRENCH = {"language": "fr"}


def test_a_table_with_quotes(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(
        'file_name,transcription,speaker,accent\n"data/a,1.wav","dit ""oui"",\nnon",s1,\ndata/b.wav,,,Romand\n'
    )
    options = RowOptions(constants=FRENCH, fields={"dialect": FieldSource("accent", {"Romand": "fr-CH"})})
    first, second = import_audiofolder(tmp_path, options)
    assert first == Fragment(
        id="a,1", audio=str(tmp_path / "data/a,1.wav"), text='dit "oui",\nnon', language="fr", speaker="s1"
    )
    assert second == Fragment(
        id="b", audio=str(tmp_path / "data/b.wav"), text="", language="fr", dialect="fr-CH",
        custom={"source_values": {"accent": "Romand"}},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["transcription", "text", "sentence", "transcript"])
def test_the_text_is_found_under_its_usual_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "metadata.jsonl").write_text(f'broken\n{{"file_name": "a.wav", "{name}": "x", "n": 1}}\n')
    fault, fragment = import_audiofolder(tmp_path, RowOptions(constants=FRENCH))
    assert isinstance(fault, ManifestError)
    assert isinstance(fragment, Fragment) and (fragment.text, fragment.custom) == ("x", {"n": 1})


def test_folders_of_splits(tmp_path: Path) -> None:
    for folder in ("train", "validation", "test", "extra"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        (tmp_path / "data" / folder / "metadata.csv").write_text(f"file_name,text,language\n{folder}.wav,x,fr-CA\n")
    items = list(import_audiofolder(tmp_path, RowOptions()))
    found = {item.id: (item.split, item.language, Path(item.audio).is_relative_to(tmp_path)) for item in items}
    assert found == {
        "extra": (None, "fr", True), "test": ("test", "fr", True), "train": ("train", "fr", True),
        "validation": ("dev", "fr", True),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (b"../../../etc/passwd,x", "outside the corpus"),
        (b"a.wav", "1 columns where 2 are expected"),
        (b"a.wav,x,y", "3 columns where 2 are expected"),
        (b"a\0.wav,x", "NUL byte"),
        (b"a.wav,\xe9", "not UTF-8"),
        (b",x", "'id' is missing"),
        (b'"a\nb.wav",x', "control characters"),
    ],
)
def test_a_broken_row_is_named_and_the_rest_goes_on(tmp_path: Path, row: bytes, sentence: str) -> None:
    (tmp_path / "metadata.csv").write_bytes(b"file_name,text\na.wav,x\n" + row + b"\nb.wav,y\n")
    _, fault, last = import_audiofolder(tmp_path, RowOptions(constants=FRENCH))
    assert isinstance(fault, ManifestError) and sentence in str(fault)
    assert f"metadata.csv:{3 + row.count(bytes([10]))})" in str(fault)
    assert isinstance(last, Fragment) and last.text == "y"


def test_a_folder_without_metadata_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no metadata\.csv or metadata\.jsonl"):
        list(import_audiofolder(tmp_path, RowOptions()))
    (tmp_path / "metadata.csv").touch()
    with pytest.raises(ManifestError, match="the table is empty"):
        list(import_audiofolder(tmp_path, RowOptions()))
