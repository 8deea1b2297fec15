"""Cuts a stream of items into blocks: what is done whole, or done again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from asr.audio import probe
from asr.errors import AudioError, ManifestError
from asr.fragment import Fragment
from asr.inference.batches import read_ahead

# A recording's path, a fragment, or the error that describes a broken line of a manifest.
Source = str | Fragment | ManifestError

# Batches in a block. Sorted by length, 16 of them hold 9 % of padding where an endless stream has 12 % (lognormal
# lengths around 4 s); with fewer it is more, with more a kill costs more.
BATCHES = 16
# Most items of a block: short ones, and broken lines, which take no time at all.
MOST_ITEMS = 4096


@dataclass(frozen=True, slots=True)
class Item:
    """An item and how long it is.

    Attributes:
        source: What is to be heard.
        seconds: Its duration, as the manifest or the recording's header has it; 0 where it cannot be read.
    """

    source: Source
    seconds: float


Block = list[Item]


def cut(sources: Iterable[Source], block_seconds: float, least_seconds: float, workers: int) -> Iterator[Block]:
    """Cut items into blocks, by nothing but the items.

    Args:
        sources: The items; some are read ahead.
        block_seconds: Seconds after which a block is full.
        least_seconds: What an item counts for at least: the window, if it is padded.
        workers: Threads that read the headers of recordings whose duration no manifest says.
    """
    block: Block = []
    filled = 0.0
    with closing(read_ahead(lambda source: [_measured(source)], sources, workers=workers, depth=64 * workers)) as items:
        for item in items:
            block.append(item)
            filled += max(item.seconds, least_seconds) if item.seconds else 0.0
            if filled >= block_seconds or len(block) == MOST_ITEMS:
                yield block
                block, filled = [], 0.0
    if block:
        yield block


def _measured(source: Source) -> Item:
    if isinstance(source, ManifestError):
        return Item(source, 0.0)
    if isinstance(source, Fragment) and source.duration is not None:
        return Item(source, source.duration)
    path, start = (source.audio, source.start) if isinstance(source, Fragment) else (source, 0.0)
    try:
        return Item(source, max(0.0, probe(path).duration - start))
    except (AudioError, OSError):
        return Item(source, 0.0)
