"""The server as its clients see it: real connections, OpenAI's own client, and what clients do wrong."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soundfile
from prometheus_client.parser import text_string_to_metric_families

from asr import Transcriber
from asr.audio import AudioInfo, load_audio
from asr.inference.transcriber import Transcriber as TranscriberClass
from asr.intent.event import read_event
from asr.intent.model import IntentModel
from asr.intent.training import Example, IntentOptions, train_intent_model
from asr.server import app
from asr.server.limits import Limits

PATH = "/v1/audio/transcriptions"
KEY = "0123456789abcdef"
SOON = 30.0


def wav(samples: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format="WAV")
    return file.getvalue()


def flac(samples: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format="FLAC")
    return file.getvalue()


def client(url: str, **settings: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", **{"api_key": KEY, "max_retries": 0, **settings})


def post(url: str, recording: bytes, path: str = PATH, **fields: Any) -> httpx.Response:
    files = {"file": ("my secret name.wav", recording)}
    return httpx.post(url + path, files=files, data=fields, timeout=SOON)


def health(url: str) -> dict[str, Any]:
    answer = httpx.get(f"{url}/healthz")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def sample(url: str, name: str, **labels: str) -> float:
    """One of the server's counters; 0 for what was not counted yet."""
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        for one in family.samples:
            if one.name == name and all(one.labels.get(key) == value for key, value in labels.items()):
                return float(one.value)
    return 0.0


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


class Gate:
    """Holds the transcriber back until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.asked = 0
        original = TranscriberClass.transcribe_many

        def held(transcriber: TranscriberClass, items: Any, **given: Any) -> Any:
            several = list(items)
            if several:
                self.asked += len(several)
                assert self.open.wait(SOON)
            return original(transcriber, several, **given)

        monkeypatch.setattr(TranscriberClass, "transcribe_many", held)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def test_openai_s_client_transcribes(serve: Any, recording: bytes, transcriber: Transcriber) -> None:
    url = serve()
    expected = transcriber.transcribe(load_audio(recording), language="fr", dialect="fr-CA")
    asking = client(url)
    told = asking.audio.transcriptions.create(
        file=("a.wav", recording), model="whisper-1", language="fr", extra_body={"dialect": "fr-CA"}
    )
    assert told.text == expected.text != ""
    verbose = asking.audio.transcriptions.create(
        file=("a.wav", recording),
        model="tiny",
        language="fr",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        extra_body={"dialect": "fr-CA"},
    )
    assert (verbose.language, verbose.text, verbose.duration) == ("french", expected.text, expected.duration)
    assert verbose.segments is not None and verbose.segments[0].avg_logprob == pytest.approx(
        expected.segments[0].avg_logprob, abs=1e-4
    )
    assert " ".join(word.word for word in verbose.words or ()).split() == expected.text.split()
    assert verbose.to_dict()["dialect"] == "fr-CA"
    for form in ("text", "srt", "vtt"):
        body = asking.audio.transcriptions.create(file=("a.wav", recording), model="tiny", response_format=form)
        assert isinstance(body, str)


def test_openai_s_client_streams(serve: Any, recording: bytes) -> None:
    asking = client(serve())
    plain = asking.audio.transcriptions.create(file=("a.wav", recording), model="tiny", language="en")
    events = list(
        asking.audio.transcriptions.create(file=("a.wav", recording), model="tiny", language="en", stream=True)
    )
    assert [one.type for one in events] == ["transcript.text.delta", "transcript.text.done"]
    assert "".join(one.delta for one in events if one.type == "transcript.text.delta") == plain.text
    assert events[-1].type == "transcript.text.done" and events[-1].text == plain.text


class Steps:
    """Lets the transcriber hear a batch at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may = threading.Semaphore(0)
        self.languages: list[str | None] = []
        original = TranscriberClass.transcribe_many

        def stepwise(transcriber: TranscriberClass, items: Any, **given: Any) -> Any:
            several = list(items)
            if several:
                self.languages.append(given["language"])
                assert self.may.acquire(timeout=SOON)
            return original(transcriber, several, **given)

        monkeypatch.setattr(TranscriberClass, "transcribe_many", stepwise)


def test_a_long_recording_streams_as_it_is_heard(serve: Any, speech: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    long = flac(np.tile(speech, 1 + 80 * 16000 // len(speech)))
    url = serve(limits=Limits(queue=1))
    steps.may.release()
    events = iter(client(url).audio.transcriptions.create(file=("a.flac", long), model="tiny", stream=True))
    told: list[Any] = [next(events)]  # no more was heard than the first window
    assert len(steps.languages) <= 2 and post(url, long).status_code == 429
    steps.may.release(100)
    *deltas, done = told + list(events)
    assert [one.type for one in deltas] == ["transcript.text.delta"] * len(deltas) and len(deltas) >= 3
    assert "".join(one.delta for one in deltas) == done.text
    # The first window tells the language of the others.
    assert steps.languages[0] is None and None not in steps.languages[1:]


def test_a_client_that_has_heard_enough_of_a_stream_frees_its_place(
    serve: Any, speech: Any, recording: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    url = serve(limits=Limits(queue=1))
    steps.may.release()
    events = client(url).audio.transcriptions.create(
        file=("a.flac", flac(np.tile(speech, 30))), model="tiny", language="en", stream=True
    )
    next(iter(events))
    events.close()
    steps.may.release(100)
    until(lambda: post(url, recording).status_code == 200)
    assert health(url)["waiting"] == 0


def test_a_long_recording_has_segments_with_times(serve: Any, speech: Any) -> None:
    samples = np.concatenate((np.zeros(10 * 16000), np.tile(speech, 1 + 40 * 16000 // len(speech))))
    told = client(serve()).audio.transcriptions.create(
        file=("a.flac", flac(samples)), model="tiny", language="en", response_format="verbose_json"
    )
    assert told.duration == len(samples) / 16000 and told.segments is not None and len(told.segments) >= 2
    assert told.text == " ".join(segment.text for segment in told.segments)
    times = [time for segment in told.segments for time in (segment.start, segment.end)]
    assert times == sorted(times) and times[0] > 10 and times[-1] <= told.duration


def test_silence_has_no_text(serve: Any) -> None:
    url = serve()
    for seconds in (2, 40):
        told = post(url, wav(np.zeros(16000 * seconds)), response_format="verbose_json").json()
        assert (told["text"], told["segments"], told["duration"]) == ("", [], seconds)


def test_openai_s_client_lists_models(serve: Any) -> None:
    asking = client(serve())
    assert [model.id for model in asking.models.list()] == ["tiny"]
    assert asking.models.retrieve("tiny").owned_by == "dialect-asr"
    with pytest.raises(openai.NotFoundError):
        asking.models.retrieve("gpt")


def test_openai_s_client_knows_our_errors(serve: Any, recording: bytes) -> None:
    url = serve(key=KEY, limits=Limits(upload_mb=0.15, audio_seconds=5))
    with pytest.raises(openai.AuthenticationError, match="API key is missing or wrong"):
        client(url, api_key="wrong").audio.transcriptions.create(file=("a.wav", recording), model="tiny")
    asking = client(url).audio.transcriptions
    with pytest.raises(openai.NotFoundError, match="is not served here"):
        asking.create(file=("a.wav", recording), model="gpt")
    with pytest.raises(openai.BadRequestError, match="language 'xx' is none that the model knows"):
        asking.create(file=("a.wav", recording), model="tiny", language="xx")
    with pytest.raises(openai.BadRequestError, match="the recording is no audio"):
        asking.create(file=("a.wav", b"these are my notes"), model="tiny")
    with pytest.raises(openai.APIStatusError, match=r"larger than the 0\.15 MB") as large:
        asking.create(file=("a.wav", bytes(200_000)), model="tiny")
    with pytest.raises(openai.APIStatusError, match=r"lasts 6\.0 s; at most 5 s") as long:
        asking.create(file=("a.flac", flac(np.zeros(96000))), model="tiny")
    assert large.value.status_code == long.value.status_code == 413
    assert asking.create(file=("a.wav", recording), model="tiny")


def test_a_header_that_promises_less_than_there_is(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "probe", lambda _: AudioInfo(duration=1.0, sample_rate=16000, channels=1))
    url = serve(limits=Limits(audio_seconds=5))
    whole = post(url, flac(np.zeros(64000)), response_format="verbose_json")
    assert whole.json()["duration"] == 4.0
    longer = post(url, flac(np.zeros(96000)))
    assert longer.status_code == 413 and "longer than its header says; at most 5 s" in longer.json()["error"]["message"]


def test_what_an_utterance_asks_for(serve: Any, recording: bytes) -> None:
    texts = {"book_flight": ("book a flight", "fly me home"), "music": ("play jazz", "a song")}
    learnt = [Example(text, name, "en") for name, several in texts.items() for text in several]
    intents: IntentModel = train_intent_model(learnt, IntentOptions(buckets=64))
    answer = post(serve(intent_model=intents), recording, "/v1/understand", language="en")
    told = answer.json()
    assert answer.status_code == 200 and set(told.pop("intent")) >= {"name", "confidence", "in_scope"}
    assert read_event(told).language == "en"


def test_without_an_intent_model_nothing_is_understood(serve: Any, recording: bytes) -> None:
    answer = post(serve(), recording, "/v1/understand")
    assert answer.status_code == 501 and "--intent-model" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", PATH, 405), ("POST", "/v1/models", 405), ("GET", "/docs", 404)],
)
def test_other_paths_have_openai_s_form_of_error_too(serve: Any, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, serve() + path)
    assert answer.status_code == status and "openapi.json" in answer.json()["error"]["message"]


def test_the_schema_has_the_form(serve: Any) -> None:
    schema = httpx.get(f"{serve()}/openapi.json").json()
    form = schema["paths"][PATH]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "dialect", "stream"} <= set(form["properties"])


def test_what_waits_is_transcribed_at_once(serve: Any, gate: Gate, voice: Any) -> None:
    url = serve()

    async def all_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=SOON) as asking:
            files = [{"file": ("a.wav", wav(voice(0.5 + 0.1 * number, number)))} for number in range(4)]
            first = asyncio.create_task(asking.post(url + PATH, files=files[0]))
            while not gate.asked:
                await asyncio.sleep(0.02)
            rest = [asyncio.create_task(asking.post(url + PATH, files=one)) for one in files[1:]]
            while health_now(await asking.get(f"{url}/healthz")) < 3:
                await asyncio.sleep(0.02)
            gate.open.set()
            return [await first, *[await one for one in rest]]

    def health_now(answer: httpx.Response) -> int:
        return int(answer.json()["waiting"])

    answers = asyncio.run(all_at_once())
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.json()["usage"]["seconds"] for answer in answers] == [0.5, 0.6, 0.7, 0.8]
    assert (sample(url, "asr_batch_size_count"), sample(url, "asr_batch_size_sum")) == (2, 4)


def test_200_clients_at_once(serve: Any, recording: bytes, voice: Any) -> None:
    url = serve(limits=Limits(queue=150))
    short = wav(voice(0.3))

    async def all_at_once() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=120, limits=limits) as asking:
            return await asyncio.gather(
                *(asking.post(url + PATH, files={"file": ("a.wav", short)}) for _ in range(200))
            )

    answers = asyncio.run(all_at_once())
    served = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(served) + len(refused) == 200 and len(served) >= 150
    assert len({answer.json()["text"] for answer in served}) == 1
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert post(url, recording).status_code == 200 and health(url)["waiting"] == 0


def test_a_full_queue_refuses_and_goes_on(serve: Any, gate: Gate, recording: bytes) -> None:
    url = serve(limits=Limits(queue=1))
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(post(url, recording)))
    waiting.start()
    until(lambda: gate.asked == 1)
    refused = post(url, recording)
    assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    gate.open.set()
    waiting.join(SOON)
    assert answers[0].status_code == 200 and post(url, recording).status_code == 200


def head(url: str, length: int, kind: str = "multipart/form-data; boundary=x") -> tuple[socket.socket, bytes]:
    """A connection, and a request's head."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=SOON)
    return (
        connection,
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode(),
    )


PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


def test_a_2_gb_upload_is_refused_before_it_is_sent(serve: Any) -> None:
    url = serve()
    connection, start = head(url, 2 << 30)
    with connection:
        connection.sendall(start)
        answer = connection.recv(65536)
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 413") and b"25 MB" in answer
    health(url)


def test_an_upload_without_a_length_is_refused_on_the_way(serve: Any) -> None:
    url = serve(limits=Limits(upload_mb=1))
    sent = 0

    def endless() -> Any:
        nonlocal sent
        yield PART
        for _ in range(2000):
            sent += 1
            yield bytes(1 << 20)

    with httpx.Client(timeout=SOON) as asking:
        answer = asking.post(url + PATH, content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"})
        assert answer.status_code == 413
    assert sent < 200
    assert sample(url, "asr_requests_total", path=PATH, status="413") == 1


def test_a_client_that_stops_half_way_frees_its_place(serve: Any, recording: bytes) -> None:
    url = serve(limits=Limits(queue=1, upload_seconds=0.5))
    connection, start = head(url, 100_000)
    with connection:
        connection.sendall(start + PART + bytes(1000))
        until(lambda: post(url, recording).status_code == 429)
    until(lambda: post(url, recording).status_code == 200)
    assert sample(url, "asr_requests_total", path=PATH, status="499") == 1
    # The same, but it keeps the line.
    connection, start = head(url, 100_000)
    with connection:
        connection.sendall(start + PART + bytes(1000))
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")
    assert post(url, recording).status_code == 200


def test_a_client_that_goes_while_it_waits_frees_its_place(serve: Any, gate: Gate, recording: bytes) -> None:
    url = serve(limits=Limits(queue=2))
    answers: list[httpx.Response] = []
    first = threading.Thread(target=lambda: answers.append(post(url, recording)))
    first.start()
    until(lambda: gate.asked == 1)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url + PATH, files={"file": ("a.wav", recording)}, timeout=0.5)
    until(lambda: sample(url, "asr_requests_total", path=PATH, status="499") == 1)
    assert health(url)["waiting"] == 0
    gate.open.set()
    first.join(SOON)
    assert answers[0].status_code == 200 and gate.asked == 1


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"RIFF", "audio/wav", 415),
        (b"nothing", "multipart/form-data", 400),
        (PART + b"RIFF\xff\xff\xff\xffWAVEfmt \r\n--x--\r\n", "multipart/form-data; boundary=x", 400),
        (PART + b"ffconcat version 1.0\nfile README.md\r\n--x--\r\n", "multipart/form-data; boundary=x", 400),
    ],
)
def test_bodies_that_are_no_recording(serve: Any, content: bytes, kind: str, status: int) -> None:
    url = serve()
    answer = httpx.post(url + PATH, content=content, headers={"Content-Type": kind})
    assert answer.status_code == status and len(answer.json()["error"]["message"]) > 20
    health(url)


def test_garbage_instead_of_http(serve: Any, recording: bytes) -> None:
    url = serve()
    connection, _ = head(url, 0)
    with connection:
        connection.sendall(np.random.default_rng(0).bytes(5000))
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")
    assert post(url, recording).status_code == 200


def test_a_prompt_with_whispers_own_tokens_is_refused(serve: Any, recording: bytes) -> None:
    answer = post(serve(), recording, prompt="<|endoftext|>")
    assert answer.status_code == 400 and "Whisper's own tokens" in answer.json()["error"]["message"]


def test_no_word_name_or_key_is_logged(
    serve: Any, recording: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    url = serve(key=KEY)
    with caplog.at_level(logging.DEBUG):
        told = client(url).audio.transcriptions.create(
            file=("my secret name.wav", recording), model="tiny", prompt="my own words", language="en"
        )
        client(url).audio.transcriptions.create(
            file=("my secret name.wav", recording), model="tiny", prompt="my own words", stream=True
        )
        post(url, recording)
    logged = "".join(
        record.getMessage()
        for record in caplog.records
        if not record.name.startswith(("openai", "httpx", "httpcore"))  # the client's
    )
    told_elsewhere = capfd.readouterr()
    for secret in (told.text, "secret name", "own words", KEY):
        assert secret not in logged + told_elsewhere.out + told_elsewhere.err


def test_nothing_is_written_to_disk(serve: Any, voice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def no_file(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", no_file)
    # More than a megabyte, from which on Starlette would use the disk.
    assert post(serve(), wav(np.tile(voice(1.0), 40))).status_code == 200
    assert not list((tmp_path / "temporary").iterdir())


def test_a_batch_that_never_ends_is_unhealthy(serve: Any, gate: Gate, recording: bytes) -> None:
    url = serve(limits=Limits(stuck_seconds=0.2))
    waiting = threading.Thread(target=post, args=(url, recording))
    waiting.start()
    until(lambda: httpx.get(f"{url}/healthz").status_code == 503)
    assert json.loads(httpx.get(f"{url}/healthz").text)["status"] == "stuck"
    gate.open.set()
    waiting.join(SOON)
    until(lambda: httpx.get(f"{url}/healthz").status_code == 200)
