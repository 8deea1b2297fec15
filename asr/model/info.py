"""What a checkpoint says about itself, as plain values that any of its files can hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError
from scipy.special import expit

from asr.errors import CheckpointError
from asr.model.heads import HeadSpec, log_odds
from asr.model.network import DialectWhisper, Window
from asr.weights.openai import OWN_ENTRY

FORMAT_VERSION = 1


@dataclass(frozen=True)
class WordConfidence:
    """How likely a word is right, by its tokens' mean probability: logistic regression on its log-odds (Platt 1999).

    Attributes:
        slope: Of the log-odds, above 0: what the decoder is surer of stays surer.
        intercept: Log-odds of a word to which the decoder gives one half.
    """

    slope: float
    intercept: float

    def of(self, probability: float) -> float:
        """The chance that a word is right, 0 to 1."""
        return float(expit(self.slope * log_odds(probability) + self.intercept))


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself; window, margin, tail and alignment heads are those of the saved model.

    Attributes:
        base_model: Name of the base model it was adapted from.
        window: The window it was trained for.
        margin: Seconds of silence after a fragment in a tight window.
        tail: Frames of silence that stand for all that follows a tight window.
        dialects: Dialect tag to the language it was trained under.
        tags: Dialects that the decoder was told in training, and can be told since.
        training_config: The resolved training configuration.
        metrics: Figures measured when it was saved.
        manifests: SHA-256 of every training manifest, by its name in the configuration.
        alignment_heads: (layer, head) pairs used for word times; filled in when it is saved.
        heads: What each head answers; filled in when it is saved.
        joined: Whether it learnt text from joined fragments too, and so goes on after a sentence.
        words: What words' probabilities are worth (`asr calibrate`); None leaves them as the decoder has them.
        format_version: Version of this entry.
    """

    base_model: str
    window: Window = "padded"
    margin: float = 0.5
    tail: int = 0
    dialects: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    training_config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    alignment_heads: list[list[int]] = field(default_factory=list)
    heads: dict[str, HeadSpec] = field(default_factory=dict)
    joined: bool = False
    words: WordConfidence | None = None
    format_version: int = FORMAT_VERSION


_INFO = TypeAdapter(CheckpointInfo)


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: the model, ready to run, and what the file says about it."""

    model: DialectWhisper
    info: CheckpointInfo


def info_of(model: DialectWhisper, info: CheckpointInfo, path: str | Path) -> dict[str, Any]:
    """Return what a file is to say about itself, as plain types.

    Args:
        model: Whose window, margin, tail, alignment heads and heads count.
        info: All else.
        path: Of the file, for messages.

    Raises:
        CheckpointError: ``info`` holds more than plain values.
    """
    heads = model.whisper.alignment_heads.to_dense().nonzero().tolist()
    specs = {name: model.head(name).spec for name in model.heads}
    info = replace(
        info,
        window=model.window,
        margin=model.margin,
        tail=model.tail,
        alignment_heads=heads,
        heads=specs,
    )
    try:
        entry: dict[str, Any] = _INFO.dump_python(info, mode="json")
    except PydanticSerializationError as error:
        raise CheckpointError(
            f"cannot save the checkpoint {path}: its metrics or training configuration hold more than numbers, texts, "
            f"lists and dictionaries ({error}); convert them first"
        ) from error
    return entry


def read_info(entry: object, path: Path) -> CheckpointInfo:
    """Check what a file says about itself.

    Raises:
        CheckpointError: It is of a newer format, or was not written by this package.
    """
    version = entry.get("format_version") if isinstance(entry, dict) else None
    if isinstance(version, int) and version < 1:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, which no version of this package has written; save it again"
        )
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, this version of the package reads up to {FORMAT_VERSION}; "
            "upgrade dialect-asr"
        )
    if isinstance(entry, dict) and entry.get("shortest"):
        raise CheckpointError(
            f"{path} was taught windows that last {entry['shortest']:g} s at least, which this version of the package "
            "does not make: silence is heard behind every window now (model.tail); train it again"
        )
    try:
        return _INFO.validate_python(entry)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (OWN_ENTRY, *first["loc"])))
        raise CheckpointError(
            f"{path} was not saved by this package, or was changed: {where}: {first['msg']}; save the checkpoint again"
        ) from None
