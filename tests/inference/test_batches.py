"""Reading ahead, drawing batches, giving back in order: against what can be counted by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.inference.batches import Pool, in_order, read_ahead


def test_results_of_threads_come_in_order() -> None:
    def slow_then_fast(n: int) -> Iterator[int]:
        time.sleep(0.01 * (5 - n % 5))
        yield from [n * n] * (n % 3)

    assert list(read_ahead(slow_then_fast, range(20), workers=4, depth=8)) == [
        n * n for n in range(20) for _ in range(n % 3)
    ]


def test_items_are_read_only_as_far_as_the_depth() -> None:
    read = []

    def items() -> Iterator[int]:
        for n in range(100):
            read.append(n)
            yield n

    results = read_ahead(lambda n: [n], items(), workers=2, depth=5)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(read) == 7


def test_a_failure_is_raised_in_its_place() -> None:
    def load(n: int) -> list[float]:
        return [1 / (n - 2)]

    results = read_ahead(load, range(5), workers=3, depth=5)
    assert [next(results), next(results)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_work_that_nobody_waits_for_is_dropped() -> None:
    started, gate, loaded = threading.Event(), threading.Event(), []

    def load(n: int) -> list[int]:
        if n:
            started.set()
            gate.wait(10)
        loaded.append(n)
        return [n]

    results = read_ahead(load, range(100), workers=1, depth=50)
    assert next(results) == 0
    assert started.wait(10)
    threading.Timer(0.05, gate.set).start()
    results.close()
    assert loaded == [0, 1]


def test_an_item_of_many_results_does_not_run_ahead() -> None:
    given = []

    def load(n: int) -> Iterator[int]:
        for result in range(1000):
            given.append((n, result))
            yield result

    results = read_ahead(load, range(3), workers=2, depth=2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    time.sleep(0.1)
    # Two are being loaded, each with eight results that wait and one that has no place yet.
    assert len(given) <= 5 + 2 * 9
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]
    assert len(given) <= 5 + 2 * 11


def test_a_failure_after_some_results_is_raised_after_them() -> None:
    def load(n: int) -> Iterator[int]:
        yield n
        raise ValueError(n)

    results = read_ahead(load, range(5), workers=2, depth=3)
    assert next(results) == 0
    with pytest.raises(ValueError, match="0"):
        next(results)


def test_a_batch_is_the_oldest_and_those_nearest_to_it() -> None:
    pool: Pool[str] = Pool(batch=30, capacity=60)
    for name, length in (("a", 10), ("b", 2), ("c", 9), ("d", 30), ("e", 16)):
        assert not pool.full
        pool.add(name, length)
    assert pool.full
    # Three as long as "e" would be too much, and "b" is further away: "c" alone goes with it.
    assert pool.draw() == ["a", "c"]
    assert not pool.full
    assert pool.draw() == ["b"]
    assert [pool.draw(), pool.draw(), len(pool)] == [["d"], ["e"], 0]


def test_an_item_longer_than_a_batch_goes_alone() -> None:
    pool: Pool[str] = Pool(batch=5, capacity=50)
    pool.add("long", 30)
    pool.add("longer", 31)
    assert [pool.draw(), pool.draw()] == [["long"], ["longer"]]


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=60), batch=st.integers(1, 200))
def test_every_item_is_drawn_once_in_batches_that_fit(lengths: list[int], batch: int) -> None:
    pool: Pool[int] = Pool(batch, 3 * batch)
    drawn = []
    for number, length in enumerate(lengths):
        pool.add(number, length)
        if pool.full:
            drawn.append(pool.draw())
    while pool:
        drawn.append(pool.draw())
    assert sorted(number for numbers in drawn for number in numbers) == list(range(len(lengths)))
    done: set[int] = set()
    for numbers in drawn:
        assert len(numbers) == 1 or max(lengths[number] for number in numbers) * len(numbers) <= batch
        # What waits longest is always taken.
        assert numbers[0] == min(set(range(len(lengths))) - done)
        done |= set(numbers)


def test_like_lengths_leave_little_padding() -> None:
    pool: Pool[int] = Pool(batch=100, capacity=800)
    padding = total = 0
    for number in range(400):
        length = 1 + (number * 37) % 29
        pool.add(length, length)
        if pool.full:
            drawn = pool.draw()
            padding += max(drawn) * len(drawn) - sum(drawn)
            total += max(drawn) * len(drawn)
    # In the order of the input it would be nearly half.
    assert padding < 0.1 * total


@settings(deadline=None)
@given(st.permutations(range(30)))
def test_results_come_by_number(numbers: list[int]) -> None:
    assert list(in_order((number, str(number)) for number in numbers)) == [str(number) for number in range(30)]


def test_a_result_comes_as_soon_as_those_before_it_are_there() -> None:
    asked = []

    def numbered() -> Iterator[tuple[int, str]]:
        for number in (1, 0, 2):
            asked.append(number)
            yield number, "abc"[number]

    results = in_order(numbered())
    assert next(results) == "a"
    assert asked == [1, 0]
    assert list(results) == ["b", "c"]
