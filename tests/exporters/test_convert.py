"""Converting: lines that cannot be written are named with their place, and nothing is half written."""

from pathlib import Path

import pytest

from asr.errors import AsrError, ManifestError
from asr.exporters.convert import convert_manifest
from asr.exporters.kaldi import KaldiExportOptions
from asr.fragment import Fragment, write_manifest

ONE = Fragment(id="a", audio="/a.wav", text="x", language="fr")


def test_what_cannot_be_written_is_named_with_its_line(tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    write_manifest([ONE, ONE.replace(id="b c"), ONE.replace(id="d", text="\ud800"), ONE.replace(id="e")], manifest)
    manifest.write_text(manifest.read_text() + "broken\n")
    report = convert_manifest(manifest, tmp_path / "out", "kaldi", KaldiExportOptions())
    assert (report.fragments, report.faults.count) == (2, 3)
    for line, (error, sentence) in enumerate(zip(report.faults.first, ("blank", "surrogate", "not JSON"), strict=True)):
        assert sentence in str(error) and f"m.jsonl:{(2, 3, 5)[line]})" in str(error)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [("", "none of the 0 lines"), ("broken\n", "none of the 1 lines can be .*; the first: not JSON")],
)
def test_nothing_to_write_is_an_error(tmp_path: Path, lines: str, sentence: str) -> None:
    (tmp_path / "m.jsonl").write_text(lines)
    with pytest.raises(ManifestError, match=sentence):
        convert_manifest(tmp_path / "m.jsonl", tmp_path / "out", "kaldi", KaldiExportOptions())
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    write_manifest([ONE], tmp_path / "m.jsonl")
    with pytest.raises(AsrError, match="is there already and not an empty folder"):
        convert_manifest(tmp_path / "m.jsonl", tmp_path, "kaldi", KaldiExportOptions())
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]
