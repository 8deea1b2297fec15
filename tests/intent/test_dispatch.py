"""Delivery: nothing lost, nothing twice by its key, in order, whatever receiver, disk and process do."""

from __future__ import annotations

import json
import logging
import math
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from asr.errors import DeliveryError
from asr.intent.dispatch import Busy, Delivery, Dispatcher, Refused, append_lines
from asr.intent.outbox import FullError, UnfitError
from asr.intent.post import Post

QUICK = {"first_wait": 0.005, "longest_wait": 0.02}


def made_up(count: int, conversations: int = 8) -> list[dict[str, Any]]:
    """Events in conversations; every ninth is on its own."""
    return [
        {"id": f"e{number:04d}", "conversation": f"c{number % conversations}" if number % 9 else None, "text": "secret"}
        for number in range(count)
    ]


def by_conversation(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for event in events:
        if event["conversation"] is not None:
            found[event["conversation"]].append(event["id"])
    return found


def dead(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_receiver_that_goes_wrong_in_every_way_has_each_event_once_and_in_order(flaky: Any, tmp_path: Path) -> None:
    events = made_up(150)
    post = Post(flaky.url, timeout=0.3)
    with Dispatcher(tmp_path / "outbox.db", post, **QUICK) as dispatcher:
        done = dispatcher.run(events)
    post.close()
    assert (done.delivered, done.dead, done.waiting) == (150, 0, 0)
    # It did go wrong, and did hear things twice; by the key nothing is there twice, and nothing is changed.
    assert done.retried > 50 and len(flaky.taken) > 155
    assert sorted(flaky.once, key=lambda event: event["id"]) == events
    assert by_conversation(flaky.once) == by_conversation(events)


def test_an_event_waits_for_the_earlier_ones_of_its_conversation_and_others_go_on(tmp_path: Path) -> None:
    sent: list[str] = []
    others = threading.Event()

    def send(event: dict[str, Any], key: str) -> None:
        # The first event of a holds its conversation until all others are there.
        if key == "a0" and not others.is_set():
            raise OSError("not now")
        sent.append(key)
        if len(sent) == 10:
            others.set()

    events = [{"id": f"a{n}", "conversation": "a"} for n in range(5)]
    events += [{"id": f"b{n}", "conversation": "b"} for n in range(5)] + [{"id": f"n{n}"} for n in range(5)]
    with Dispatcher(tmp_path / "outbox.db", send, tries=10_000, **QUICK) as dispatcher:
        dispatcher.run(events)
    assert set(sent[:10]) == {f"{name}{n}" for name in "bn" for n in range(5)}
    assert [key for key in sent if key[0] == "b"] == [f"b{n}" for n in range(5)]
    assert sent[10:] == [f"a{n}" for n in range(5)]


def test_one_conversation_has_one_event_on_its_way(tmp_path: Path) -> None:
    under_way: Counter[str] = Counter()
    most: Counter[str] = Counter()

    def send(event: dict[str, Any], key: str) -> None:
        under_way[event["conversation"]] += 1
        most[event["conversation"]] = max(most[event["conversation"]], under_way[event["conversation"]])
        time.sleep(0.002)
        under_way[event["conversation"]] -= 1

    with Dispatcher(tmp_path / "outbox.db", send) as dispatcher:
        dispatcher.run({"id": str(n), "conversation": str(n % 3)} for n in range(60))
    assert set(most.values()) == {1}


def test_what_is_given_up_is_a_dead_letter_and_its_conversation_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tries: Counter[str] = Counter()

    def send(event: dict[str, Any], key: str) -> None:
        tries[key] += 1
        if key == "never":
            raise Refused("the receiver answered 422")
        if key == "fails":
            raise ValueError("secret words")

    events = [{"id": key, "conversation": "c", "text": "secret é"} for key in ("never", "fails", "good")]
    with Dispatcher(tmp_path / "outbox.db", send, tries=3, **QUICK) as dispatcher:
        done = dispatcher.run(events)
        assert tries == {"never": 1, "fails": 3, "good": 1}
        assert (done.delivered, done.dead, done.retried, done.waiting) == (1, 2, 2, 0)
        letters = dead(dispatcher.dead_letters)
        assert [letter["event"] for letter in letters] == events[:2]
        assert [(letter["reason"], letter["tries"]) for letter in letters] == [
            ("the receiver answered 422", 1),
            ("sending ended with ValueError", 3),
        ]
        assert dispatcher.dead_letters.stat().st_mode & 0o777 == 0o600
        # Given again, they are tried again; what was delivered is not.
        assert dispatcher.run(events).known == 1
    assert tries == {"never": 2, "fails": 6, "good": 1}
    assert "given up" in caplog.text and "secret" not in caplog.text


def test_a_busy_receiver_is_left_alone_as_long_as_it_asks_and_no_try_is_counted(tmp_path: Path) -> None:
    lock, asked, until = threading.Lock(), [], [0.0]

    def send(event: dict[str, Any], key: str) -> None:
        with lock:
            now = time.time()
            early = now < until[0]
            asked.append((now, early))
            # Two of three calls are too many; what was under way already when it asked is no fault.
            if len(asked) % 3:
                until[0] = max(until[0], now + 0.05)
                raise Busy("the receiver answered 429", 0.05)

    with Dispatcher(tmp_path / "outbox.db", send, tries=1, workers=4) as dispatcher:
        done = dispatcher.run(made_up(12))
    assert (done.delivered, done.dead) == (12, 0)
    # Three other workers may have begun before they could know of the first answer; afterwards one feels the way.
    assert sum(early for _, early in asked) <= 3 * 12 // 3
    assert len(asked) < 12 * 3 + 4


def test_busy_without_a_time_waits_longer_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    times: list[float] = []

    def send(event: dict[str, Any], key: str) -> None:
        times.append(time.monotonic())
        if len(times) < 5:
            raise Busy("busy")

    with Dispatcher(tmp_path / "outbox.db", send, tries=1, first_wait=0.02) as dispatcher:
        assert dispatcher.run([{"id": "a"}]).delivered == 1
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert all(gap >= 0.02 * 2**place for place, gap in enumerate(gaps))


def test_waits_are_drawn_from_a_range_that_doubles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, float]] = []
    monkeypatch.setattr("random.uniform", lambda low, high: drawn.append((low, high)) or 0.0)

    def send(event: dict[str, Any], key: str) -> None:
        raise OSError

    with Dispatcher(tmp_path / "outbox.db", send, tries=7, first_wait=1.0, longest_wait=10.0) as dispatcher:
        dispatcher.run([{"id": "a"}])
    assert drawn == [(0, 1), (0, 2), (0, 4), (0, 8), (0, 10), (0, 10)]


SENDER = """
    import json, sys
    from asr.intent.dispatch import Dispatcher
    from asr.intent.post import Post
    outbox, url, events = sys.argv[1:]
    with Dispatcher(outbox, Post(url, timeout=0.3), first_wait=0.005, longest_wait=0.02) as dispatcher:
        print("ready", flush=True)
        done = dispatcher.run(map(json.loads, open(events)))
    print(done.dead, done.waiting)
"""


def test_whoever_is_killed_and_started_again_delivers_everything(flaky: Any, tmp_path: Path) -> None:
    events = made_up(250, conversations=40)
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    command = [sys.executable, "-c", textwrap.dedent(SENDER), str(tmp_path / "outbox.db"), flaky.url]
    kills = 0
    for _ in range(40):
        process = subprocess.Popen([*command, str(tmp_path / "events.jsonl")], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        try:
            output, _ = process.communicate(timeout=random.uniform(0.0, 0.25) if kills < 5 else 60)
        except subprocess.TimeoutExpired:
            kills += 1
            process.kill()
            process.communicate()
            continue
        if process.returncode == 0:
            break
    assert output.split() == ["0", "0"]
    assert kills >= 3
    assert sorted(flaky.once, key=lambda event: event["id"]) == events
    assert by_conversation(flaky.once) == by_conversation(events)


def test_what_is_taken_before_an_interruption_is_marked(tmp_path: Path) -> None:
    sent: list[str] = []

    def send(event: dict[str, Any], key: str) -> None:
        time.sleep(0.02)
        sent.append(key)

    def interrupt(done: Delivery) -> None:
        if done.waiting:
            raise KeyboardInterrupt

    with Dispatcher(tmp_path / "outbox.db", send) as dispatcher:
        with pytest.raises(KeyboardInterrupt):
            dispatcher.run(made_up(100), report=interrupt)
        assert 0 < len(sent) < 100
        assert dispatcher.run(made_up(100)).waiting == 0
    assert len(sent) == len(set(sent)) == 100


def test_a_second_dispatcher_on_the_outbox_is_refused(tmp_path: Path) -> None:
    going, stop = threading.Event(), threading.Event()
    with Dispatcher(tmp_path / "outbox.db", lambda event, key: going.set()) as dispatcher:
        thread = threading.Thread(target=dispatcher.run, kwargs={"stop": stop})
        thread.start()
        dispatcher.put({"id": "a"})
        assert going.wait(10)
        with Dispatcher(tmp_path / "outbox.db", print) as second:
            with pytest.raises(DeliveryError, match="another dispatcher is sending from the outbox"):
                second.run()
            stop.set()
            thread.join(10)
            assert second.run() == Delivery()


def test_put_refuses_or_waits_where_the_outbox_is_full(tmp_path: Path) -> None:
    gate, stop = threading.Event(), threading.Event()
    with Dispatcher(tmp_path / "outbox.db", lambda event, key: gate.wait(10) or None, limit=3) as dispatcher:
        dispatcher.put({"id": "a"}, {"id": "b"})
        with pytest.raises(FullError, match="no room for 2 more: 2 events wait, and 3 may"):
            dispatcher.put({"id": "c"}, {"id": "d"})
        dispatcher.put({"id": "c"})
        began = time.monotonic()
        with pytest.raises(FullError):
            dispatcher.put({"id": "d"}, wait=0.1)
        assert 0.1 <= time.monotonic() - began < 2
        thread = threading.Thread(target=dispatcher.run, kwargs={"stop": stop})
        thread.start()
        threading.Timer(0.1, gate.set).start()
        assert dispatcher.put({"id": "d"}, wait=math.inf).added == 1
        with pytest.raises(FullError):  # never will there be room
            dispatcher.put(*({"id": f"x{n}"} for n in range(4)), wait=math.inf)
        while len(dispatcher.outbox):
            time.sleep(0.01)
        stop.set()
        thread.join(10)


def test_events_are_put_in_as_there_is_room(tmp_path: Path) -> None:
    most = 0

    def send(event: dict[str, Any], key: str) -> None:
        nonlocal most
        most = max(most, given - len(sent))
        sent.append(key)

    def source() -> Any:
        nonlocal given
        for event in made_up(100):
            given += 1
            yield event

    given, sent = 0, list[str]()
    with Dispatcher(tmp_path / "outbox.db", send, limit=5) as dispatcher:
        assert dispatcher.run(source()).delivered == 100
    assert most <= 5


def test_an_event_that_cannot_be_put_in_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    sent: list[str] = []
    told: list[tuple[Any, str]] = []
    events = [{"id": "a"}, {"text": "no id"}, {"id": "a", "text": "other"}, {"id": "b"}, {"id": "c", "x": math.nan}]
    with Dispatcher(tmp_path / "outbox.db", lambda event, key: sent.append(key)) as dispatcher:
        done = dispatcher.run(events, unfit=lambda event, error: told.append((event, str(error))))
        assert sorted(sent) == ["a", "b"] and done.delivered == 2
        assert [events.index(event) for event, _ in told] == [1, 2, 4]
        assert [word in text for (_, text), word in zip(told, ["'id'", "something else", "JSON"], strict=True)] == [
            True
        ] * 3
        with pytest.raises(UnfitError):
            dispatcher.run(events)


def test_a_dead_letter_that_cannot_be_written_stays_in_the_outbox(tmp_path: Path) -> None:
    def send(event: dict[str, Any], key: str) -> None:
        if key == "b":
            raise Refused("no")

    full = tmp_path / "full.jsonl"
    full.symlink_to("/dev/full")
    with (
        Dispatcher(tmp_path / "outbox.db", send, dead_letters=full, workers=1) as dispatcher,
        pytest.raises(DeliveryError, match=r"dead letters .* cannot be written: No space left on device"),
    ):
        dispatcher.run([{"id": "a"}, {"id": "b"}, {"id": "c"}])
    with Dispatcher(tmp_path / "outbox.db", send, dead_letters=tmp_path / "dead.jsonl") as dispatcher:
        done = dispatcher.run([{"id": "a"}, {"id": "b"}, {"id": "c"}])
    assert (
        done.dead == 1
        and done.known >= 1
        and [letter["event"] for letter in dead(tmp_path / "dead.jsonl")] == [{"id": "b"}]
    )


def test_lines_are_appended_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "lines"
    append_lines(path, ["one", "é"])
    with path.open("a") as handle:
        handle.write("cut o")
    append_lines(path, ["two"])
    assert path.read_text("utf-8") == "one\né\ncut o\ntwo\n"

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DeliveryError):
        append_lines(path, ["three"])
    assert path.read_text("utf-8") == "one\né\ncut o\ntwo\n"


def test_without_tenacity_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tenacity", None)
    with pytest.raises(Exception, match=r"dialect-asr\[intent\]"):
        Dispatcher(tmp_path / "outbox.db", print)
    assert not list(tmp_path.iterdir())
