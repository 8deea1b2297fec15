"""Fields: languages out of tags, tables and readers; the rest of the rows is tested with the formats that use it."""

from pathlib import Path

import pytest

from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.importers.fields import FieldSource, RowOptions, read_language, translate_rows
from asr.importers.places import AudioFolder

ROW = {"audio": "a.wav", "text": "x", "language": "fr"}


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("fr", "fr"),
        ("fr-CA", "fr"),
        ("zh-TW", "zh"),
        ("sv-SE", "sv"),
        ("nb-NO", "no"),
        ("gsw-CH", "gsw"),
        ("kab", "kab"),
    ],
)
def test_languages_are_whispers(tag: str, code: str) -> None:
    assert read_language(tag, {}) == (code, None)


@pytest.mark.parametrize("tag", ["French", "x-private", "fr_FR", "??"])
def test_what_is_no_tag_is_named(tag: str) -> None:
    assert read_language(tag, {}) == (None, tag)


def test_a_table_of_the_user_goes_before_the_formats_reader(tmp_path: Path) -> None:
    options = RowOptions(fields={"language": FieldSource("language", {"French": "fr"})})
    rows = [(1, ROW | {"language": "French"}), (2, ROW | {"language": "fr-FR"})]
    first, second = translate_rows(
        tmp_path / "m", rows, options, AudioFolder(tmp_path), readers={"language": read_language}
    )
    assert isinstance(first, Fragment) and first.custom == {"source_values": {"language": "French"}}
    assert isinstance(second, ManifestError) and "'language'" in str(second) and "m:2)" in str(second)


def test_what_an_earlier_import_kept_is_kept(tmp_path: Path) -> None:
    kept = {"source_values": {"accent": "Romand"}, "unmapped": {"tune": "?"}}
    options = RowOptions(fields={"dialect": FieldSource("accents", {})})
    (again,) = translate_rows(tmp_path / "m", [(1, ROW | kept | {"accents": "A"})], options, AudioFolder(tmp_path))
    assert isinstance(again, Fragment)
    assert again.custom == {"source_values": {"accent": "Romand"}, "unmapped": {"tune": "?", "dialect": "A"}}


def test_paths_outside_are_refused_row_by_row(tmp_path: Path) -> None:
    rows = [(n, ROW | {"audio": name}) for n, name in enumerate(("a.wav", "../../etc/passwd", "/etc/passwd", "b.wav"))]
    items = list(translate_rows(tmp_path / "m", rows, RowOptions(), AudioFolder(tmp_path)))
    assert [isinstance(item, Fragment) for item in items] == [True, False, False, True]
    assert all("passwd" not in str(item) for item in items[1:3])
