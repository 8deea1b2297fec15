"""Lines as a stream: whatever the bytes, lines or sentences come of them, and memory is bounded."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr import lines
from asr.errors import ManifestError
from asr.lines import read_lines


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=9), max_size=5))
def test_agrees_with_splitting_at_newlines(tmp_path: Path, texts: list[str]) -> None:
    texts = [text.removeprefix("\ufeff") for text in texts]
    expected = [(number, text) for number, text in enumerate(texts, 1) if text.encode().strip()]
    for end in ("\n", "\r\n"):
        data = end.join(texts).encode()
        (tmp_path / "plain").write_bytes(data)
        (tmp_path / "packed").write_bytes(gzip.compress(data))
        assert list(read_lines(tmp_path / "plain")) == list(read_lines(tmp_path / "packed")) == expected


def test_damaged_and_truncated_gzip_is_reported(tmp_path: Path) -> None:
    data = gzip.compress(b"".join(b"line %d\n" % (n * n) for n in range(2000)))
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 0xFF
    for content in (bytes(damaged), data[:-100]):
        (tmp_path / "m.gz").write_bytes(content)
        *_, (number, last) = read_lines(tmp_path / "m.gz")
        assert isinstance(last, ManifestError) and "damaged" in str(last) and last.line == number


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"\xef\xbb\xbfa\n")
    assert list(read_lines(tmp_path / "m")) == [(1, "a")]


def test_a_line_without_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    (tmp_path / "m").write_bytes(b"x" * 1000 + b"\na\n")
    (number, error), last = read_lines(tmp_path / "m")
    assert (number, last) == (1, (2, "a"))
    assert isinstance(error, ManifestError) and "longer than" in str(error)


def test_missing_file_and_folder_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no such table.*nowhere"):
        read_lines(tmp_path / "nowhere", "table")
    with pytest.raises(ManifestError, match="a table is a file, this is a folder"):
        read_lines(tmp_path, "table")
