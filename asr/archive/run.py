"""Runs an archive: looks what is there, cuts the rest into blocks, has them done, and writes them in order."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any, Protocol

from asr.archive.blocks import BATCHES, Block, Source, cut
from asr.archive.output import Earlier, Output, mark_of, moved
from asr.archive.tally import Tally
from asr.archive.work import Mark, Settings, Worker, head, marks

# A block, and what is known of its items: see `Worker.lines`.
Task = tuple[Block, list[Mark | None]]
# A block, and the lines of its items; None where what is known holds.
Made = tuple[Block, list[bytes | None]]
# Called when so many items more are done, with what became of all of them so far.
Progress = Callable[[int, Tally], None]


class Runner(Protocol):
    """Where blocks are done."""

    def start(self) -> float:
        """Make ready, and return the seconds of encoder window that any item takes at least."""

    def run(self, tasks: Iterable[Task], progress: Callable[[int], None]) -> Generator[Made, None, None]:
        """Do all blocks, and yield them in order."""


class LocalRunner:
    """This process: one block after the other, recordings read in threads.

    Args:
        settings: How.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: Worker | None = None

    def start(self) -> float:
        """Load the model; see `Runner.start`."""
        self._worker = Worker(self._settings)
        return self._worker.window

    def run(self, tasks: Iterable[Task], progress: Callable[[int], None]) -> Generator[Made, None, None]:
        """See `Runner.run`."""
        if self._worker is None:
            raise RuntimeError("start comes before run")
        for block, known in tasks:
            lines: list[bytes | None] = [None] * len(block)
            for place, line in self._worker.lines(block, known):
                lines[place] = line
                progress(1)
            yield block, lines


def transcribe_archive(
    sources: Callable[[], Iterator[Source]], output: Output, settings: Settings, runner: Runner, progress: Progress
) -> Tally:
    """Bring a file of lines to hold one line per item, in their order; what is in it and still holds stays.

    Args:
        sources: Begins the stream of items anew.
        output: The file.
        settings: How they are transcribed.
        runner: Who does it.
        progress: Told of every item that is done.

    Returns:
        What became of the items.

    Raises:
        ConfigError: The file holds something else, or transcripts of other items alone.
        AsrError: As of `Settings.load`.
    """
    tally = Tally()
    there = _check(sources, output, settings, tally, progress)
    if next(islice(sources(), there, None), None) is None:
        output.done()
        return tally
    least = runner.start()
    began = time.perf_counter()
    earlier = output.earlier()

    def tasks() -> Iterator[Task]:
        for block in _after(there, cut(sources(), BATCHES * settings.batch_seconds, least, settings.workers)):
            lines = (earlier.line(item.source) for item in block)
            yield block, [None if line is None else mark_of(line) for line in lines]

    def advance(items: int) -> None:
        tally.seconds = time.perf_counter() - began
        progress(items, tally)

    with closing(runner.run(tasks(), advance)) as results:
        for block, lines in results:
            output.append(_told(block, lines, earlier, tally))
            tally.seconds = time.perf_counter() - began
    output.done()
    return tally


def _check(
    sources: Callable[[], Iterator[Source]], output: Output, settings: Settings, tally: Tally, progress: Progress
) -> int:
    """Count the lines that still hold, from the first on, and put the others aside."""
    count = end = 0
    if output.empty:
        return 0
    waiting: deque[Source] = deque()

    def watched() -> Iterator[Source]:
        for source in sources():
            waiting.append(source)
            yield source

    with closing(marks(watched(), settings.digest(), settings.workers)) as found:
        for place, line in output.lines():
            mark = next(found, None)
            if mark is None or mark != mark_of(line) or not head(waiting[0]).items() <= line.items():
                break
            waiting.popleft()
            count, end = count + 1, place
            _count(line, tally, kept=True)
            progress(1, tally)
    output.cut(end, sources())
    return count


def _after(count: int, blocks: Iterator[Block]) -> Iterator[Block]:
    """Leave out the first items; where blocks begin and end does not depend on that."""
    for block in blocks:
        if count < len(block):
            yield block[count:]
        count = max(0, count - len(block))


def _told(block: Block, lines: list[bytes | None], earlier: Earlier, tally: Tally) -> Iterator[bytes]:
    """Yield the lines of a block, and count them."""
    for item, made in zip(block, lines, strict=True):
        if made is not None:
            _count(json.loads(made), tally, kept=False)
            yield made
        elif before := earlier.line(item.source):
            _count(before, tally, kept=True)
            yield moved(before, item.source)


def _count(line: dict[str, Any], tally: Tally, *, kept: bool) -> None:
    if "error" in line:
        tally.failures[line["error_kind"]] += 1
    elif kept:
        tally.kept += 1
    else:
        tally.heard(line["duration"], line["fallbacks"])
