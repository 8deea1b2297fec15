"""Changed voices for the copy that annotators hear: the methods by name, and what every one of them must keep.

A changed voice is pseudonymised, not anonymous: scripts/benchmark_voice.py measures how often it is still told whose it
is. What a method draws by chance is a function of a secret key and the fragment's id, so that a copy can be made again,
and that two fragments of one speaker have no drawn value in common.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from asr.errors import AudioError, ConfigError
from asr.privacy.world import change_by_world

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class VoiceKey:
    """What a method may draw its chances from.

    Attributes:
        seed: 32 secret bytes, of one fragment; shown nowhere.
    """

    seed: bytes = field(repr=False)

    def random(self) -> np.random.Generator:
        """Return a generator that always gives the same numbers for the same key."""
        return np.random.default_rng(int.from_bytes(self.seed, "big"))


class VoiceChange(Protocol):
    """Makes another voice of samples, mono at 16 kHz, [n] to [n]; it says the same words with the same tune."""

    def __call__(self, samples: FloatArray, key: VoiceKey) -> FloatArray:
        """Return the changed samples."""
        ...


def _world(samples: FloatArray, key: VoiceKey) -> FloatArray:
    return change_by_world(samples, key.random())


METHODS: dict[str, VoiceChange] = {"world": _world}
"""The methods by name. A model is plugged in here: ``METHODS["mine"] = function``."""


def voice_key(key: bytes, fragment_id: str) -> VoiceKey:
    """Return what a fragment's change draws from: HMAC-SHA256 of its id, which nobody can redo without the key."""
    return VoiceKey(hmac.digest(key, f"voice\0{fragment_id}".encode(), hashlib.sha256))


def find_method(name: str) -> VoiceChange:
    """Return a method by its name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in METHODS:
        raise ConfigError(f"there is no voice change {name!r}; there are {', '.join(sorted(METHODS))}")
    return METHODS[name]


def change_voice(samples: FloatArray, key: VoiceKey, method: VoiceChange = METHODS["world"]) -> FloatArray:
    """Change a voice, and see to it that nothing else changes: the length and the level stay.

    Args:
        samples: Float32 [n], mono at 16 kHz.
        key: What the method draws from.
        method: See `find_method`.

    Returns:
        Float32 [n], at the level of the samples, or as near below it as full scale lets it.

    Raises:
        AudioError: The samples are no float32 [n], none at all, or some are NaN or infinite; or what the method returns
            is of another length, or not finite.
    """
    if samples.ndim != 1 or samples.dtype != np.float32 or not len(samples):
        raise AudioError(
            f"a voice is changed in float32 [n] at 16 kHz, found {samples.dtype} {list(samples.shape)}; load it with "
            "asr.audio.load_audio"
        )
    if not np.isfinite(samples).all():
        raise AudioError("the samples hold NaN or infinite values; repair or leave out the recording")
    peak = float(np.abs(samples).max())
    if peak == 0:
        return samples.copy()
    # Methods hear everything at full scale, so that what is quiet is changed like what is loud.
    heard = samples / np.float32(peak)
    changed = np.asarray(method(heard, key), np.float64)
    if changed.shape != samples.shape or not np.isfinite(changed).all():
        raise AudioError(
            f"the voice change returned {list(changed.shape)} samples for {list(samples.shape)}, or NaN among them; a "
            "method must keep the length and be finite"
        )
    loudness = np.sqrt(np.square(changed).mean())
    wanted = np.sqrt(np.square(samples, dtype=np.float64).mean())
    # A change that leaves nothing cannot be brought back to its level.
    gain = wanted / loudness if loudness > 0 else 0.0
    highest = gain * np.abs(changed).max()
    return np.asarray(changed * (gain / max(1.0, highest)), np.float32)
