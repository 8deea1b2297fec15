"""Who may ask, what is counted, and what becomes of an error that nobody foresaw."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from asr.server.guard import Guard
from asr.server.measures import Measures

KEY = "0123456789abcdef"


async def fine(_: Request) -> PlainTextResponse:
    return PlainTextResponse("fine")


async def broken(request: Request) -> PlainTextResponse:
    raise ValueError(request.headers["said"])


async def gone(_: Request) -> PlainTextResponse:
    raise ClientDisconnect


def client(key: str | None, measures: Measures) -> httpx.AsyncClient:
    routes = [Route("/v1/models", fine), Route("/v1/understand", broken), Route("/healthz", fine), Route("/x", gone)]
    app = Starlette(routes=routes, middleware=[Middleware(Guard, key=key, measures=measures)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


async def get(path: str, key: str | None = KEY, measures: Measures | None = None, **headers: Any) -> httpx.Response:
    async with client(key, measures or Measures()) as asking:
        return await asking.get(path, headers=headers)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "header", [None, "", KEY, "Bearer", "Bearer ", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", "Bearer é"]
)
async def test_a_wrong_key(header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answer = await get("/v1/models", **headers)
    assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.anyio
@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer  {KEY} "])
async def test_the_right_key(header: str) -> None:
    assert (await get("/v1/models", Authorization=header)).text == "fine"


@pytest.mark.anyio
async def test_without_a_key_all_may_ask_and_health_is_for_all() -> None:
    assert (await get("/v1/models", key=None)).text == "fine"
    assert (await get("/healthz")).text == "fine"


def test_a_websocket_without_the_key_is_refused() -> None:
    app = Guard(Starlette(), KEY, Measures())
    with pytest.raises(Exception) as refused, TestClient(app).websocket_connect("/v1/live"):
        pass
    assert getattr(refused.value, "status_code", None) == 401


@pytest.mark.anyio
async def test_an_unforeseen_error_is_answered_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    measures = Measures()
    with caplog.at_level(logging.DEBUG, logger="asr"):
        answer = await get("/v1/understand", key=None, measures=measures, said="my words")
    assert answer.status_code == 500 and answer.json()["error"]["type"] == "server_error"
    assert "ValueError" in caplog.text and "words" not in caplog.text + answer.text
    count = {"path": "/v1/understand", "status": "500"}
    assert measures.registry.get_sample_value("asr_requests_total", count) == 1


@pytest.mark.anyio
async def test_paths_that_are_not_there_count_as_one() -> None:
    measures = Measures()
    for number in range(5):
        await get(f"/try/{number}", measures=measures)
    count = {"path": "other", "status": "404"}
    assert measures.registry.get_sample_value("asr_requests_total", count) == 5
