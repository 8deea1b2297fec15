"""Gives memory that is free back to the system: batches of ever other shapes leave it in ever more pieces."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Give what is free back, where the C library would keep it: an archive's process held three times what it used."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
