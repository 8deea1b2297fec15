"""What waits to be heard, and the thread that hears it: all that waits and fits together is heard at once."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from asr.audio import SAMPLE_RATE
from asr.errors import AsrError
from asr.server.measures import Measures
from asr.transcript import Transcript

log = logging.getLogger(__name__)

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Wish:
    """How a recording is to be heard; what is heard at once must have the same.

    Attributes:
        language: Whisper's code; None is detected.
        dialect: BCP 47 tag, or None.
        prompt: Text that goes before.
        words: Whether each word's time is wanted.
        cut: Whether it was cut to what was said in one breath: then no speech is looked for in it, and what the model
            does not believe is not decoded again, which takes time.
    """

    language: str | None = None
    dialect: str | None = None
    prompt: str | None = None
    words: bool = False
    cut: bool = False


# Hears several recordings with one wish; gives a transcript or an error for each, in order.
Hear = Callable[[Sequence[Samples], Wish], Generator[Transcript | AsrError, None, None]]


@dataclass(eq=False, slots=True)
class _Job:
    samples: Samples
    wish: Wish
    future: Future[Transcript] = field(default_factory=Future)


class Queue:
    """Hears in one thread: more would share the same cores.

    Args:
        hear: Hears a batch.
        window: How many seconds of encoder window some samples take.
        batch_seconds: Most of those in a batch.
        measures: Counted up.
    """

    def __init__(
        self, hear: Hear, window: Callable[[int], float], batch_seconds: float, measures: Measures | None = None
    ) -> None:
        self._hear = hear
        self._window = window
        self._batch_seconds = batch_seconds
        self._measures = measures or Measures()
        self._measures.waiting.set_function(lambda: len(self))
        self._changed = threading.Condition()
        # Those of live speech come first: somebody waits for each word.
        self._live: list[_Job] = []
        self._waiting: list[_Job] = []
        self._closed = False
        self._began: float | None = None
        self._thread = threading.Thread(target=self._work, name="hear", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._live) + len(self._waiting)

    def submit(self, samples: Samples, wish: Wish, *, live: bool = False) -> Future[Transcript]:
        """Let samples [N] be heard; a future that is cancelled gives up its place.

        The future raises `AsrError` for what is wrong with the samples or the wish.
        """
        job = _Job(samples, wish)
        job.future.add_done_callback(lambda _: self._leave(job))
        with self._changed:
            if self._closed:
                raise AsrError("the server is being stopped; ask again in a moment")
            (self._live if live else self._waiting).append(job)
            self._changed.notify()
        return job.future

    def stuck(self, seconds: float) -> str | None:
        """Why nothing is heard any more, or None."""
        if not self._thread.is_alive():
            return "the thread that hears has ended"
        began = self._began
        if began is not None and time.monotonic() - began > seconds:
            return f"a batch has been in work for more than {seconds:g} s"
        return None

    def close(self) -> None:
        """Hear what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _leave(self, job: _Job) -> None:
        if job.future.cancelled():
            with self._changed:
                for jobs in (self._live, self._waiting):
                    if job in jobs:
                        jobs.remove(job)

    def _work(self) -> None:
        while batch := self._draw():
            begun = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if begun:
                self._began = time.monotonic()
                self._work_on(begun)
                self._began = None

    def _draw(self) -> list[_Job]:
        """Wait for a job, and return it with those that fit; none after the end."""
        with self._changed:
            self._changed.wait_for(lambda: len(self) or self._closed)
            jobs = self._live or self._waiting
            batch: list[_Job] = []
            longest = 0.0
            for job in jobs:
                longest = max(longest, self._window(len(job.samples)))
                if batch and (job.wish != batch[0].wish or longest * (len(batch) + 1) > self._batch_seconds):
                    longest = max(self._window(len(one.samples)) for one in batch)
                    continue
                batch.append(job)
            for job in batch:
                jobs.remove(job)
            return batch

    def _work_on(self, batch: list[_Job]) -> None:
        left = list(batch)
        began = time.monotonic()
        try:
            with closing(self._hear([job.samples for job in batch], batch[0].wish)) as results:
                for result in results:
                    job = left.pop(0)
                    if isinstance(result, Transcript):
                        job.future.set_result(result)
                    else:
                        job.future.set_exception(result)
        except AsrError as error:
            for job in left:
                job.future.set_exception(error)
        except Exception as error:
            # Its message may hold what somebody said.
            log.error("hearing failed: %s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
            for job in left:
                job.future.set_exception(RuntimeError("hearing failed"))
        seconds = sum(len(job.samples) for job in batch) / SAMPLE_RATE
        self._measures.heard(len(batch), seconds, time.monotonic() - began)
