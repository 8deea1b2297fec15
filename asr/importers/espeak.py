"""Speaks text with espeak-ng, the same bytes for the same request whatever was spoken before.

The shared library and its voices come in the wheel ``espeakng-loader``. espeak-ng 1.52 keeps state from one
utterance to the next (the phase of its pitch flutter, its place within a glottal cycle, the random numbers of
breath) and offers no call that resets it: of 624 requests spoken in four different orders, 528 gave different
bytes, with its seed set and with the library initialised again. Unloading and loading the library resets
everything, as long as nothing else in the process holds it; it costs about 3 ms, and leaves about 15 kB
unfreed, an utterance.
"""

from __future__ import annotations

import _ctypes
import ctypes
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import AsrError, ConfigError, MissingExtraError

ESPEAK_SAMPLE_RATE = 22050

# Names and values of espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_CHARACTERS = 1
_UTF8 = 1
# Mnemonics between double square brackets are spoken as they stand.
_PHONEMES = 0x100
_RATE, _PITCH, _RANGE = 1, 3, 4

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

# The library is one set of global variables.
_lock = threading.Lock()


def speak(text: str, voice: str, rate: int = 175, pitch: int = 50, pitch_range: int = 50) -> NDArray[np.int16]:
    """Speak a text.

    Args:
        text: Plain text; punctuation shapes the tune. Between ``[[`` and ``]]``, mnemonics as from `phonemes`.
        voice: Name of a language file of espeak-ng and, after a plus sign, of a variant: ``fr-be+m3``.
        rate: Words per minute, 80 to 450.
        pitch: Base pitch, 0 to 100.
        pitch_range: How lively the melody is, 0 to 100; 0 is a monotone.

    Returns:
        [samples] at `ESPEAK_SAMPLE_RATE`.

    Raises:
        ConfigError: There is no such voice, or a value is out of range.
        MissingExtraError: espeakng-loader is not installed.
        AsrError: The library cannot be loaded or gives no sound.
    """
    if not (80 <= rate <= 450 and 0 <= pitch <= 100 and 0 <= pitch_range <= 100):
        raise ConfigError(
            "espeak-ng accepts rates of 80 to 450 words a minute and pitches of 0 to 100, "
            f"found rate {rate}, pitch {pitch}, pitch range {pitch_range}"
        )
    if "\0" in text:
        raise ConfigError("a text to speak must not hold a NUL character; remove it")
    # An unknown variant would silently be spoken in the plain voice.
    _, _, variant = voice.partition("+")
    if variant and variant not in variants():
        raise ConfigError(f"espeak-ng has no voice variant {variant!r}; it has {', '.join(sorted(variants()))}")
    chunks: list[bytes] = []

    def collect(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, count * 2))
        return 0

    callback = _Callback(collect)
    with _lock:
        library = _load()
        try:
            library.espeak_SetSynthCallback(callback)
            if library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise ConfigError(f"espeak-ng has no voice {voice!r}; its voices are the files in its 'lang' folder")
            for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
                library.espeak_SetParameter(parameter, value, 0)
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))
            # The Klatt voices draw their noise from the C library's rand(), found through the library's own links.
            library.srand(1)
            data = text.encode()
            flags = _UTF8 | _PHONEMES
            status = library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, _CHARACTERS, 0, flags, None, None)
        finally:
            _unload(library)
    if status != 0 or not chunks:
        raise AsrError(f"espeak-ng gave no sound for a text of {len(text)} characters in voice {voice!r}")
    return np.frombuffer(b"".join(chunks), dtype=np.int16)


@cache
def phonemes(word: str, voice: str) -> str:
    """Return a word in espeak-ng's own mnemonics: ``lW~d'i`` for the French *lundi*.

    Raises:
        ConfigError: There is no such voice.
        MissingExtraError: espeakng-loader is not installed.
    """
    with _lock:
        library = _load()
        try:
            if library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise ConfigError(f"espeak-ng has no voice {voice!r}; its voices are the files in its 'lang' folder")
            library.espeak_TextToPhonemes.restype = ctypes.c_char_p
            rest = ctypes.c_char_p(word.encode())
            return str(library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, 0).decode())
        finally:
            _unload(library)


def version() -> str:
    """Return the version of the espeak-ng library, such as ``1.52.0``.

    Raises:
        MissingExtraError: espeakng-loader is not installed.
    """
    with _lock:
        library = _load()
        try:
            library.espeak_Info.restype = ctypes.c_char_p
            return str(library.espeak_Info(None).decode())
        finally:
            _unload(library)


def variants() -> frozenset[str]:
    """Return the names of the voice variants, each good for ``voice+variant``.

    Raises:
        MissingExtraError: espeakng-loader is not installed.
    """
    folder = Path(_loader().get_data_path()) / "voices" / "!v"
    return frozenset(path.name for path in folder.iterdir())


def _loader() -> Any:
    try:
        import espeakng_loader
    except ImportError:
        raise MissingExtraError(
            "speaking synthetic fragments needs espeakng-loader, which is not installed; "
            "install it with: pip install dialect-asr[demo]"
        ) from None
    return espeakng_loader


def _load() -> Any:
    loader = _loader()
    try:
        library = ctypes.CDLL(loader.get_library_path())
    except OSError as error:
        raise AsrError(f"the espeak-ng library of espeakng-loader cannot be loaded: {error}") from error
    data = str(loader.get_data_path())
    if library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _DO_NOT_EXIT) != ESPEAK_SAMPLE_RATE:
        _unload(library)
        # espeak-ng keeps this path in a buffer of 160 bytes.
        raise AsrError(
            f"espeak-ng cannot read its voices in {data} (a path of {len(data.encode())} bytes, "
            "150 are safe); install espeakng-loader in an environment with a shorter path"
        )
    return library


def _unload(library: Any) -> None:
    library.espeak_Terminate()
    if sys.platform == "win32":
        _ctypes.FreeLibrary(library._handle)
    else:
        _ctypes.dlclose(library._handle)
