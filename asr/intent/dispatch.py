"""Delivery of events to a receiver: at least once, in the order of each conversation, from an outbox on disk.

An event that was put in is sent until the receiver takes it, or until it is given up and written to a file of dead
letters. It is marked as delivered after the receiver said so: whoever is killed in between sends it again, with the
same key, by which the receiver knows that it has it. An event is sent when no earlier one of its conversation waits;
other conversations go on meanwhile. An event that was given up is waited for no longer.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from asr.errors import AsrError, DeliveryError, MissingExtraError
from asr.intent.outbox import LIMIT, LONGEST_WAIT, Event, FullError, Outbox, Put, UnfitError, Waiting

log = logging.getLogger(__name__)

Send = Callable[[dict[str, Any], str], None]
Item = TypeVar("Item", bound="Event | Mapping[str, Any]")

# Events put in at once: one sync of the disk for all of them.
_BATCH = 200
# Seconds after which somebody else's events, or a wish to stop, are noticed at the latest.
_GLANCE = 0.2


class Refused(AsrError):
    """The receiver will never take this event: it is a dead letter at once."""


class Busy(AsrError):
    """The receiver asks everybody to wait; this is no failed try.

    Attributes:
        seconds: How long; None if it did not say.
    """

    def __init__(self, message: str, seconds: float | None = None) -> None:
        self.seconds = seconds
        super().__init__(message)


@dataclass(slots=True)
class Delivery:
    """What a run did.

    Attributes:
        delivered: Events that the receiver took.
        retried: Tries that failed and were followed by another one, or will be.
        dead: Events that were given up.
        known: Events given to the run that a receiver has from an earlier time.
        waiting: Events that wait in the outbox.
    """

    delivered: int = 0
    retried: int = 0
    dead: int = 0
    known: int = 0
    waiting: int = 0


class Dispatcher:
    """Sends what waits in an outbox.

    Args:
        outbox: The outbox's file, made if there is none. One outbox is for one receiver.
        send: Sends one event, given in plain types, with its key, and returns when the receiver has it. It is called
            in several threads at once. Whatever it raises is a failed try, except `Refused` and `Busy`.
        dead_letters: The file for events that are given up, JSON lines with the keys ``when``, ``reason``, ``tries``
            and ``event``; beside the outbox by default. A crash may write one twice.
        tries: After so many an event is given up.
        first_wait: The wait before the second try lies between none and so many seconds; the next are drawn from a
            range that doubles each time.
        longest_wait: Seconds at which that range stops to grow.
        workers: Events that are sent at once.
        limit: Events that may wait.

    Raises:
        DeliveryError: The outbox cannot be used.
        MissingExtraError: tenacity is not installed.
    """

    def __init__(
        self,
        outbox: str | Path,
        send: Send,
        *,
        dead_letters: str | Path | None = None,
        tries: int = 10,
        first_wait: float = 1.0,
        longest_wait: float = 300.0,
        workers: int = 8,
        limit: int = LIMIT,
    ) -> None:
        self._wait = _waits(first_wait, longest_wait)
        self.outbox = Outbox(outbox, limit)
        self.dead_letters = Path(f"{outbox}.dead.jsonl" if dead_letters is None else dead_letters)
        self._send = send
        self._tries = tries
        self._workers = workers
        self._wake = threading.Event()
        # Until when the receiver asked to be left alone, by time.time(), and how often it did so in a row.
        self._quiet_until = 0.0
        self._busy = 0
        self._asked = threading.Lock()

    def put(self, *events: Event | Mapping[str, Any], wait: float = 0.0) -> Put:
        """Put events into the outbox, all or none; they are on disk when this returns. Any thread may do so.

        Args:
            events: An event that waits already, or was delivered, is not put in again.
            wait: Seconds to wait for room; `math.inf` waits as long as it takes.

        Raises:
            FullError: There is no room.
            UnfitError: An event has no usable id, is no JSON, or has the id of another one.
            DeliveryError: The outbox cannot be written.
        """
        until = time.monotonic() + wait
        while True:
            try:
                done = self.outbox.put(*events)
            except FullError:
                left = until - time.monotonic()
                # More than fit into an empty outbox would wait for ever.
                if left <= 0 or len(events) > self.outbox.limit:
                    raise
                time.sleep(min(left, _GLANCE / 4))
            else:
                self._wake.set()
                return done

    def run(
        self,
        events: Iterable[Item] = (),
        *,
        unfit: Callable[[Item, UnfitError], None] | None = None,
        report: Callable[[Delivery], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Delivery:
        """Send what waits, and ``events``, which are put in as there is room.

        Args:
            events: More to put in.
            unfit: Is told which of them cannot be put in, and why; without it the first one ends the run.
            report: Is told how far it is, a few times a second.
            stop: Goes on until it is set, also when nothing waits; without it the run ends when nothing waits.

        Returns:
            What was done.

        Raises:
            DeliveryError: Another dispatcher sends from this outbox; the outbox or the dead letters cannot be written;
                an event cannot be put in. What was put in stays there.
        """
        done = Delivery()
        feed = _Feed(events)
        flying: dict[Future[bool], Waiting] = {}
        reported = -math.inf
        with self.outbox.sole_use(), self._threads(flying, done) as threads:
            while stop is None or not stop.is_set():
                self._wake.clear()
                self._settle(flying, done)
                self._fill(feed, unfit, done)
                self._launch(threads, flying)
                done.waiting = len(self.outbox)
                if report is not None and time.monotonic() - reported > _GLANCE:
                    reported = time.monotonic()
                    report(replace(done))
                if stop is None and not done.waiting and feed.ended:
                    break
                if feed.ended or done.waiting >= self.outbox.limit:
                    self._wake.wait(self._pause(flying))
        done.waiting = len(self.outbox)
        return done

    def close(self) -> None:
        """Close the outbox."""
        self.outbox.close()

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _threads(self, flying: dict[Future[bool], Waiting], done: Delivery) -> Iterator[ThreadPoolExecutor]:
        """Threads that, however it ends, finish what they have begun and begin nothing more."""
        threads = ThreadPoolExecutor(self._workers, thread_name_prefix="dispatch")
        try:
            yield threads
        except BaseException:
            threads.shutdown(cancel_futures=True)
            # What the receiver has taken meanwhile need not be sent again.
            with suppress(DeliveryError):
                self._settle(flying, done)
            raise
        threads.shutdown(cancel_futures=True)
        self._settle(flying, done)

    def _fill(self, feed: _Feed, unfit: Callable[[Item, UnfitError], None] | None, done: Delivery) -> None:
        """Put in as many as there is room for."""
        batch = feed.take(min(_BATCH, self.outbox.limit - len(self.outbox)))
        try:
            done.known += self.outbox.put(*batch).delivered if batch else 0
        except FullError:  # somebody else was quicker
            feed.give_back(batch)
        except UnfitError:
            for place, item in enumerate(batch):
                try:
                    done.known += self.outbox.put(item).delivered
                except FullError:
                    feed.give_back(batch[place:])
                    return
                except UnfitError as error:
                    if unfit is None:
                        raise
                    unfit(item, error)

    def _room(self) -> int:
        """How many events may be on their way."""
        # Some lie ready for threads that are done while we write to the disk. After a pause one feels the way.
        return 1 if self._busy else self._workers * 4

    def _launch(self, threads: ThreadPoolExecutor, flying: dict[Future[bool], Waiting]) -> None:
        room = self._room() - len(flying)
        if time.time() < self._quiet_until or room <= 0:
            return
        for event in self.outbox.due(time.time(), room, [event.number for event in flying.values()]):
            future = threads.submit(self._try, event)
            flying[future] = event
            future.add_done_callback(lambda _: self._wake.set())

    def _try(self, event: Waiting) -> bool:
        """Send an event, unless the receiver asked for quiet meanwhile; returns whether it has it."""
        if time.time() < self._quiet_until:
            return False
        try:
            self._send(event.event, event.id)
        except Busy as error:
            with self._asked:
                self._busy += 1
                seconds = self._wait(self._busy) if error.seconds is None else min(error.seconds, LONGEST_WAIT)
                self._quiet_until = max(self._quiet_until, time.time() + seconds)
            log.info("%s; nothing is sent for %.1f s", error, seconds)
            return False
        self._busy = 0
        return True

    def _pause(self, flying: dict[Future[bool], Waiting]) -> float:
        """Seconds until there is something to do that nothing wakes us for."""
        if len(flying) >= self._room():
            return _GLANCE
        due = self.outbox.next_due([event.number for event in flying.values()])
        if due is None:
            return _GLANCE
        return min(max(due - time.time(), self._quiet_until - time.time(), 0.0), _GLANCE)

    def _settle(self, flying: dict[Future[bool], Waiting], done: Delivery) -> None:
        """Write down what became of the events that were sent."""
        delivered: list[Waiting] = []
        later: list[tuple[Waiting, float]] = []
        dead: list[tuple[Waiting, str]] = []
        landed = [future for future in flying if future.done()]
        for future in landed:
            error = None if future.cancelled() else future.exception()
            if error is not None:
                tried = replace(flying[future], tries=flying[future].tries + 1)
                if isinstance(error, Refused) or tried.tries >= self._tries:
                    dead.append((tried, _reason(error)))
                else:
                    later.append((tried, time.time() + self._wait(tried.tries)))
                    log.info("event %d: try %d failed: %s", tried.number, tried.tries, _reason(error))
            elif not future.cancelled() and future.result():
                delivered.append(flying[future])
        if delivered or later:
            self.outbox.settle(delivered, later=later)
            done.delivered += len(delivered)
            done.retried += len(later)
        if dead:
            # First, so that a crash in between loses none.
            append_lines(self.dead_letters, [_dead_letter(event, reason) for event, reason in dead])
            self.outbox.settle(dead=[event for event, _ in dead])
            done.dead += len(dead)
            for event, reason in dead:
                log.warning("event %d is given up after %d tries: %s", event.number, event.tries, reason)
        for future in landed:
            del flying[future]


class _Feed:
    """An iterator that takes back."""

    def __init__(self, events: Iterable[Any]) -> None:
        self._events = iter(events)
        self._back: list[Any] = []
        self._drained = False

    @property
    def ended(self) -> bool:
        return self._drained and not self._back

    def take(self, count: int) -> list[Any]:
        taken, self._back = self._back[: max(count, 0)], self._back[max(count, 0) :]
        more = max(count, 0) - len(taken)
        fresh = [] if self._drained else list(islice(self._events, more))
        self._drained = self._drained or len(fresh) < more
        return taken + fresh

    def give_back(self, events: list[Any]) -> None:
        self._back = events + self._back


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Append lines to a file, all or none; they are on disk when this returns.

    Raises:
        DeliveryError: They cannot be written.
    """
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as handle:
            size = handle.seek(0, os.SEEK_END)
            # A line that a power failure cut off must not spoil the next one.
            cut = size > 0 and os.pread(handle.fileno(), 1, size - 1) != b"\n"
            data = ("\n" * cut + "".join(line + "\n" for line in lines)).encode()
            try:
                while data:
                    data = data[handle.write(data) :]
                os.fsync(handle.fileno())
            except OSError:
                with suppress(OSError):
                    handle.truncate(size)
                raise
    except OSError as error:
        raise DeliveryError(
            f"the dead letters {path} cannot be written: {error.strerror or error}; their events stay in the outbox: "
            "run again when that is mended"
        ) from error


def _dead_letter(event: Waiting, reason: str) -> str:
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return json.dumps({"when": when, "reason": reason, "tries": event.tries, "event": event.event})


def _reason(error: BaseException) -> str:
    """What may be said of an error: a stranger's message may hold what was said."""
    return str(error) if isinstance(error, AsrError) else f"sending ended with {type(error).__name__}"


def _waits(first: float, longest: float) -> Callable[[int], float]:
    """Return the seconds to wait after so many failed tries: drawn at random, from a range that doubles."""
    try:
        from tenacity import RetryCallState, Retrying, wait_random_exponential
    except ImportError:
        raise MissingExtraError("delivery needs the package tenacity; install dialect-asr[intent]") from None
    draw = wait_random_exponential(multiplier=first, max=longest)

    # Tries and times stand in the outbox, where a crash does not reset them: tenacity draws, it does not sleep.
    def wait(failed: int) -> float:
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = failed
        return float(draw(state))

    return wait
