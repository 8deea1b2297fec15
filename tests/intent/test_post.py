"""What each answer of a receiver means, from a receiver on loopback that gives it."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from asr.errors import ConfigError, DeliveryError, MissingExtraError
from asr.intent.dispatch import Busy, Refused
from asr.intent.post import Post

EVENT = {"id": "e1", "text": "secret é \ud800"}


def answering(status: int, headers: dict[str, str] | None = None, body: bytes = b"secret") -> Callable[..., None]:
    def answer(receiver: Any, handler: Any, key: str, event: dict[str, Any]) -> None:
        receiver.take(key, event)
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def outcome(url: str, timeout: float = 5.0) -> Exception | None:
    post = Post(url, timeout=timeout)
    try:
        post(EVENT, "e1")
    except DeliveryError as error:
        return error
    except (Refused, Busy) as error:
        return error
    finally:
        post.close()
    return None


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_what_is_taken(receivers: Any, status: int) -> None:
    receiver = receivers(answering(status, body=b"" if status == 204 else b"\xff no JSON"))
    assert outcome(receiver.url) is None
    assert receiver.taken == [("e1", EVENT)]
    headers = receiver.asked[0][2]
    assert headers["Content-Type"] == "application/json; charset=utf-8" and "Authorization" not in headers


def test_a_form_says_what_is_sent(receivers: Any) -> None:
    receiver = receivers(answering(204, body=b""))
    post = Post(
        receiver.url, form=lambda event: SimpleNamespace(body=b'{"as": "asked"}', headers={"X-Sent": event["id"]})
    )
    post(EVENT, "e1")
    post.close()
    assert receiver.taken == [("e1", {"as": "asked"})] and receiver.asked[0][2]["X-Sent"] == "e1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 400, 413, 415, 422])
def test_what_will_never_do(receivers: Any, status: int) -> None:
    receiver = receivers(answering(status, {"Location": "/elsewhere"}))
    error = outcome(receiver.url)
    assert isinstance(error, Refused) and str(status) in str(error) and "secret" not in str(error)
    assert ("redirect" in str(error)) == (status < 400)
    # Nobody went elsewhere.
    assert [path for _, path, _ in receiver.asked] == ["/events"]


@pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 425, 500, 502, 503, 504])
def test_what_may_do_later(receivers: Any, status: int) -> None:
    error = outcome(receivers(answering(status)).url)
    assert type(error) is DeliveryError and str(error) == f"the receiver answered {status}"


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (429, "7", 7),
        (503, " 0 ", 0),
        (429, "in a date", 1000),
        (429, "Wed, 21 Oct 2015 07:28:00 GMT", 0),
        (429, "soon", None),
        (429, "-3", None),
        (429, None, None),
    ],
)
def test_what_is_busy(receivers: Any, status: int, value: str | None, seconds: float | None) -> None:
    if value == "in a date":
        value = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=1000), usegmt=True)
    error = outcome(receivers(answering(status, {} if value is None else {"Retry-After": value})).url)
    assert isinstance(error, Busy)
    assert error.seconds == (None if seconds is None else pytest.approx(seconds, abs=5))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\xff\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 999999 ?\r\n\r\n",
        b"220 smtp ready\r\n",
    ],
)
def test_garbage_and_what_breaks_off(receivers: Any, raw: bytes) -> None:
    def answer(receiver: Any, handler: Any, key: str, event: dict[str, Any]) -> None:
        handler.wfile.write(raw)
        handler.close_connection = True

    assert type(outcome(receivers(answer).url)) is DeliveryError


def test_a_body_that_is_no_gzip_is_not_read(receivers: Any) -> None:
    assert outcome(receivers(answering(200, {"Content-Encoding": "gzip"}, b"no gzip")).url) is None


def test_a_body_without_end_is_not_read_to_its_end(receivers: Any) -> None:
    def answer(receiver: Any, handler: Any, key: str, event: dict[str, Any]) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(b"x" * 1024)

    assert outcome(receivers(answer).url) is None


def test_a_receiver_that_never_answers(receivers: Any) -> None:
    receiver = receivers(lambda *_: time.sleep(5))
    began = time.monotonic()
    error = outcome(receiver.url, timeout=0.2)
    assert type(error) is DeliveryError and "did not answer within 0.2 s" in str(error)
    assert time.monotonic() - began < 4


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = outcome(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert type(error) is DeliveryError and "cannot be reached" in str(error)


def test_user_and_password_go_as_a_header_and_into_no_log(receivers: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    receiver = receivers(answering(200))
    assert outcome(receiver.url.replace("http://", "http://user:hidden@")) is None
    assert receiver.asked[0][2]["Authorization"] == "Basic dXNlcjpoaWRkZW4="
    assert "hidden" not in caplog.text and "secret" not in caplog.text


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_nobody_vouches_for_is_not_accepted(tmp_path: Path, monkeypatch: Any) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    requests: list[bytes] = []

    def serve() -> None:
        for _ in range(2):
            connection = server.accept()[0]
            connection.settimeout(5)
            try:
                with context.wrap_socket(connection, server_side=True) as secured:
                    requests.append(b"")
                    while not requests[-1].endswith(b"}"):
                        requests[-1] += secured.recv(1 << 16)
                    secured.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            except OSError:
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"https://localhost:{server.getsockname()[1]}/"
        error = outcome(url)
        assert type(error) is DeliveryError and "certificate" in str(error) and not any(requests)
        # The same one, vouched for.
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert outcome(url) is None
        thread.join(10)


@pytest.mark.parametrize("url", ["", "events", "ftp://host/", "https://", "https://[::1", "https://h:99999999/"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigError, match="the receiver is given as a URL"):
        Post(url)


def test_plain_http_to_others_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for url in ("https://intents.example/", "http://localhost:1/", "http://127.0.0.1:1/", "http://[::1]:1/"):
        Post(url).close()
    assert caplog.text == ""
    Post("http://intents.example/").close()
    assert "in the clear" in caplog.text


def test_without_httpx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtraError, match=r"dialect-asr\[intent\]"):
        Post("https://intents.example/")
