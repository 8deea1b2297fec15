"""The errors a user can act on: each message says what was found, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class AsrError(Exception):
    """Base of every error this package raises on purpose; the command line prints it as one sentence.

    Attributes:
        exit_code: What a script ends with.
    """

    exit_code: int = 1


class ManifestError(AsrError):
    """A manifest, or one line of it, cannot be used.

    Attributes:
        path: The manifest, when known.
        line: 1-based line number, when the fault lies in one line.
    """

    def __init__(self, message: str, path: str | Path | None = None, line: int | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.line = line
        place = "" if path is None else f" ({path}:{line})" if line is not None else f" ({path})"
        super().__init__(message + place)


class AudioError(AsrError):
    """A recording cannot be read: missing, empty, truncated, not audio, or the span lies outside it."""


class WeightsError(AsrError):
    """No usable weights were found for a base model; the message lists everything that was tried."""


class CheckpointError(AsrError):
    """A checkpoint is missing, cut short, of another format version, or of another model size."""


class TrainingError(AsrError):
    """Training cannot go on: a figure is not finite, or a device has too little memory."""


class LostProcessError(AsrError):
    """Another process of a training is gone or does not answer: what ran well may run on from the last state.

    Its exit code is sysexits' EX_UNAVAILABLE, so that what starts trainings can tell it from a fault in the data.
    """

    exit_code = 69


class ConfigError(AsrError):
    """A configuration value cannot work; the message names the key and the accepted values."""


class MissingExtraError(AsrError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class RecordError(AsrError):
    """The record of what was done cannot be written, or not be read; the message names its place."""


class DeliveryError(AsrError):
    """Events cannot be kept for delivery, or not be delivered; the message says why and what becomes of them."""


class Faults:
    """Counts errors that do not stop a stream, and keeps the first of them: a corpus can be wrong in every row.

    Attributes:
        count: Number of all errors.
        first: The first 20.
    """

    _KEPT = 20

    def __init__(self, errors: Iterable[AsrError] = ()) -> None:
        self.count = 0
        self.first: list[AsrError] = []
        for error in errors:
            self.add(error)

    def add(self, error: AsrError) -> None:
        """Count an error."""
        self.count += 1
        if len(self.first) < self._KEPT:
            self.first.append(error)
