"""The file of events: one a line, on the disk, and no crash spoils another's line."""

import json
import os
import time
from pathlib import Path
from threading import Thread

import pytest

from asr.errors import AsrError
from asr.intent.adapters.jsonl import JsonLines
from asr.intent.event import UtteranceEvent, read_event
from asr.jsonlines import read_objects


def test_events_come_back(tmp_path: Path, said: UtteranceEvent, awkward: UtteranceEvent) -> None:
    path = tmp_path / "new" / "events.jsonl"
    for event in (said, awkward):
        with JsonLines(path) as sink:
            sink(event.to_dict(), event.id)
    assert path.stat().st_mode & 0o077 == 0
    lines = path.read_text("utf-8").splitlines()
    assert [read_event(json.loads(line)) for line in lines] == [said, awkward]


def test_each_is_on_the_disk_when_the_call_returns(
    tmp_path: Path, said: UtteranceEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: sizes.append(os.fstat(file).st_size))
    with JsonLines(path) as sink:
        for _ in range(3):
            sink(said.to_dict(), said.id)
            assert sizes[-1] == path.stat().st_size
    assert len(set(sizes)) == 3


def test_a_line_that_was_cut_short_spoils_no_other(tmp_path: Path, said: UtteranceEvent) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"version": 1, "id"')
    with JsonLines(path) as sink:
        sink(said.to_dict(), said.id)
    broken, whole = (row for _, row in read_objects(path))
    assert isinstance(broken, AsrError) and isinstance(whole, dict) and whole["id"] == said.id


def test_several_threads_share_one_sink(tmp_path: Path, said: UtteranceEvent, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "events.jsonl", os.write

    def slow(file: int, data: bytes) -> int:
        count = real(file, data[: len(data) // 2 + 1])
        time.sleep(0.001)
        return count

    monkeypatch.setattr(os, "write", slow)
    with JsonLines(path) as sink:
        threads = [
            Thread(target=lambda: [sink(said.to_dict(), said.id) for _ in range(20)])  # type: ignore[func-returns-value]
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) == 80 and all(read_event(json.loads(line)) == said for line in lines)


def test_a_full_disk_is_told_and_the_next_line_is_whole(
    tmp_path: Path, said: UtteranceEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    real = os.write
    left = [20]

    def full(file: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        count = real(file, data[: left[0]])
        left[0] -= count
        return count

    with JsonLines(path) as sink:
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(os, "write", full)
            sink(said.to_dict(), said.id)
        sink(said.to_dict(), said.id)
    broken, whole = (row for _, row in read_objects(path))
    assert isinstance(broken, AsrError) and isinstance(whole, dict) and whole["text"] == said.text


def test_several_writers_at_once(tmp_path: Path, said: UtteranceEvent) -> None:
    path = tmp_path / "events.jsonl"

    def write(name: str) -> None:
        with JsonLines(path) as sink:
            for at in range(20):
                sink(said.to_dict() | {"id": f"{name}{at}"}, f"{name}{at}")

    threads = [Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [row["id"] for _, row in read_objects(path) if isinstance(row, dict)]
    assert sorted(ids) == sorted(f"{name}{at}" for name in "abcd" for at in range(20))


def test_what_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "events.jsonl") as sink:
        for value in (float("nan"), object(), "\ud800"):
            with pytest.raises(AsrError, match="what JSON cannot"):
                sink({"id": "a", "text": value}, "a")
        assert sink.path.read_bytes() == b""
