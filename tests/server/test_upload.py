"""Forms as a client sends them: read in memory, and given up in time."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import httpx
import pytest
from starlette.requests import ClientDisconnect, Request

from asr.server.limits import Limits
from asr.server.refusals import Refusal
from asr.server.room import Room
from asr.server.upload import Form, read_form

MEGABYTE = 1 << 20


class Sent:
    """A request whose body comes chunk by chunk; counts what was asked for."""

    def __init__(self, headers: dict[str, str], chunks: Iterator[bytes], pause: float = 0.0) -> None:
        self.taken = 0
        self._chunks = chunks
        self._pause = pause
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self.request = Request({"type": "http", "method": "POST", "headers": raw}, self._receive)

    async def _receive(self) -> dict[str, Any]:
        await asyncio.sleep(self._pause)
        chunk = next(self._chunks, None)
        if chunk is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        if chunk == b"gone":
            return {"type": "http.disconnect"}
        self.taken += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}


def made(**parts: Any) -> tuple[dict[str, str], bytes]:
    """Headers and body of a form, as httpx makes them."""
    files = {name: value for name, value in parts.items() if isinstance(value, bytes)}
    request = httpx.Request(
        "POST",
        "http://x",
        files={name: ("my voice.wav", value) for name, value in files.items()} or {"a": ("", b"")},
        data={name: value for name, value in parts.items() if name not in files},
    )
    return dict(request.headers), request.read()


def pieces(body: bytes, size: int = 65536) -> Iterator[bytes]:
    return (body[first : first + size] for first in range(0, len(body), size))


def read(sent: Sent, **limits: Any) -> Form:
    room = Room(Limits(**limits))

    async def inside() -> Form:
        with room.enter() as place:
            return await read_form(sent.request, Limits(**limits), place)

    try:
        return asyncio.run(inside())
    finally:
        assert (room.places, room.size) == (0, 0)


def refused(sent: Sent, **limits: Any) -> Refusal:
    with pytest.raises(Refusal) as found:
        read(sent, **limits)
    return found.value


def test_a_form_is_read_without_a_file_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", no_file)
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", no_file)
    recording = bytes(range(256)) * 20000
    headers, body = made(file=recording, model="tiny", **{"timestamp_granularities[]": ["word", "segment"]})
    form = read(Sent(headers, pieces(body)))
    assert form.recording == recording
    assert form.fields == {"model": ["tiny"], "timestamp_granularities[]": ["word", "segment"]}


def test_what_is_too_large_by_its_header_is_not_read() -> None:
    headers, body = made(file=b"x")
    sent = Sent(headers | {"content-length": str(2 << 30)}, pieces(body))
    assert (refused(sent).status, sent.taken) == (413, 0)


def test_what_turns_out_too_large_is_not_read_to_its_end() -> None:
    headers, body = made(file=bytes(MEGABYTE))
    del headers["content-length"]
    endless = Sent(headers, chain([body[:MEGABYTE]], repeat(body[MEGABYTE // 2 : MEGABYTE])))
    refusal = refused(endless, upload_mb=2)
    assert refusal.status == 413 and "2 MB" in refusal.message
    assert endless.taken <= 3 * MEGABYTE


def test_what_does_not_come_in_time() -> None:
    headers, body = made(file=bytes(1000))
    assert refused(Sent(headers, pieces(body, 10), pause=0.05), upload_seconds=0.2).status == 408


def test_a_client_that_stops_half_way() -> None:
    headers, body = made(file=bytes(1000))
    with pytest.raises(ClientDisconnect):
        read(Sent(headers, iter([body[:300], b"gone"])))


def test_memory_that_is_full() -> None:
    headers, body = made(file=bytes(MEGABYTE))
    assert refused(Sent(headers, pieces(body)), memory_mb=1).status == 429


@pytest.mark.parametrize(
    ("headers", "body", "status", "message"),
    [
        ({"content-type": "application/json"}, b"{}", 415, "multipart/form-data"),
        ({}, b"", 415, "multipart/form-data"),
        ({"content-type": "multipart/form-data"}, b"x", 400, "boundary"),
        ({"content-type": "multipart/form-data; boundary=a"}, b"no form at all", 400, "cannot be read"),
        ({"content-type": "multipart/form-data; boundary=a"}, b"--a--\r\n", 400, "no recording"),
        (*made(file=b""), 400, "no recording"),
        (*made(model="tiny"), 400, "no recording"),
        (*made(file=b"x", prompt="x" * 20000), 400, "exceeded maximum size"),
        (*made(file=b"x", other=b"y"), 400, "Too many files"),
        (*made(file=b"x", **{f"f{n}": "x" for n in range(40)}), 400, "Too many fields"),
    ],
)
def test_what_is_no_such_form(headers: dict[str, str], body: bytes, status: int, message: str) -> None:
    refusal = refused(Sent(headers, pieces(body)))
    assert refusal.status == status and message in refusal.message


def test_a_file_in_another_field_is_none() -> None:
    headers, body = made(audio=b"x")
    assert refused(Sent(headers, pieces(body))).param == "file"


def test_a_body_that_ends_too_early_has_no_recording() -> None:
    headers, body = made(file=bytes(1000))
    assert refused(Sent(headers, pieces(body[:600]))).status == 400
