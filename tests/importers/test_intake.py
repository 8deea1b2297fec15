"""An import writes its good rows, counts its broken ones, and says what it could not translate."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment, read_manifest
from asr.importers import IMPORTERS, Importer, Row
from asr.importers.intake import import_manifest, read_source
from asr.importers.jsonl import JsonlOptions


def fragment(number: int, **custom: object) -> Fragment:
    return Fragment(id=f"f{number}", audio="/a.wav", text="", language="en", custom=custom)


def test_good_rows_are_written_and_the_others_counted(tmp_path: Path) -> None:
    rows: list[Row] = []
    for number in range(50):
        rows += [fragment(number), ManifestError("broken", "list", number)]
    report = import_manifest(iter(rows), tmp_path / "m.jsonl")
    assert (report.fragments, report.faults.count, len(report.faults.first)) == (50, 50, 20)
    assert list(read_manifest(tmp_path / "m.jsonl")) == rows[::2]


def test_what_could_not_be_translated_is_counted(tmp_path: Path) -> None:
    unmapped = [{"dialect": "Mars"}, {"dialect": ["Mars", "Moon"]}, {"age_band": "old"}]
    report = import_manifest([fragment(n, unmapped=u) for n, u in enumerate(unmapped)], tmp_path / "m.jsonl")
    assert report.unmapped == Counter({("dialect", "Mars"): 2, ("dialect", "Moon"): 1, ("age_band", "old"): 1})


@pytest.mark.parametrize(("rows", "message"), [([], "gave no fragments"), ([ManifestError("a")], "none of the 1 rows")])
def test_nothing_imported_leaves_the_older_manifest(tmp_path: Path, rows: list[Row], message: str) -> None:
    (tmp_path / "m.jsonl").write_text("older")
    with pytest.raises(ManifestError, match=message):
        import_manifest(rows, tmp_path / "m.jsonl")
    assert (tmp_path / "m.jsonl").read_text() == "older"


@pytest.mark.parametrize(
    ("kind", "accepted"),
    [("file", ["file"]), ("folder", ["folder"]), ("any", ["file", "folder"]), ("made", ["folder", "nothing"])],
)
def test_a_source_is_what_the_importer_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, accepted: list[str]
) -> None:
    def give(source: Path, options: JsonlOptions) -> Iterator[Fragment]:
        return iter([fragment(1)])

    monkeypatch.setitem(IMPORTERS, "jsonl", Importer(give, JsonlOptions, kind))  # type: ignore[arg-type]
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for name in ("file", "folder", "nothing"):
        if name in accepted:
            assert list(read_source("jsonl", JsonlOptions(), tmp_path / name)) == [fragment(1)]
        else:
            with pytest.raises(ConfigError, match=f"{tmp_path / name}.* name the|reads a .* and .* is a {name}"):
                read_source("jsonl", JsonlOptions(), tmp_path / name)
