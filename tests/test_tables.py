"""Tables: rows with their lines, and faults with theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.errors import ManifestError
from asr.tables import read_table


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
