"""Live speech over a WebSocket: see README.md in this folder for the protocol.

One task reads what comes and hears where somebody speaks; one sends the final texts in their order. What was said so
far is heard now and then, and in every short pause: if the pause turns out to be the end, that text is the final one,
and nobody has waited for it.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from asr.audio import SAMPLE_RATE, Samples
from asr.errors import AsrError
from asr.inference.speech import FRAME, SpeechOptions, SpeechProbabilities, Stretches, Turn
from asr.server.answers import verbose
from asr.server.limits import Limits
from asr.server.measures import Measures
from asr.server.queue import Queue, Wish
from asr.transcript import Transcript

# A pause of half a second ends an utterance.
SPEECH = SpeechOptions(min_silence=0.5)
_PADDING = round(SPEECH.padding * SAMPLE_RATE)
# Bytes of one message: two seconds.
MESSAGE_SIZE = 2 * 2 * SAMPLE_RATE
# Seconds by which a sender may be ahead of the clock.
_AHEAD = 10.0
# An utterance of so many seconds is cut, in the quietest place of its last seconds.
_LONGEST, _CUT_IN, _QUIET = 25.0, 5.0, 0.2
# Seconds between two partial texts at least; and twice what the last one took.
_INTERVAL = 1.0
# Of speech, before the first partial text.
_FIRST = 0.5
# Kept while nobody speaks: speech is noticed after it began.
_BEFORE = 2.0
# Utterances that wait for their text.
_WAITING = 8


class _Close(Exception):
    """The session ends: a close code and a sentence."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Ended(NamedTuple):
    """An utterance that has ended: number, begin and end in seconds, the text to come, and when its end was spoken."""

    number: int
    begin: float
    end: float
    future: Future[Transcript]
    spoken: float


class LiveSession:
    """One WebSocket, accepted, from its first message to its last.

    Args:
        websocket: The connection.
        queue: Hears.
        wish: How it is heard.
        limits: How long nobody may speak.
        measures: Counted up.
    """

    def __init__(self, websocket: WebSocket, queue: Queue, wish: Wish, limits: Limits, measures: Measures) -> None:
        self._websocket = websocket
        self._queue = queue
        self._wish = wish
        self._limits = limits
        self._measures = measures
        self._probabilities = SpeechProbabilities()
        self._stretches = Stretches(SPEECH)
        # What may still belong to an utterance, and the sample that it begins with.
        self._held = np.zeros(0, np.float32)
        self._offset = 0
        self._received = 0
        self._begin: int | None = None
        self._number = 0
        self._ended: asyncio.Queue[_Ended | None] = asyncio.Queue()
        # What was asked of the utterance that goes on: up to which sample, and its text to come.
        self._asked: dict[int, Future[Transcript]] = {}
        self._partials: set[asyncio.Task[None]] = set()
        self._next_partial = 0.0
        self._heard_speech = self._began = time.monotonic()

    async def run(self) -> None:
        """Serve the session to its end."""
        sender = asyncio.create_task(self._send_finals())
        try:
            await self._say({"type": "ready", "sample_rate": SAMPLE_RATE})
            while (samples := await self._receive(sender)) is not None and len(samples):
                await self._take(samples)
            if samples is not None:
                await self._finish(sender)
                with suppress(WebSocketDisconnect, RuntimeError):
                    await self._websocket.close(1000, "everything was heard")
        except _Close as close:
            await self._refuse(close.code, close.message)
        except AsrError as error:  # the queue is being closed
            await self._refuse(1012, str(error))
        finally:
            await self._stop(sender)

    async def _receive(self, sender: asyncio.Task[None]) -> Samples | None:
        """The samples [N] of the next message, none for the end of audio; None if the client has gone.

        Raises:
            _Close: The message is none that the protocol knows, or comes too early or too late.
        """
        idle = self._limits.live_idle_seconds
        left = self._heard_speech + idle - time.monotonic()
        try:
            message = await asyncio.wait_for(self._websocket.receive(), max(0.0, left))
        except asyncio.TimeoutError:
            raise _Close(1008, f"nobody has spoken for {idle:g} s; connect again when somebody does") from None
        if message["type"] == "websocket.disconnect":
            return None
        if sender.done():  # it ends before the last utterance only by an error
            sender.result()
        data = message.get("bytes")
        if data is None:
            raise _Close(1003, "only binary messages are understood: 16-bit PCM, mono, 16 kHz; an empty one ends")
        if len(data) > MESSAGE_SIZE:
            raise _Close(1009, f"a message has {len(data)} bytes; at most {MESSAGE_SIZE} are taken (2 s)")
        if len(data) % 2:
            raise _Close(1007, f"a message has {len(data)} bytes, which are no whole 16-bit samples")
        self._received += len(data) // 2
        if self._received / SAMPLE_RATE > time.monotonic() - self._began + _AHEAD:
            raise _Close(
                1008,
                f"audio comes more than {_AHEAD:g} s faster than it is spoken; send recordings to "
                "/v1/audio/transcriptions",
            )
        return np.frombuffer(data, "<i2").astype(np.float32) * np.float32(2**-15)

    async def _take(self, samples: Samples) -> None:
        """Hear who speaks, and do what follows from it."""
        chances = await asyncio.to_thread(self._probabilities.hear, samples)
        self._held = np.concatenate((self._held, samples))
        for chance in chances:
            self._follow(self._stretches.step(float(chance)))
        if self._begin is None:
            self._forget(self._received - round(_BEFORE * SAMPLE_RATE))
            return
        self._heard_speech = time.monotonic()
        if self._received - self._begin > _LONGEST * SAMPLE_RATE:
            cut = self._quietest()
            self._end(cut)
            self._begin = cut
        self._hear_so_far(self._begin)

    def _follow(self, turn: Turn | None) -> None:
        """Begin or end an utterance."""
        if turn is None:
            return
        if turn.begins:
            self._begin = max(turn.frame * FRAME - _PADDING, self._offset)
        elif self._begin is not None:
            self._end(min(turn.frame * FRAME + _PADDING, self._received))
            self._begin = None

    def _end(self, end: int) -> None:
        """Have the utterance that goes on heard up to a sample."""
        assert self._begin is not None
        if end <= self._begin:  # all of it was heard before the last cut
            return
        if self._ended.qsize() >= _WAITING:
            raise _Close(1013, f"{_WAITING} utterances wait for their text: the server is too busy; connect later")
        future = self._asked.pop(end, None) or self._ask(self._begin, end)
        # The end of speech itself, without the padding, by the clock of what has come.
        spoken = time.monotonic() - (self._received - end + _PADDING) / SAMPLE_RATE
        self._ended.put_nowait(_Ended(self._number, self._begin / SAMPLE_RATE, end / SAMPLE_RATE, future, spoken))
        self._give_up()
        self._number += 1
        self._forget(end)

    def _ask(self, begin: int, end: int) -> Future[Transcript]:
        samples = self._held[begin - self._offset : end - self._offset].copy()
        return self._queue.submit(samples, self._wish, live=True)

    def _give_up(self) -> None:
        """Let go of what was asked and is not needed any more."""
        for future in self._asked.values():
            future.cancel()
        self._asked.clear()

    def _forget(self, place: int) -> None:
        """Drop the samples before a place."""
        needless = min(max(0, place - self._offset), len(self._held))
        self._held, self._offset = self._held[needless:], self._offset + needless

    def _quietest(self) -> int:
        """The sample in the middle of the quietest moment of the last seconds."""
        size = round(_QUIET * SAMPLE_RATE)
        first = self._received - round(_CUT_IN * SAMPLE_RATE)
        power = self._held[first - self._offset :].astype(np.float64) ** 2
        sums = np.concatenate(([0.0], np.cumsum(power)))
        return first + int(np.argmin(sums[size:] - sums[:-size])) + size // 2

    def _hear_so_far(self, begin: int) -> None:
        """Ask for the text so far in a short pause, which may be the end, or if it is time."""
        now = time.monotonic()
        pause = (self._stretches.frame - self._stretches.end) * FRAME
        if pause >= _PADDING:
            end = self._stretches.end * FRAME + _PADDING
            if end in self._asked or end <= begin:
                return
            self._give_up()  # of less
        else:
            end = self._received
            busy = self._partials or self._ended.qsize()
            if busy or now < self._next_partial or end - begin < _FIRST * SAMPLE_RATE:
                return
        self._asked[end] = self._ask(begin, end)
        place = {"utterance": self._number, "start": begin / SAMPLE_RATE, "end": end / SAMPLE_RATE}
        task = asyncio.create_task(self._send_partial(place, self._asked[end], now))
        self._partials.add(task)
        task.add_done_callback(self._partials.discard)

    async def _send_partial(self, place: dict[str, Any], asked: Future[Transcript], began: float) -> None:
        """Send a text, unless its utterance has ended: then its final text is on the way."""
        await asyncio.wait({heard := asyncio.wrap_future(asked)})
        now = time.monotonic()
        self._next_partial = now + max(_INTERVAL, 2 * (now - began))
        # What went wrong is said with the final text.
        if not heard.cancelled() and heard.exception() is None and place["utterance"] == self._number:
            await self._say({"type": "partial", **place, "text": heard.result().text})

    async def _send_finals(self) -> None:
        """Send the text of every utterance that has ended, until there is none to come."""
        while (ended := await self._ended.get()) is not None:
            place = {"utterance": ended.number, "start": ended.begin, "end": ended.end}
            try:
                transcript = await asyncio.wrap_future(ended.future)
            except AsrError as error:
                await self._say({"type": "failed", **place, "message": str(error)})
                continue
            except RuntimeError:
                await self._say({"type": "failed", **place, "message": "the server has failed; its log says where"})
                continue
            await self._say({"type": "final", **place, **_told(transcript)})
            self._measures.live_latency.observe(max(0.0, time.monotonic() - ended.spoken))

    async def _finish(self, sender: asyncio.Task[None]) -> None:
        """Hear what is left at the end of audio, and wait for all texts."""
        for chance in await asyncio.to_thread(self._probabilities.finish):
            self._follow(self._stretches.step(float(chance)))
        self._follow(self._stretches.finish())
        self._ended.put_nowait(None)
        await sender

    async def _stop(self, sender: asyncio.Task[None]) -> None:
        """Give up what is not sent."""
        self._give_up()
        tasks = [sender, *self._partials]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while not self._ended.empty():
            if (ended := self._ended.get_nowait()) is not None:
                ended.future.cancel()

    async def _refuse(self, code: int, message: str) -> None:
        """End the session with a sentence."""
        await self._say({"type": "error", "code": code, "message": message})
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.close(code, message[:120])

    async def _say(self, message: dict[str, Any]) -> None:
        # Of a client that has gone, or was told to, the reader knows.
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.send_json(message)


def _told(transcript: Transcript) -> dict[str, Any]:
    """A transcript's keys beside the place, which is the session's and not the utterance's."""
    told = verbose(transcript, bool(transcript.words))
    for key in ("task", "usage", "segments"):
        del told[key]
    return told
