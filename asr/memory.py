"""Whether memory that is free goes back to the system: batches of ever other shapes leave it in ever more pieces."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

# mallopt(3): how much may lie free at the heap's end, from how many bytes on a block is mapped for itself, and how many
# such blocks there may be.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_LARGE = 1 << 20


def give_back() -> None:
    """Give what is free back, where the C library would keep it."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def give_back_at_once() -> None:
    """Let large blocks go back whenever they are free, from now on.

    For a server, whose free pieces would else become more for thousands of requests. The system must clear every block
    anew, which costs an archive's large batches more time than they have to give.
    """
    option = _of_glibc("mallopt")
    if option is not None:
        option(_M_MMAP_THRESHOLD, _LARGE)


def take_large_pages() -> None:
    """Let torch take its large blocks in pages of 2 MB on a processor, of which there are few to look up.

    torch asks once, before its first tensor: later this changes nothing. Who has set it otherwise is not overruled.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def keep() -> None:
    """Let nothing go back, from now on.

    For a training on a processor, of which each step needs the gigabytes that the last one has freed: the system would
    clear them anew.
    """
    option = _of_glibc("mallopt")
    if option is not None:
        option(_M_MMAP_MAX, 0)
        option(_M_TRIM_THRESHOLD, -1)


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
