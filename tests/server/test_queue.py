"""What waits is heard together: who with whom, in which order, and what becomes of those that go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from asr.errors import AsrError, AudioError
from asr.server.measures import Measures
from asr.server.queue import Queue, Samples, Wish
from asr.transcript import Transcript

SOON = 20.0


class Ear:
    """Hears only when it may; says how long each recording was."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.begun = threading.Semaphore(0)
        self.batches: list[tuple[Wish, list[float]]] = []

    def __call__(self, several: Sequence[Samples], wish: Wish) -> Generator[Transcript | AsrError, None, None]:
        self.batches.append((wish, [len(one) / 16000 for one in several]))
        self.begun.release()
        assert self.may.wait(SOON)
        for samples in several:
            if wish.prompt == "break":
                raise ValueError(wish.prompt.upper())
            if wish.prompt == "no memory":
                raise AsrError("too little memory")
            seconds = len(samples) / 16000
            yield AudioError("too short") if seconds < 0.2 else Transcript("", f"{seconds:g}", "en", None, seconds, ())


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def measures() -> Measures:
    return Measures()


@pytest.fixture
def queue(ear: Ear, measures: Measures) -> Iterator[Queue]:
    queue = Queue(ear, lambda samples: samples / 16000, 10.0, measures)
    yield queue
    ear.may.set()
    queue.close()


def sound(seconds: float) -> Samples:
    return np.zeros(round(16000 * seconds), np.float32)


@pytest.fixture
def held(queue: Queue, ear: Ear) -> Callable[[], Future[Transcript]]:
    """Occupies the queue, so that what follows waits."""

    def hold() -> Future[Transcript]:
        first = queue.submit(sound(1), Wish())
        assert ear.begun.acquire(timeout=SOON)
        return first

    return hold


def test_what_waits_is_heard_at_once(queue: Queue, ear: Ear, held: Any) -> None:
    held()
    futures = [queue.submit(sound(2 + 0.01 * number), Wish()) for number in range(4)]
    assert len(queue) == 4
    ear.may.set()
    assert [future.result(SOON).text for future in futures] == ["2", "2.01", "2.02", "2.03"]
    assert [len(batch) for _, batch in ear.batches] == [1, 4]


def test_only_the_same_wish_is_heard_at_once_and_nobody_is_passed_over(queue: Queue, ear: Ear, held: Any) -> None:
    held()
    wishes = [Wish("fr"), Wish("en"), Wish("fr"), Wish("fr", words=True)]
    futures = [queue.submit(sound(1), wish) for wish in wishes]
    ear.may.set()
    assert all(future.result(SOON) for future in futures)
    assert [(wish, len(batch)) for wish, batch in ear.batches[1:]] == [(wishes[0], 2), (wishes[1], 1), (wishes[3], 1)]


def test_a_batch_counts_its_longest(queue: Queue, ear: Ear, held: Any) -> None:
    held()
    # With the second, 3 recordings would take 3 times 6 s; the third still fits.
    futures = [queue.submit(sound(seconds), Wish()) for seconds in (1, 6, 1, 20)]
    ear.may.set()
    assert [future.result(SOON).text for future in futures] == ["1", "6", "1", "20"]
    assert [batch for _, batch in ear.batches[1:]] == [[1, 1], [6], [20]]


def test_live_speech_comes_first(queue: Queue, ear: Ear, held: Any) -> None:
    held()
    late = queue.submit(sound(1), Wish())
    early = queue.submit(sound(2), Wish(), live=True)
    ear.may.set()
    assert early.result(SOON) and late.result(SOON)
    assert [batch for _, batch in ear.batches[1:]] == [[2], [1]]


def test_who_goes_leaves_a_place_and_is_not_heard(queue: Queue, ear: Ear, held: Any) -> None:
    first = held()
    gone, stays = queue.submit(sound(3), Wish()), queue.submit(sound(1), Wish())
    assert gone.cancel() and len(queue) == 1
    assert not first.cancel()  # it is being heard
    ear.may.set()
    assert stays.result(SOON)
    assert [batch for _, batch in ear.batches] == [[1], [1]]


def test_one_fault_is_one_recording_s(queue: Queue, ear: Ear, held: Any) -> None:
    held()
    futures = [queue.submit(sound(seconds), Wish()) for seconds in (1, 0.1, 1)]
    ear.may.set()
    with pytest.raises(AudioError, match="too short"):
        futures[1].result(SOON)
    assert futures[0].result(SOON) and futures[2].result(SOON)


def test_an_error_ends_a_batch_and_not_the_server(queue: Queue, ear: Ear, caplog: pytest.LogCaptureFixture) -> None:
    ear.may.set()
    with pytest.raises(AsrError, match="too little memory"):
        queue.submit(sound(1), Wish(prompt="no memory")).result(SOON)
    with caplog.at_level(logging.DEBUG), pytest.raises(RuntimeError, match="hearing failed"):
        queue.submit(sound(1), Wish(prompt="break")).result(SOON)
    assert "ValueError" in caplog.text and "test_queue.py" in caplog.text and "BREAK" not in caplog.text
    assert queue.submit(sound(1), Wish()).result(SOON)
    assert queue.stuck(10) is None


def test_at_the_end_what_waits_is_heard_and_nothing_is_taken(queue: Queue, ear: Ear, held: Any) -> None:
    held()
    waiting = queue.submit(sound(1), Wish("fr"))
    closing = threading.Thread(target=queue.close)
    closing.start()
    ear.may.set()
    closing.join(SOON)
    assert waiting.result(0)
    with pytest.raises(AsrError, match="being stopped"):
        queue.submit(sound(1), Wish())
    assert queue.stuck(10) == "the thread that hears has ended"


def test_a_batch_that_never_ends_is_seen(queue: Queue, held: Any) -> None:
    held()
    assert queue.stuck(1000) is None
    assert "in work for more than 0 s" in str(queue.stuck(0))


def test_it_is_measured(queue: Queue, ear: Ear, measures: Measures, held: Any) -> None:
    held()
    futures = [queue.submit(sound(2), Wish()) for _ in range(3)]
    assert measures.registry.get_sample_value("asr_queue_length") == 3
    ear.may.set()
    assert all(future.result(SOON) for future in futures)
    queue.close()
    found = measures.registry.get_sample_value
    assert (found("asr_audio_seconds_total"), found("asr_batch_size_sum"), found("asr_batch_size_count")) == (7, 4, 2)
    assert found("asr_queue_length") == 0
