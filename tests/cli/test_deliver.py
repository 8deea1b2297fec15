"""`asr deliver` as it is typed, against a receiver on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from asr.cli import app
from asr.intent.dispatch import Dispatcher
from asr.intent.event import UtteranceEvent
from asr.privacy.record import open_record


class Receiver(ThreadingHTTPServer):
    """Takes everything but the events whose ids it refuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.taken: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.refused: set[str] = set()
        self.signed = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.tokens.add(self.headers["Authorization"])
        assert self.headers["Idempotency-Key"] == self.headers["webhook-id"] == event["id"]
        self.server.signed += "webhook-signature" in self.headers
        refused = event["id"] in self.server.refused
        if not refused:
            self.server.taken.append(event)
        self.send_response(422 if refused else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield server
        server.shutdown()


EVENTS = [
    UtteranceEvent(
        id=f"e{n}", conversation="c", time=datetime(2026, 5, 1, tzinfo=timezone.utc), text="Secret!", text_bare="secret"
    ).to_dict()
    for n in range(5)
]


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    return path


def run(events: Path, url: str, *more: str) -> tuple[int, str, str]:
    arguments = ["deliver", str(events), "--to", url, "--outbox", str(events.with_name("outbox.db")), *more]
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_events_are_delivered_once_however_often_it_runs(
    events: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR_RECEIVER_TOKEN", "t0ken")
    monkeypatch.setenv("ASR_RECEIVER_SECRET", "whsec_c2VjcmV0")
    code, out, _ = run(events, receiver.url)
    assert (code, out) == (0, "5 delivered, 0 tries failed, 0 dead letters, 0 waiting\n")
    code, out, _ = run(events, receiver.url)
    assert (code, out) == (0, "0 delivered, 5 delivered before, 0 tries failed, 0 dead letters, 0 waiting\n")
    assert receiver.taken == EVENTS and receiver.tokens == {"Bearer t0ken"} and receiver.signed == 5
    entries = [entry for entry in open_record().entries() if "events" in entry.details]
    assert [(entry.action, entry.details["events"]) for entry in entries] == [("export", 5), ("export", 0)]


def test_what_cannot_be_delivered_is_told_and_the_rest_goes_on(events: Path, receiver: Receiver) -> None:
    lines = events.read_text().splitlines()
    events.write_text(
        "\n".join([lines[0], "{broken", '{"text": "secret"}', lines[0].replace("Secret!", "Secret?"), *lines[1:]])
        + "\n"
    )
    receiver.refused = {"e2"}
    code, out, err = run(events, receiver.url)
    assert (code, out) == (1, "4 delivered, 0 tries failed, 1 dead letters, 0 waiting, 3 lines left out\n")
    for line in (2, 3, 4):
        assert f"events.jsonl:{line})" in err
    assert "outbox.db.dead.jsonl" in err and "secret" not in (out + err).lower()
    assert [event["id"] for event in receiver.taken] == ["e0", "e1", "e3", "e4"]
    # The receiver has learnt: running it again delivers what it did not take.
    receiver.refused = set()
    assert run(events, receiver.url)[1].startswith("1 delivered, 4 delivered before,")


def test_failures_are_sentences(
    events: Path, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run(tmp_path / "none.jsonl", receiver.url)
    assert code == 1 and "there is no such manifest" in err
    code, _, err = run(events, "nowhere")
    assert code == 1 and "a URL such as" in err
    monkeypatch.setenv("ASR_RECEIVER_SECRET", "whsec_?")
    code, _, err = run(events, receiver.url)
    assert code == 1 and "a webhook's secret is written" in err
    monkeypatch.delenv("ASR_RECEIVER_SECRET")
    code, _, err = run(events, receiver.url, "--tries", "0")
    assert code == 2
    with Dispatcher(tmp_path / "outbox.db", print) as other, other.outbox.sole_use():
        code, _, err = run(events, receiver.url)
    assert code == 1 and "another dispatcher" in err
    (tmp_path / "outbox.db").write_bytes(b"no outbox" * 1000)
    code, _, err = run(events, receiver.url)
    assert code == 1 and "is damaged or no outbox" in err and "Traceback" not in err
    assert receiver.taken == []


def test_an_interruption_ends_with_130(events: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("asr.intent.dispatch.Dispatcher.run", interrupted)
    assert run(events, receiver.url)[0] == 130


def test_what_understanding_writes_beside_an_event_stays_here(events: Path, receiver: Receiver) -> None:
    lines = [event | {"intent": {"name": "travel"}, "needs": {"need": None}} for event in EVENTS]
    events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, _ = run(events, receiver.url)
    assert code == 0 and out.startswith("5 delivered")
    assert sorted(event["id"] for event in receiver.taken) == [event["id"] for event in EVENTS]
    assert all(event == EVENTS[int(event["id"][1:])] for event in receiver.taken)
