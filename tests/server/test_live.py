"""Live speech, spoken by espeak-ng, over a real WebSocket; and what senders do wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import numpy as np
import pytest
import websockets
from websockets.sync.client import ClientConnection, connect

from asr import Transcriber
from asr.server import live
from asr.server.limits import Limits
from asr.server.queue import Queue

KEY = "0123456789abcdef"
SOON = 30.0


@contextmanager
def session(url: str, query: str = "", **settings: Any) -> Iterator[ClientConnection]:
    with connect(f"{url.replace('http', 'ws')}/v1/live{query}", **settings) as connection:
        assert hear(connection) == {"type": "ready", "sample_rate": 16000}
        yield connection


def hear(connection: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(connection.recv(SOON)))


def pcm(samples: Any) -> bytes:
    return bytes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def send(connection: ClientConnection, samples: Any, pause: float = 0.0) -> None:
    """Send 100 ms at a time."""
    for first in range(0, len(samples), 1600):
        connection.send(pcm(samples[first : first + 1600]))
        time.sleep(pause)


def to_the_end(connection: ClientConnection) -> list[dict[str, Any]]:
    """All messages until the server closes."""
    found = []
    with pytest.raises(websockets.ConnectionClosed):
        while True:
            found.append(hear(connection))
    return found


def closed(connection: ClientConnection) -> tuple[dict[str, Any], int | None]:
    """The last message and the close code."""
    messages = to_the_end(connection)
    return messages[-1], connection.close_code


def test_each_utterance_has_its_final_text(serve: Any, speech: Any, transcriber: Transcriber) -> None:
    transcriber.speech = None  # the server has found it
    with session(serve(), "?language=en&dialect=en-US") as connection:
        send(connection, np.concatenate((speech, speech)))
        connection.send(b"")
        messages = to_the_end(connection)
        assert connection.close_code == 1000
    finals = [one for one in messages if one["type"] == "final"]
    assert [one["utterance"] for one in finals] == [0, 1]
    heard = (pcm(np.concatenate((speech, speech))), len(speech) / 16000)
    samples = np.frombuffer(heard[0], "<i2").astype(np.float32) / 32768
    for number, final in enumerate(finals):
        # A second of silence is before and after each, and a little of it counts as speech.
        assert number * heard[1] + 0.6 < final["start"] < number * heard[1] + 1.2
        assert (number + 1) * heard[1] - 1.2 < final["end"] < (number + 1) * heard[1] - 0.3
        part = samples[round(final["start"] * 16000) : round(final["end"] * 16000)]
        assert final["text"] == transcriber.transcribe(part, language="en", dialect="en-US").text
        assert (final["dialect"], final["language_code"]) == ("en-US", "en")
        assert final["duration"] == pytest.approx(final["end"] - final["start"], abs=1e-3)


def test_partial_texts_come_while_speech_goes_on(serve: Any, speech: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_INTERVAL", 0.1)
    with session(serve(), "?language=en") as connection:
        send(connection, speech, pause=0.03)
        connection.send(b"")
        messages = [one for one in to_the_end(connection) if one["type"] in ("partial", "final")]
    kinds = [one["type"] for one in messages]
    assert kinds.count("final") == 1 and kinds[-1] == "final" and kinds.count("partial") >= 1
    ends = [one["end"] for one in messages[:-1]]
    assert ends == sorted(ends) and {one["start"] for one in messages} == {messages[0]["start"]}


def test_the_text_of_a_pause_is_the_final_one(serve: Any, speech: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One utterance with a short pause: its final text was asked for once, in the pause that was its end."""
    spoken = speech[16000:-16000]
    asked: list[int] = []
    original = Queue.submit

    def submit(queue: Queue, samples: Any, wish: Any, *, live: bool = False) -> Any:
        assert live
        asked.append(len(samples))
        return original(queue, samples, wish, live=live)

    monkeypatch.setattr(Queue, "submit", submit)
    monkeypatch.setattr(live, "_INTERVAL", 100.0)
    pause = np.zeros(4800)
    with session(serve(), "?language=en") as connection:
        send(connection, np.concatenate((np.zeros(16000), spoken, pause, spoken, np.zeros(16000))), pause=0.01)
        connection.send(b"")
        messages = to_the_end(connection)
    (final,) = [one for one in messages if one["type"] == "final"]
    length = round(16000 * (final["end"] - final["start"]))
    assert length > 1.8 * len(spoken) and asked.count(length) == 1 and asked[-1] == length
    assert {one["text"] for one in messages if one.get("end") == final["end"]} == {final["text"]}


def test_speech_at_the_end_of_audio_is_heard_too(serve: Any, speech: Any) -> None:
    with session(serve(), "?language=en") as connection:
        send(connection, speech[:-16000])
        connection.send(b"")
        finals = [one for one in to_the_end(connection) if one["type"] == "final"]
    assert len(finals) == 1 and finals[0]["end"] <= len(speech) / 16000 - 1


def test_silence_and_noise_have_no_text(serve: Any) -> None:
    noise = 0.01 * np.random.default_rng(0).standard_normal(5 * 16000)
    with session(serve()) as connection:
        send(connection, np.concatenate((np.zeros(32000), noise)))
        connection.send(b"")
        assert to_the_end(connection) == []


def test_speech_without_a_pause_is_cut(serve: Any, speech: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_LONGEST", 3.0)
    monkeypatch.setattr(live, "_CUT_IN", 1.0)
    without_pause = np.tile(speech[16000:-16000], 4)[: 8 * 16000]
    with session(serve(), "?language=en") as connection:
        send(connection, without_pause)
        connection.send(b"")
        finals = [one for one in to_the_end(connection) if one["type"] == "final"]
    assert len(finals) >= 3 and all(one["duration"] <= 3.2 for one in finals)
    # Nothing is left out, or heard twice.
    assert [one["end"] for one in finals[:-1]] == [one["start"] for one in finals[1:]]


def test_a_cut_in_the_pause_at_the_end_leaves_nothing_to_hear(
    serve: Any, speech: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = speech[16000:-16000]
    monkeypatch.setattr(live, "_LONGEST", len(spoken) / 16000 + 0.4)
    monkeypatch.setattr(live.LiveSession, "_quietest", lambda session: session._received)
    with session(serve(), "?language=en") as connection:
        send(connection, speech)
        connection.send(b"")
        messages = [one for one in to_the_end(connection) if one["type"] != "partial"]
    assert [one["type"] for one in messages] == ["final"]


@pytest.mark.parametrize(
    ("message", "code", "sentence"),
    [
        ("hello", 1003, "only binary messages"),
        (b"odd", 1007, "3 bytes, which are no whole 16-bit samples"),
        (bytes(100_000), 1009, "100000 bytes; at most 64000"),
    ],
)
def test_garbage_is_answered_with_a_sentence(serve: Any, message: str | bytes, code: int, sentence: str) -> None:
    url = serve()
    with session(url) as connection:
        connection.send(message)
        last, found = closed(connection)
    assert (last["type"], last["code"], found) == ("error", code, code) and sentence in last["message"]
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_message_without_end_is_closed(serve: Any) -> None:
    url = serve()
    with session(url) as connection:
        with suppress(websockets.ConnectionClosed):
            connection.send(bytes(2 << 20))
        # The close frame is lost where the rest of the message is still on its way.
        assert to_the_end(connection) == [] and connection.close_code in (1006, 1009)
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_sender_that_is_too_fast(serve: Any) -> None:
    with session(serve()) as connection:
        with suppress(websockets.ConnectionClosed):
            for _ in range(30):
                connection.send(bytes(32000))
        last, code = closed(connection)
    assert code == 1008 and "faster than it is spoken" in last["message"]


@pytest.mark.parametrize("silence", [b"", bytes(3200)])
def test_silence_for_ever(serve: Any, silence: bytes) -> None:
    with session(serve(limits=Limits(live_idle_seconds=0.5))) as connection:
        for _ in range(3):
            if silence:
                connection.send(silence)
        last, code = closed(connection)
    assert code == 1008 and "nobody has spoken for 0.5 s" in last["message"]


def test_a_client_that_goes_leaves_nothing_behind(serve: Any, speech: Any) -> None:
    url = serve(limits=Limits(live=1))
    for _ in range(3):
        with session(url) as connection:
            send(connection, speech[:-8000])
            connection.socket.close()
        end = time.monotonic() + SOON
        while "asr_live_sessions 0.0" not in httpx.get(f"{url}/metrics").text:
            assert time.monotonic() < end
            time.sleep(0.02)
    assert httpx.get(f"{url}/healthz").json()["waiting"] == 0


@pytest.mark.parametrize(
    ("query", "headers", "status", "sentence"),
    [
        ("", {}, 401, "API key"),
        ("?language=xx", {"Authorization": f"Bearer {KEY}"}, 400, "language 'xx'"),
    ],
)
def test_a_session_that_cannot_be_is_refused(
    serve: Any, query: str, headers: dict[str, str], status: int, sentence: str
) -> None:
    with (
        pytest.raises(websockets.InvalidStatus) as refused,
        session(serve(key=KEY), query, additional_headers=headers),
    ):
        pass
    assert refused.value.response.status_code == status
    assert sentence in json.loads(refused.value.response.body or b"")["error"]["message"]


def test_too_many_sessions(serve: Any) -> None:
    url = serve(limits=Limits(live=1))
    with session(url):
        with pytest.raises(websockets.InvalidStatus) as refused, session(url):
            pass
        assert refused.value.response.status_code == 429
        assert int(refused.value.response.headers["Retry-After"]) > 0
