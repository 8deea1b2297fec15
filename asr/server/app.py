"""The routes: OpenAI's transcriptions, what is asked for, live speech, and how the server is."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from asr.audio import BLOCK_SECONDS, SAMPLE_RATE, Samples, probe, stream_audio
from asr.errors import AsrError, AudioError, ConfigError
from asr.inference.speech import SpeechOptions
from asr.inference.transcriber import Transcriber
from asr.inference.understanding import understand
from asr.inference.windows import windows
from asr.intent.model import IntentModel
from asr.model.features import MAX_SAMPLES
from asr.server.answers import answer, event
from asr.server.asked import Asked, read_fields
from asr.server.guard import Guard
from asr.server.hearing import Hearing
from asr.server.limits import Limits
from asr.server.live import LiveSession
from asr.server.measures import Measures
from asr.server.queue import Queue, Wish
from asr.server.refusals import Refusal, busy
from asr.server.room import Place, Room
from asr.server.upload import read_form
from asr.transcript import Transcript

Result = TypeVar("Result")
# Where a part of a recording begins, in seconds, and what was heard in it.
Part = tuple[float, Transcript]

# Threads that decode recordings and ask the intent model.
_THREADS = 2
# Windows of one recording that wait to be heard: they can share a batch, and do not fill the queue.
_AHEAD = 4
_SENTENCES = {
    404: "there is nothing under this path; see /openapi.json",
    405: "this path takes another method; see /openapi.json",
}
# What `read_form` reads, for /openapi.json.
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "model": {"type": "string"},
                        "language": {"type": "string", "description": "Whisper's code, such as fr; else detected."},
                        "dialect": {"type": "string", "description": "BCP 47 tag, such as fr-CA."},
                        "prompt": {"type": "string"},
                        "response_format": {"enum": ["json", "verbose_json", "text", "srt", "vtt"]},
                        "temperature": {"type": "number", "description": "Changes nothing: nothing is random."},
                        "timestamp_granularities[]": {"type": "array", "items": {"enum": ["word", "segment"]}},
                        "stream": {"type": "boolean"},
                    },
                }
            }
        },
    }
}


class Server:
    """What the routes share.

    Args:
        transcriber: The model.
        name: What it is called in requests.
        limits: What is refused.
        intent_model: Tells what is asked for; None where that is not served.
    """

    def __init__(self, transcriber: Transcriber, name: str, limits: Limits, intent_model: IntentModel | None) -> None:
        self.name = name
        self.limits = limits
        self.measures = Measures()
        self.created = int(time.time())
        self._intent_model = intent_model
        self._hearing = Hearing(transcriber)
        self._room = Room(limits)
        self._queue: Queue
        self._threads: ThreadPoolExecutor
        self._live = 0

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncGenerator[None, None]:
        """Have threads while the app runs; at its end, what is in work is finished."""
        self._queue = Queue(self._hearing, self._hearing.window, self.limits.batch_seconds, self.measures)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="decode")
        try:
            yield
        finally:
            await asyncio.to_thread(self._queue.close)
            self._threads.shutdown()

    async def transcriptions(self, request: Request) -> Response:
        """Transcribe one recording, as OpenAI's API does."""
        with ExitStack() as stack:
            place = stack.enter_context(self._room.enter())
            asked, samples = await self._read(request, place)
            parts = self._parts(request, samples, asked.wish)
            if asked.stream:
                # What is wrong with the whole shows before the answer begins.
                first = await anext(parts, None)
                return _Events(self._events(parts, first), stack.pop_all())
            transcript = self._whole(samples, asked.wish, [part async for part in parts])
            body, kind = answer(transcript, asked.form, asked.wish.words, asked.segments)
            return Response(body, media_type=kind)

    async def understand(self, request: Request) -> Response:
        """Transcribe one recording, and tell what it asks for."""
        intent_model = self._intent_model
        if intent_model is None:
            raise Refusal(501, "this server tells no intents; start it with --intent-model")
        with self._room.enter() as place:
            asked, samples = await self._read(request, place)
            parts = [part async for part in self._parts(request, samples, asked.wish)]
            transcript = self._whole(samples, asked.wish, parts)
            told = self._threads.submit(lambda: understand(transcript, intent_model).to_dict())
            return JSONResponse(await _unless_gone(request, told))

    async def models(self) -> dict[str, Any]:
        """The one model."""
        return {"object": "list", "data": [self._model()]}

    async def model(self, name: str) -> dict[str, Any]:
        """The one model, by its name."""
        if name != self.name:
            raise Refusal(404, f"there is no such model; there is {self.name!r}", code="model_not_found")
        return self._model()

    def _model(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "dialect-asr"}

    async def live(self, websocket: WebSocket) -> None:
        """Hear live speech."""
        try:
            if self._live >= self.limits.live:
                raise busy(f"{self._live} live sessions are open, and no more are taken", retry_after=10)
            given = websocket.query_params
            wish = Wish(
                given.get("language") or None, given.get("dialect") or None, None, given.get("words") == "true", True
            )
            try:
                self._hearing.check(wish)
            except ConfigError as error:
                raise Refusal(400, str(error)) from None
        except Refusal as refusal:
            await websocket.send_denial_response(refusal.response())
            return
        self._live += 1
        self.measures.live.set(self._live)
        try:
            await websocket.accept()
            await LiveSession(websocket, self._queue, wish, self.limits, self.measures).run()
        finally:
            self._live -= 1
            self.measures.live.set(self._live)

    async def health(self) -> JSONResponse:
        """Whether recordings are heard."""
        if reason := self._queue.stuck(self.limits.stuck_seconds):
            return JSONResponse({"status": "stuck", "reason": reason}, 503)
        return JSONResponse({"status": "ok", "model": self.name, "waiting": len(self._queue)})

    async def metrics(self) -> Response:
        """Counters for Prometheus."""
        return Response(self.measures.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _read(self, request: Request, place: Place) -> tuple[Asked, Samples]:
        """Read a request, and decode its recording to samples [N].

        Raises:
            Refusal: It cannot be served.
            ClientDisconnect: The client has gone.
        """
        form = await read_form(request, self.limits, place)
        asked = read_fields(form, self.name)
        self._hearing.check(asked.wish)
        samples = await self._decoded(request, form.recording, place)
        del form
        place.hold(samples.nbytes)
        return asked, samples

    async def _parts(self, request: Request, samples: Samples, wish: Wish) -> AsyncGenerator[Part, None]:
        """Hear a recording, a long one window by window, so that others are heard between them.

        Raises:
            AsrError: It cannot be heard.
            ClientDisconnect: The client has gone.
        """
        if len(samples) <= MAX_SAMPLES:
            yield 0.0, await _unless_gone(request, self._queue.submit(samples, wish))
            return
        size = round(BLOCK_SECONDS * SAMPLE_RATE)
        blocks = (samples[first : first + size] for first in range(0, len(samples), size))
        cut = windows(blocks, self._hearing.windows, SpeechOptions())
        waiting: deque[tuple[float, Future[Transcript]]] = deque()
        more = True
        try:
            while True:
                # The first window alone, if it must tell the language of the others.
                while more and len(waiting) < (_AHEAD if wish.language else 1):
                    window = await _unless_gone(request, self._threads.submit(next, cut, None))
                    more = window is not None
                    if window is not None:
                        waiting.append((window.start, self._queue.submit(window.samples, wish)))
                if not waiting:
                    return
                start, future = waiting.popleft()
                transcript = await _unless_gone(request, future)
                if transcript.language:
                    wish = replace(wish, language=wish.language or transcript.language)
                yield start, transcript
        finally:
            for _, future in waiting:
                future.cancel()

    def _whole(self, samples: Samples, wish: Wish, parts: list[Part]) -> Transcript:
        """The transcript of a recording of samples [N] from that of its parts."""
        if len(samples) <= MAX_SAMPLES:
            return parts[0][1]
        return self._hearing.joined(wish, len(samples) / SAMPLE_RATE, parts)

    async def _events(self, parts: AsyncGenerator[Part, None], first: Part | None) -> AsyncGenerator[str, None]:
        """OpenAI's events: a delta for each segment, and the whole."""
        told: list[str] = []

        def deltas(part: Part) -> str:
            texts = [segment.text for segment in part[1].segments]
            events = [
                event({"type": "transcript.text.delta", "delta": f" {text}" if told or number else text})
                for number, text in enumerate(texts)
            ]
            told.extend(texts)
            return "".join(events)

        try:
            if first is not None:
                yield deltas(first)
            async for part in parts:
                yield deltas(part)
        except (AsrError, RuntimeError) as error:
            message = str(error) if isinstance(error, AsrError) else "the server has failed; its log says where"
            yield event(Refusal(500, message).to_dict())
            return
        yield event({"type": "transcript.text.done", "text": " ".join(told)})

    async def _decoded(self, request: Request, recording: bytes, place: Place) -> Samples:
        """The samples [N] of a recording that is not too long, by its header and in truth."""
        seconds = (await _unless_gone(request, self._threads.submit(probe, recording))).duration
        most = self.limits.audio_seconds
        if seconds > most:
            raise _too_long(f"{seconds:.1f} s", most)
        place.hold(len(recording) + round(4 * SAMPLE_RATE * seconds))
        return await _unless_gone(request, self._threads.submit(_load, recording, most))


class _Events(StreamingResponse):
    """An answer in events; however it ends, what the request held is given back."""

    def __init__(self, events: AsyncGenerator[str, None], held: ExitStack) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


def _load(recording: bytes, most: float) -> Samples:
    """All samples [N] of a recording, of which a header may promise less than there is."""
    buffer = bytearray()
    for block in stream_audio(recording):
        buffer += block.tobytes()
        if len(buffer) > 4 * round(SAMPLE_RATE * most):
            raise _too_long("longer than its header says", most)
    return np.frombuffer(buffer, np.float32)


def _too_long(found: str, most: float) -> Refusal:
    return Refusal(413, f"the recording lasts {found}; at most {most:g} s are taken: cut it", param="file")


def create_app(
    transcriber: Transcriber,
    name: str,
    *,
    limits: Limits | None = None,
    key: str | None = None,
    intent_model: IntentModel | None = None,
) -> FastAPI:
    """Make the ASGI app.

    Args:
        transcriber: The model.
        name: What it is called in requests.
        limits: What is refused.
        key: What a client must send as its bearer token; None lets everybody in.
        intent_model: For ``/v1/understand``.
    """
    server = Server(transcriber, name, limits or Limits(), intent_model)
    app = FastAPI(
        title="dialect-asr",
        # Its pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        lifespan=server.running,
        middleware=[Middleware(Guard, key=key, measures=server.measures)],
        exception_handlers={Refusal: _refused, AsrError: _failed, HTTPException: _not_found},
    )
    app.post("/v1/audio/transcriptions", openapi_extra=_FORM, response_class=Response)(server.transcriptions)
    app.post("/v1/understand", openapi_extra=_FORM, response_class=Response)(server.understand)
    app.get("/v1/models")(server.models)
    app.get("/v1/models/{name}")(server.model)
    app.websocket("/v1/live")(server.live)
    app.get("/healthz", response_class=JSONResponse)(server.health)
    app.get("/metrics", response_class=Response)(server.metrics)
    return app


async def _unless_gone(request: Request, future: Future[Result]) -> Result:
    """Wait for a result; it is given up when the client goes.

    Raises:
        ClientDisconnect: It has gone.
    """
    answered = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(request.receive())  # after the body, there is nothing else to come
    either: set[asyncio.Future[Any]] = {answered, gone}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise ClientDisconnect
        return answered.result()
    finally:
        answered.cancel()
        gone.cancel()


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response()


async def _failed(_: Request, error: Exception) -> Response:
    """What the recording or a field is to blame for, and what the machine."""
    status = 400 if isinstance(error, AudioError | ConfigError) else 503
    return Refusal(status, str(error), param="file" if isinstance(error, AudioError) else None).response()


async def _not_found(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Refusal(error.status_code, _SENTENCES.get(error.status_code, str(error.detail))).response()
