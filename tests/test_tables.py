"""Tables: rows with their lines, and faults with theirs."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import ManifestError
from asr.tables import read_table, stream_table


def table(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    return path


def test_rows_come_with_their_lines(tmp_path: Path) -> None:
    path = table(tmp_path, "\ufeffa\tb\r\n\r\n é \tx y\r\n\t\n1\t\n".encode())
    assert list(read_table(path, ("a", "b"))) == [(3, {"a": "é", "b": "x y"}), (5, {"a": "1", "b": ""})]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the first line must name the columns a, b ({path}:1)"),
        (b"a\tc\n", "the first line must name the columns a, b ({path}:1)"),
        (b"a\tb\n1\t2\n1\t2\t3\n", "3 columns where 2 are expected ({path}:3)"),
        (b"a\tb\n1\t2\n1\t\xe9\n", "the table is not UTF-8; save it as UTF-8 ({path}:3)"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = table(tmp_path, content)
    with pytest.raises(ManifestError) as caught:
        list(read_table(path, ("a", "b")))
    assert str(caught.value) == sentence.format(path=path)


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.tsv"):
        with pytest.raises(ManifestError, match=f"the table cannot be read: .*{path.name}"):
            list(read_table(path, ("a", "b")))


cells = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=6)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cells, cells.filter(lambda text: "\n\n" not in text)), max_size=4))
def test_streamed_csv_agrees_with_the_csv_module(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    rows = [row for row in rows if "\n" not in row[0] and not row[1].startswith("\n") and not row[1].endswith("\n")]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    read = [row for _, row in stream_table(tmp_path / "t.csv", ("b",), "csv")]
    assert read == [{"a": a, "b": b} for a, b in rows]


@pytest.mark.parametrize(
    ("kind", "row", "sentence"),
    [
        ("tsv", b"1\t2\t3", "3 columns where 2 are expected ({path}:3)"),
        ("tsv", b"1\t\xe9", "byte 3 of the line is not UTF-8; save the table as UTF-8 ({path}:3)"),
        ("tsv", b"1\t\0", "the row has a NUL byte; write the table again ({path}:3)"),
        ("csv", b"1,2,3", "3 columns where 2 are expected ({path}:3)"),
        ("csv", b"1,\0", "the row has a NUL byte; write the table again ({path}:3)"),
        ("csv", b'"1"2,3', "the row is no CSV: ',' expected after '\"' ({path}:3)"),
    ],
)
def test_a_broken_row_is_a_value_and_the_rest_goes_on(
    tmp_path: Path, kind: Literal["tsv", "csv"], row: bytes, sentence: str
) -> None:
    mark = b"\t" if kind == "tsv" else b","
    path = table(tmp_path, gzip.compress(mark.join([b"a", b"b\n5", b"6\n" + row + b"\n7", b"8\n"])))
    first, (number, fault), last = stream_table(path, ("a",), kind)
    assert (first, last) == ((2, {"a": "5", "b": "6"}), (4, {"a": "7", "b": "8"}))
    assert (number, str(fault)) == (3, sentence.format(path=path))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the table is empty; its first line must name the columns ({path}:1)"),
        (b"c\td\n", "the first line must name the column 'b', it names c, d ({path}:1)"),
        (b"b\tb\n", "the first line names a column twice; keep one of them ({path}:1)"),
        (b"b\t\xe9\n", "byte 3 of the line is not UTF-8; save the table as UTF-8 ({path}:1)"),
    ],
)
def test_a_streamed_table_needs_its_columns(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = table(tmp_path, content)
    with pytest.raises(ManifestError) as caught:
        stream_table(path, ("b",))
    assert str(caught.value) == sentence.format(path=path)
