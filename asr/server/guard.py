"""What stands before every request: the key, the count, and an answer for what nobody foresaw."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import traceback
from contextlib import suppress
from hashlib import sha256

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr.server.measures import Measures
from asr.server.refusals import Refusal

log = logging.getLogger(__name__)

# All else counts as one path: a label for every path that somebody tries would fill the memory.
PATHS = frozenset({"/v1/audio/transcriptions", "/v1/understand", "/v1/models", "/v1/live", "/healthz", "/metrics"})
# A proxy's word for a client that went before its answer.
_GONE = 499
# How much of a body that nobody wants is read after the answer: were the connection closed at once, the client, which
# still sends, might never see the answer.
_LINGER_SECONDS, _LINGER_BYTES = 2.0, 1 << 23


class _Body:
    """A request's body as it is read."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = dict(scope["headers"])
        self._receive = receive
        self.ended = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers

    async def receive(self) -> Message:
        message = await self._receive()
        self.ended = self.ended or not message.get("more_body", False)
        return message

    async def linger(self) -> None:
        """Read on for a while and throw it away."""

        async def read() -> None:
            size = 0
            while not self.ended and size < _LINGER_BYTES:
                size += len((await self.receive()).get("body", b""))

        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(read(), _LINGER_SECONDS)


class Guard:
    """Asks for the key under ``/v1/``, counts, and turns an unforeseen error into an answer without its message.

    Args:
        app: What it stands before.
        key: The key, or None where everybody may ask.
        measures: Counted up.
    """

    def __init__(self, app: ASGIApp, key: str | None, measures: Measures) -> None:
        self.app = app
        # Of one length, whatever the key's.
        self._key = None if key is None else sha256(key.encode()).digest()
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one live session."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        status = 0
        body = _Body(scope, receive)
        receive = body.receive

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                if scope["type"] == "http" and not body.ended:
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            elif message["type"] == "websocket.accept":
                status = 101
            elif message["type"] == "http.response.body" and not message.get("more_body") and not body.ended:
                await send({**message, "more_body": True})
                await body.linger()
                message = {"type": "http.response.body"}
            await send(message)

        try:
            if scope["path"].startswith("/v1/") and not self._allowed(scope):
                refusal = Refusal(
                    401,
                    "the API key is missing or wrong; send it as the header Authorization: Bearer KEY",
                    code="invalid_api_key",
                )
                await refuse(refusal, scope, receive, counted)
            else:
                await self.app(scope, receive, counted)
        except ClientDisconnect:
            pass
        except Exception as error:
            # Its message may hold what somebody said.
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("a request failed: %s\n%s", type(error).__name__, frames)
            if not status:
                await refuse(Refusal(500, "the server has failed; its log says where"), scope, receive, counted)
        finally:
            path = scope["path"] if scope["path"] in PATHS else "other"
            self._measures.requests.labels(path, str(status or _GONE)).inc()
            if scope["type"] == "http":
                self._measures.latency.labels(path).observe(time.monotonic() - began)

    def _allowed(self, scope: Scope) -> bool:
        if self._key is None:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = given.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(sha256(key.strip()).digest(), self._key)


async def refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a refusal; a live session that was not accepted gets it as an HTTP answer."""
    await refusal.response()(scope, receive, send)
