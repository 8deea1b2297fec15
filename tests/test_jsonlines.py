"""JSON Lines as a stream: any line may be broken, in any way, and the others are still read."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import ManifestError
from asr.jsonlines import read_objects, read_sound_objects

BROKEN = {
    "cut short": (b'{"id": "a"', "not JSON.*column 11"),
    "no object": (b"[1, 2]", "must be an object.*list"),
    "bare number": (b"3", "must be an object.*int"),
    "latin-1": '{"id": "é"}'.encode("latin-1"),
    "not a number": (b'{"x": NaN}', "NaN is no JSON value"),
    "key twice": (b'{"x": 1, "x": 2}', "'x' stands twice"),
    "too deep": (b'{"x": ' + b"[" * 200_000 + b"}", "nested too deeply"),
    "two on a line": (b'{"x": 1} {"x": 2}', "not JSON: Extra data"),
    "huge number": (b'{"x": ' + b"9" * 5000 + b"}", "not usable JSON"),
}
BROKEN["latin-1"] = ('{"id": "é"}'.encode("latin-1"), "byte 9 of the line is not UTF-8")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_line_is_a_value_with_its_place(tmp_path: Path, name: str) -> None:
    broken, message = BROKEN[name]
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"n": 1}\n\n' + broken + b'\r\n{"n": 2}')
    (_, first), (number, error), (_, last) = read_objects(path)
    assert (first, number, last) == ({"n": 1}, 3, {"n": 2})
    assert isinstance(error, ManifestError)
    assert (error.path, error.line) == (path, 3)
    with pytest.raises(ManifestError, match=message):
        raise error


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=9) | st.integers(), max_size=3), max_size=5))
def test_agrees_with_json_on_whole_files(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    data = "\n".join(json.dumps(row) for row in rows).encode()
    (tmp_path / "plain").write_bytes(data)
    (tmp_path / "packed").write_bytes(gzip.compress(data))
    assert [row for _, row in read_objects(tmp_path / "plain")] == rows
    assert [row for _, row in read_objects(tmp_path / "packed")] == rows


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_end_in_values_or_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m").write_bytes(data)
    for _, row in read_objects(tmp_path / "m"):
        assert isinstance(row, dict | ManifestError)
    (tmp_path / "m").write_bytes(gzip.compress(data)[:-1])
    *_, (_, last) = read_objects(tmp_path / "m")
    assert isinstance(last, ManifestError)


def test_missing_file_and_folder_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no such manifest.*nowhere\.jsonl"):
        list(read_objects(tmp_path / "nowhere.jsonl"))
    with pytest.raises(ManifestError, match="this is a folder; name"):
        list(read_objects(tmp_path))


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "m").touch()
    assert list(read_objects(tmp_path / "m")) == []


def test_where_nothing_may_be_broken_the_first_broken_line_ends_it(tmp_path: Path) -> None:
    (tmp_path / "m").write_text('{"a": 1}\nbroken\n{"a": 2}\n')
    objects = read_sound_objects(tmp_path / "m")
    assert next(objects) == {"a": 1}
    with pytest.raises(ManifestError, match=r"not JSON.*m:2\)"):
        next(objects)
