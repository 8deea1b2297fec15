"""A tiny made-up set of intents and the model that learns from it; receivers of events on loopback."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from asr.intent.model import IntentModel
from asr.intent.training import Example, IntentOptions, train_intent_model

TEXTS = {
    "weather": (
        "will it rain tomorrow?",
        "what is the weather like?",
        "is it cold outside?",
        "how hot will it be today?",
        "do i need an umbrella?",
    ),
    "light_on": (
        "turn on the light.",
        "switch the lamp on.",
        "lights on please.",
        "make it brighter in here.",
        "turn the kitchen lamp on.",
    ),
    "music": (
        "play some jazz.",
        "put on a song by abba.",
        "i want to hear music.",
        "play the next track.",
        "start my rock playlist.",
    ),
    "nothing": (
        "who won the war?",
        "seven times nine.",
        "my cousin lives in rome.",
        "paint dries slowly.",
        "why do cats purr?",
    ),
}
OPTIONS = IntentOptions(outside="nothing", buckets=64)


@pytest.fixture(scope="session")
def made_up() -> list[Example]:
    return [Example(text, intent, "en") for intent, texts in TEXTS.items() for text in texts]


@pytest.fixture(scope="session")
def tiny(made_up: list[Example]) -> IntentModel:
    return train_intent_model(made_up, OPTIONS)


class Receiver:
    """A receiver on loopback that does to each request what ``answer`` says, and keeps every event that it took.

    Attributes:
        url: Where it listens.
        taken: Key and event of whatever it kept, doubles included, in the order of arrival.
        asked: When it was asked for something, and for what.
    """

    def __init__(self, answer: Callable[[Receiver, BaseHTTPRequestHandler, str, dict[str, Any]], None]) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[tuple[float, str, Message]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Two packets for an answer would wait for each other.
            wbufsize = -1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.asked.append((time.time(), self.path, self.headers))
                with suppress(OSError):
                    answer(receiver, self, self.headers["Idempotency-Key"], json.loads(body))

            def do_GET(self) -> None:
                receiver.asked.append((time.time(), self.path, self.headers))
                say(self, 200)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/events"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def take(self, key: str, event: dict[str, Any]) -> None:
        self.taken.append((key, event))

    @property
    def once(self) -> list[dict[str, Any]]:
        """What a receiver that honours the key has, in the order of arrival."""
        return list(dict(reversed(self.taken)).values())[::-1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def say(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()


def misbehave(seed: int, hang: float, patience: int = 4) -> Callable[..., None]:
    """An answer that goes wrong in every way there is, but not more than a few times for one event."""
    chance, failures, lock = random.Random(seed), Counter[str](), threading.Lock()
    # "lost": it has the event, and the answer does not arrive.
    ways = ("ok", "ok", "ok", "500", "503", "429", "garbage", "closed", "cut", "lost", "lost and hangs", "hangs")

    def answer(receiver: Receiver, handler: BaseHTTPRequestHandler, key: str, event: dict[str, Any]) -> None:
        with lock:
            way = chance.choices(ways, [8, 8, 8, 4, 4, 2, 4, 4, 4, 4, 1, 1])[0]
            failures[key] += way != "ok"
            way = "ok" if failures[key] > patience else way
        if way in ("ok", "cut", "lost", "lost and hangs"):
            receiver.take(key, event)
        if way == "ok":
            return say(handler, 200, body=b'{"thanks": true}')
        if way in ("500", "503"):
            return say(handler, int(way), body=b"<html>")
        if way == "429":
            return say(handler, 429, {"Retry-After": "0"})
        handler.close_connection = True
        if way == "garbage":
            handler.wfile.write(b"\x00\xff garbage \r\n\r\n")
        if way == "cut":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
        if "hangs" in way:
            time.sleep(hang)
        return None

    return answer


@pytest.fixture
def receivers() -> Iterator[Callable[..., Receiver]]:
    """Makes receivers, and closes them."""
    made: list[Receiver] = []

    def make(answer: Callable[..., None]) -> Receiver:
        made.append(Receiver(answer))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def flaky(receivers: Callable[..., Receiver]) -> Receiver:
    """A receiver that goes wrong in every way there is; whoever waits for 0.3 s has waited long enough."""
    return receivers(misbehave(seed=7, hang=0.6))
