"""Runaway output: a decoder that found no end and repeats itself."""

from __future__ import annotations

import zlib

# Whisper's own limit, above which it decodes again at a higher temperature.
RUNAWAY_RATIO = 2.4


def compression_ratio(text: str) -> float:
    """Return the length of the text in UTF-8 over its zlib length, as Whisper does; 0 for an empty text."""
    # Half of a surrogate pair, legal in JSON, must not stop a report.
    data = text.encode("utf-8", errors="replace")
    return len(data) / len(zlib.compress(data))


def is_runaway(text: str) -> bool:
    """Tell whether an output as it was written, not normalised, compresses like a loop."""
    return compression_ratio(text) > RUNAWAY_RATIO
