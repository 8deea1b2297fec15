"""The outbox against a list in memory, and what crashes, other processes and bad disks do to it."""

from __future__ import annotations

import math
import multiprocessing
import random
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import DeliveryError
from asr.intent import outbox as module
from asr.intent.outbox import FullError, Outbox, Put, UnfitError


def test_what_was_put_in_is_there_after_a_restart_and_goes_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "outbox.db"
    box = Outbox(path)
    assert box.put({"id": "a", "text": "é"}, {"id": "b"}, {"id": "a", "text": "é"}) == Put(2, 1, 0)
    box.close()
    box = Outbox(path)
    first, second = box.due(time.time(), 10)
    assert (first.id, first.event, first.tries, second.event) == ("a", {"id": "a", "text": "é"}, 0, {"id": "b"})
    box.settle(delivered=[first])
    assert box.put({"id": "a", "text": "é"}, {"id": "b"}) == Put(0, 1, 1)
    assert [event.id for event in box.due(time.time(), 10)] == ["b"] and len(box) == 1
    box.close()


# What is done: put events of a conversation in, settle some of those that are due, or open it anew.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=4)),
        st.tuples(
            st.sampled_from(["delivered", "dead", "later"]), st.lists(st.integers(0, 5), max_size=3, unique=True)
        ),
        st.tuples(st.just("open"), st.none()),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_events_that_are_due_are_those_of_a_list(steps: list[tuple[str, Any]]) -> None:
    twin: list[tuple[str, str | None, float]] = []
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        box = Outbox(Path(folder, "outbox.db"))
        for step, value in steps:
            heads = [
                (id, due)
                for place, (id, conversation, due) in enumerate(twin)
                if conversation is None or all(other != conversation for _, other, _ in twin[:place])
            ]
            wanted = [id for id, due in heads if due <= 1000]
            found = box.due(1000, 100)
            assert [event.id for event in found] == wanted
            assert [event.id for event in box.due(1000, 2, [found[0].number] if found else [])] == wanted[1:3]
            assert box.next_due() == min((due for _, due in heads), default=None) and len(box) == len(twin)
            if step == "put":
                events = [{"id": f"{count + place}", "conversation": name} for place, name in enumerate(value)]
                count += len(events)
                box.put(*events)
                twin += [(event["id"], event["conversation"], 0.0) for event in events]
            elif step == "open":
                box.close()
                box = Outbox(Path(folder, "outbox.db"))
            else:
                some = [found[place] for place in value if place < len(found)]
                ids = {event.id for event in some}
                box.settle(**{step: [(event, 2000.0) for event in some] if step == "later" else some})
                if step == "later":
                    twin = [(id, name, 2000.0 if id in ids else due) for id, name, due in twin]
                else:
                    twin = [row for row in twin if row[0] not in ids]
        box.close()


def test_an_object_is_an_event_too(tmp_path: Path) -> None:
    event = SimpleNamespace(id="a", conversation="c", model_dump_json=lambda: '{"id":"a","conversation":"c","x":1}')
    box = Outbox(tmp_path / "outbox.db")
    box.put(event)
    assert box.due(time.time(), 1)[0].event == {"id": "a", "conversation": "c", "x": 1}
    box.close()


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({}, "'id'"),
        ({"id": ""}, "'id'"),
        ({"id": 7}, "'id'"),
        ({"id": "é"}, "'id'"),
        ({"id": "a b"}, "'id'"),
        ({"id": "a\r\nX-Header: 1"}, "'id'"),
        ({"id": "x" * 201}, "'id'"),
        ({"id": "a", "conversation": 7}, "'conversation'"),
        ({"id": "a", "secret": math.nan}, "JSON"),
        ({"id": "a", "secret": {1, 2}}, "JSON"),
    ],
)
def test_what_is_no_event(event: dict[str, Any], message: str, tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db")
    with pytest.raises(UnfitError, match=message) as caught:
        box.put({"id": "good"}, event)
    assert "secret" not in str(caught.value) and len(box) == 0
    box.close()


def test_odd_texts_come_out_as_they_went_in(tmp_path: Path) -> None:
    events = [
        {"id": str(n), "conversation": odd, "text": odd}
        for n, odd in enumerate(["\ud800", "\x00", "<b>", "", "字" * 10**5])
    ]
    box = Outbox(tmp_path / "outbox.db")
    box.put(*events)
    assert [event.event for event in box.due(time.time(), 9)] == events
    box.close()


def test_another_event_with_the_same_id_is_refused_before_and_after_delivery(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db")
    box.put({"id": "a", "text": "one"})
    for _ in range(2):
        with pytest.raises(UnfitError, match="said something else"):
            box.put({"id": "b"}, {"id": "a", "text": "two"})
        box.settle(delivered=box.due(time.time(), 1))
    assert len(box) == 0
    box.close()


def test_a_full_outbox_takes_none_of_too_many(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db", limit=2)
    box.put({"id": "a"})
    with pytest.raises(FullError, match="no room for 2 more: 1 events wait, and 2 may"):
        box.put({"id": "b"}, {"id": "c"})
    # What is known needs no room.
    assert box.put({"id": "b"}, {"id": "a"}) == Put(1, 1, 0)
    assert box.put({"id": "b"}, {"id": "a"}) == Put(0, 2, 0)
    box.close()


def test_what_was_delivered_or_given_up_is_wiped_and_the_files_are_private(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db")
    box.put(*({"id": f"e{n}", "conversation": "my secret", "text": "secret words " * 50} for n in range(200)))
    assert b"secret words" in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    with box.sole_use():
        assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir() if path.suffix != ".lock"} == {0}
    while events := box.due(time.time(), 100):
        box.settle(delivered=events[::2], dead=events[1::2])
    box.close()
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_clock_that_was_set_back_holds_nothing_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outbox.db"
    now = time.time()
    box = Outbox(path)
    box.put({"id": "a"}, {"id": "b"})
    first, second = box.due(now, 2)
    box.settle(delivered=[second], later=[(first, now + 10**9)])
    box.close()
    box = Outbox(path)
    assert box.next_due() == pytest.approx(now + module.LONGEST_WAIT, abs=60)
    assert box.put({"id": "b"}).delivered == 1
    box.close()
    monkeypatch.setattr(time, "time", lambda: now + module.REMEMBERED + 60)
    box = Outbox(path)
    assert box.put({"id": "b"}).delivered == 0
    box.close()


def put_many(path: Path, begin: Any, seed: int) -> None:
    begin.wait(30)
    box = Outbox(path)
    for number in random.Random(seed).sample(range(40), 40):
        box.put({"id": f"shared{number}", "conversation": "c"}, {"id": f"own{seed}.{number}"})
    box.close()


def test_many_processes_put_into_one_outbox_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(2):
        path, begin = tmp_path / f"outbox{attempt}.db", context.Event()
        processes = [context.Process(target=put_many, args=(path, begin, seed)) for seed in range(4)]
        for process in processes:
            process.start()
        begin.set()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * 4
        box = Outbox(path)
        assert len(box) == 40 + 4 * 40
        # One head of the conversation, and all that stand alone.
        assert len(box.due(time.time(), 1000)) == 1 + 4 * 40
        box.close()


# Files may grow to so many bytes: what a full disk does.
FULL_DISK = """
    import resource, sys, time
    from asr.errors import DeliveryError
    from asr.intent.outbox import Outbox
    box = Outbox(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    for number in range(1000):
        try:
            box.put({"id": str(number), "text": "x" * 5000})
        except DeliveryError as error:
            print(number, len(box.due(time.time(), 2000)), error, sep="|", flush=True)
            break
"""


def test_a_full_disk_is_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path / "outbox.db")]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    kept, found, message = output.split("|")
    assert int(kept) == int(found) > 5
    assert "cannot be used" in message and "nothing that was put in is lost" in message
    box = Outbox(tmp_path / "outbox.db")
    assert [event.id for event in box.due(time.time(), 2000)] == [str(number) for number in range(int(kept))]
    assert box.put({"id": "next"}).added == 1
    box.close()


def test_a_damaged_outbox_is_a_sentence_and_left_as_it_is(tmp_path: Path) -> None:
    good = tmp_path / "good.db"
    box = Outbox(good)
    box.put(*({"id": f"e{n}", "text": "x" * 500} for n in range(200)))
    box.close()
    data = good.read_bytes()
    noise = random.Random(3).randbytes(8192)
    damages = {
        "noise": noise,
        "text": b'{"id": "a"}\n' * 100,
        "half": data[: len(data) // 2],
        "header": b"x" + data[1:],
        "pages": data[:8192] + noise + data[16384:],
    }
    for name, content in damages.items():
        path = tmp_path / f"{name}.db"
        path.write_bytes(content)
        with pytest.raises(DeliveryError, match=f"{name}.db is damaged or no outbox") as caught:
            Outbox(path)
        assert "another outbox" in str(caught.value)
        assert path.read_bytes() == content


def test_what_cannot_be_an_outbox(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.executescript("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
    connection.close()
    before = other.read_bytes()
    with pytest.raises(DeliveryError, match="is no outbox of this version; name another file"):
        Outbox(other)
    assert other.read_bytes() == before
    with pytest.raises(DeliveryError, match="Is a directory"):
        Outbox(tmp_path)
    with pytest.raises(DeliveryError, match="cannot be used: "):
        Outbox(other / "outbox.db")
