"""Choices that depend on a seed and a key only: not on order, on other keys, or on the Python version."""

from __future__ import annotations

import hashlib

from asr.errors import ConfigError


def fraction(seed: int, *key: str) -> float:
    """Return a number in [0, 1), evenly spread over keys.

    Args:
        seed: Another seed gives unrelated numbers.
        key: Parts of the key; ``("a", "b")`` and ``("ab",)`` are different keys.
    """
    data = "\0".join((str(seed), *key)).encode()
    return int.from_bytes(hashlib.sha256(data).digest()[:6], "big") / 2**48


def split_of(key: str, seed: int, dev: float, test: float) -> str:
    """Return ``train``, ``dev`` or ``test``: always the same for a key, so that equal keys never part.

    Args:
        key: What must stay on one side, such as a normalised sentence.
        seed: Seed of the partition.
        dev: Expected share of keys in ``dev``, 0 to 1.
        test: Expected share of keys in ``test``, 0 to 1.
    """
    place = fraction(seed, "split", key)
    return "test" if place < test else "dev" if place < test + dev else "train"


def check_shares(dev: float, test: float) -> None:
    """Refuse shares that leave nothing to train on.

    Raises:
        ConfigError: A share is negative, or both together reach 1.
    """
    if dev < 0 or test < 0 or dev + test >= 1:
        raise ConfigError(f"'dev' and 'test' are shares whose sum must be below 1, found {dev:g} and {test:g}")
