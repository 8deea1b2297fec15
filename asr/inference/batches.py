"""Reading ahead in threads, drawing batches of like length, and giving results back in the order of the input.

None of it grows with the number of items, and which items share a batch depends on them alone, not on how fast they
were read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event
from typing import Any, Generic, TypeVar

# For whoever does not choose: eight padded windows, which any machine holds, and threads to keep a GPU fed.
BATCH_SECONDS = 240.0
WORKERS = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    load: Callable[[Item], Iterable[Result]], items: Iterable[Item], *, workers: int, depth: int
) -> Generator[Result, None, None]:
    """Call ``load`` for every item in threads and yield all results that it gives, in order.

    An item of many results does not run far ahead, so that memory does not grow with their number.

    Args:
        load: Called in a thread; what it raises is raised here, in its place.
        items: Read in the caller's thread, at most ``depth`` items ahead.
        workers: Number of threads.
        depth: Most items that are being loaded, or are loaded and not yet asked for.
    """
    ahead: deque[_Results[Result]] = deque()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="read-ahead")
    try:
        for item in items:
            ahead.append(_Results(load, item))
            executor.submit(ahead[-1].fill)
            if len(ahead) >= depth:
                yield from ahead[0]
                ahead.popleft()
        while ahead:
            yield from ahead[0]
            ahead.popleft()
    finally:
        for results in ahead:
            results.stop()
        executor.shutdown(cancel_futures=True)


class _Results(Generic[Result]):
    """The results of one item, from the thread that loads it to the one that asks for them."""

    # Enough for the loading thread not to wait while a batch is heard.
    _MOST = 8

    def __init__(self, load: Callable[[Any], Iterable[Result]], item: object) -> None:
        self._load = load
        self._item = item
        self._queue: Queue[Result | _Done] = Queue(self._MOST)
        self._stopped = Event()

    def fill(self) -> None:
        """Load the item; waits while nobody asks for the results."""
        error: BaseException | None = None
        try:
            for result in self._load(self._item):
                if self._stopped.is_set():
                    return
                self._queue.put(result)
        except BaseException as raised:
            error = raised
        if not self._stopped.is_set():
            self._queue.put(_Done(error))

    def stop(self) -> None:
        """Let the thread that loads go: nobody will ask again."""
        self._stopped.set()
        # It waits for one place at most.
        with suppress(Empty):
            while True:
                self._queue.get_nowait()

    def __iter__(self) -> Iterator[Result]:
        while not isinstance(result := self._queue.get(), _Done):
            yield result
        if result.error is not None:
            raise result.error


@dataclass(frozen=True, slots=True)
class _Done:
    """Follows the last result; with what was raised instead of more."""

    error: BaseException | None


class Pool(Generic[Item]):
    """Items that wait for a batch; short and long ones are kept apart, so that little of a batch is padding.

    Args:
        batch: Most length of a batch: its longest item's, times its items.
        capacity: Length from which on the pool is full.
        equal: Whether all items of a batch must have one length.
    """

    def __init__(self, batch: int, capacity: int, *, equal: bool = False) -> None:
        self.batch = batch
        self.capacity = capacity
        self.equal = equal
        self._waiting: list[tuple[int, Item]] = []
        self._length = 0

    def __len__(self) -> int:
        """Number of items that wait."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether a batch should be drawn before anything is added."""
        return self._length >= self.capacity

    def add(self, item: Item, length: int) -> None:
        """Add an item and how long it is."""
        self._waiting.append((length, item))
        self._length += length

    def draw(self) -> list[Item]:
        """Take out the item that waits longest, and as many of those next to it in length as the batch may hold.

        The oldest is always among them: nothing waits for longer than it takes to empty the pool. An item that is
        longer than a batch is a batch of its own.
        """
        oldest = self._waiting[0][0]
        by_likeness = sorted(range(len(self._waiting)), key=lambda index: abs(self._waiting[index][0] - oldest))
        drawn: list[int] = []
        longest = oldest
        for index in by_likeness:
            if self.equal and self._waiting[index][0] != oldest:
                break
            longest = max(longest, self._waiting[index][0])
            if drawn and longest * (len(drawn) + 1) > self.batch:
                break
            drawn.append(index)
        taken = set(drawn)
        batch = [self._waiting[index] for index in sorted(drawn)]
        self._waiting = [entry for index, entry in enumerate(self._waiting) if index not in taken]
        self._length -= sum(length for length, _ in batch)
        return [item for _, item in batch]


class Overlap(Generic[Item, Result]):
    """Calls a function in threads, some calls at a time; what they return comes in the order of the calls.

    Args:
        work: The function.
        threads: Calls at a time; a single one is made in the caller's thread.
        begin: Called first in every thread.
    """

    def __init__(self, work: Callable[[Item], Result], threads: int, begin: Callable[[], None]) -> None:
        self._work = work
        self._threads = threads
        self._begin = begin
        self._ahead: deque[Future[Result]] = deque()

    def __enter__(self) -> Overlap[Item, Result]:
        if self._threads == 1:
            self._begin()
        else:
            self._executor = ThreadPoolExecutor(self._threads, "overlap", self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads > 1:
            self._executor.shutdown(cancel_futures=True)

    def put(self, item: Item) -> Iterator[Result]:
        """Have ``item`` worked on; yield what is to be waited for first, lest work piles up."""
        if self._threads == 1:
            yield self._work(item)
            return
        self._ahead.append(self._executor.submit(self._work, item))
        # One waits for the thread that is free next.
        if len(self._ahead) > self._threads + 1:
            yield self._ahead.popleft().result()

    def rest(self) -> Iterator[Result]:
        """Wait for all."""
        while self._ahead:
            yield self._ahead.popleft().result()


def in_order(numbered: Iterable[tuple[int, Result]]) -> Generator[Result, None, None]:
    """Yield results, numbered from 0 and in any order, by their number, each as soon as those before it are there."""
    early: dict[int, Result] = {}
    following = 0
    for number, result in numbered:
        early[number] = result
        while following in early:
            yield early.pop(following)
            following += 1
