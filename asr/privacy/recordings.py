"""Recordings written anew, so that nothing but the sound is left of the file that they come from."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from asr.audio import SAMPLE_RATE
from asr.audio.sources import Samples
from asr.errors import AudioError
from asr.files import atomic_write

# FLAC (RFC 9639): the mark, then metadata blocks of one byte of kind (its highest bit: the last one) and three of size.
_MARK, _LAST, _STREAMINFO = b"fLaC", 0x80, 34


def write_plain(path: str | Path, samples: Samples) -> None:
    """Write samples as a mono FLAC of 16 bits at `SAMPLE_RATE` that carries no tag, not even its encoder's name.

    Of 16-bit mono sources at that rate every sample stays what it was. What is louder than full scale is cut off there.

    Args:
        path: The file; missing folders are created, and a failure leaves no half of it.
        samples: ``[n]``, nominally in -1 to 1.
    """
    whole = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, whole, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    with atomic_write(path, "wb") as handle:
        handle.write(_without_metadata(buffer.getbuffer()))


def _without_metadata(flac: memoryview) -> bytes:
    """Keep the stream's own description (length, rate, checksum of the samples) and the sound; drop all else."""
    first = len(_MARK)
    body = first + 4
    if flac[:first] != _MARK or flac[first] & ~_LAST or int.from_bytes(flac[first + 1 : body], "big") != _STREAMINFO:
        raise AudioError("the FLAC encoder wrote no stream description; install another version of soundfile")
    position, last = body + _STREAMINFO, flac[first] & _LAST
    description = flac[body:position]
    while not last:
        last = flac[position] & _LAST
        position += 4 + int.from_bytes(flac[position + 1 : position + 4], "big")
    return b"".join((_MARK, bytes([_LAST]), _STREAMINFO.to_bytes(3, "big"), description, flac[position:]))
