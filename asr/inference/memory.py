"""Gives memory that is free back to the system: batches of ever other shapes leave it in ever more pieces."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

# mallopt(3): blocks of so many bytes or more are mapped each for itself.
_M_MMAP_THRESHOLD = -3
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


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
