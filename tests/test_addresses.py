"""Addresses written and read back; what only looks like one is a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.addresses import Packed, digest_of, fault_of, is_stored, parse_packed
from asr.fragment import Fragment, read_manifest, write_manifest


@given(st.text(min_size=1), st.integers(0, 2**40), st.integers(0, 2**40), st.binary())
def test_an_address_is_read_as_it_was_written(name: str, first: int, size: int, recording: bytes) -> None:
    packed = Packed(f"{name}.tar", first, size, digest_of(recording))
    assert parse_packed(str(packed)) == packed


@pytest.mark.parametrize(
    "path",
    [
        "a.wav",
        "a.tar",
        "a.tar#1+2",
        "a.tar#1+2:",
        "a.tar#x+1:0123456789abcdef",
        "a.wav#1+2:0123456789abcdef",
        ".tar#-1+2:0123456789abcdef",
        "a.tar#1+2:0123456789abcdeg",
        "a.tar#1+2:0123456789abcdef0",
    ],
)
def test_what_only_looks_like_one(path: str) -> None:
    assert parse_packed("a.tar#1+2:0123456789abcdef") is not None
    assert parse_packed(path) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(5, "Input/output error"), "Input/output error"),
        (FileNotFoundError("bucket/a.tar"), "there is no such file"),
        (RuntimeError("Unable to locate credentials"), "Unable to locate credentials"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_what_an_error_says(error: Exception, said: str) -> None:
    assert fault_of(error) == said


def test_only_object_storage_is_stored() -> None:
    assert is_stored("s3://bucket/a.tar#1+2") and is_stored("gs://b/c")
    for address in ("a.wav", "/s3://x", "http://example.org/a.tar#0+1", "https://x", "file:///etc/passwd", "s3:/a"):
        assert not is_stored(address)


def test_a_manifest_keeps_an_address_as_it_is(tmp_path: object) -> None:
    path = f"{tmp_path}/m.jsonl"
    address = "s3://bucket/recording.000000.tar#512+99:0123456789abcdef"
    fragment = Fragment(id="a", audio=address, text="x", language="en")
    write_manifest([fragment], path)
    assert [item.audio for item in read_manifest(path)] == [address]
    # What is no object storage is a file beside the manifest, whatever it looks like.
    write_manifest([fragment.replace(audio=f"{tmp_path}/http://example.org/a.tar#0+9")], path)
    assert [item.audio for item in read_manifest(path)] == [f"{tmp_path}/http:/example.org/a.tar#0+9"]
