"""The typed schema of ``configs/``: Hydra composes, these dataclasses check, and nothing below takes a config."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BeforeValidator

from asr.data.augment import AugmentOptions
from asr.errors import ConfigError
from asr.files import atomic_write
from asr.model.adapt import AdaptMode, LoraOptions
from asr.model.network import Window
from asr.options import Options, build_options
from asr.training.run import DataOptions, TrainerOptions
from asr.training.task import OptimOptions

# The configuration of a run, in its folder.
SAVED = "config.yaml"


def _several(value: object) -> object:
    """Read one path as a list of one."""
    return (value,) if isinstance(value, str) else value


Paths = Annotated[tuple[str, ...], BeforeValidator(_several)]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Group ``model``.

    Attributes:
        name: A base model's name, or a path: a checkpoint, a Hugging Face or CTranslate2 folder.
        window: The window that is trained for.
        margin: Seconds of silence after a fragment at inference, in a tight window.
    """

    name: str
    window: Window = "tight"
    margin: float = 0.5


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """Group ``adapter``.

    Attributes:
        mode: Which weights learn.
        lora: Sizes of the adapters when the mode is ``lora``.
    """

    mode: AdaptMode = "full"
    lora: LoraOptions = field(default_factory=LoraOptions)


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Group ``data``; see `asr.training.run.DataOptions` and `asr.data.batch.BatchOptions`."""

    train: Paths
    dev: Paths = ()
    weights: tuple[float, ...] = ()
    batch_seconds: float = 80.0
    workers: int = 1
    margin: tuple[float, float] = (0.1, 1.0)
    timestamps: float = 0.1

    def options(self) -> DataOptions:
        """Return what the loaders need."""
        return DataOptions(self.train, self.weights, self.dev, self.batch_seconds, self.workers)


@dataclass(frozen=True, slots=True)
class AugmentConfig(AugmentOptions):
    """Group ``augment``; speeds are chosen when a batch is drawn, the rest happens on the device."""

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything ``scripts/train.py`` needs.

    Attributes:
        run: Folder of the run.
        resume: Folder of a run to go on with, instead of a new one.
        seed: Of everything random.
    """

    model: ModelConfig
    data: DataConfig
    run: str
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimOptions = field(default_factory=OptimOptions)
    trainer: TrainerOptions = field(default_factory=TrainerOptions)
    resume: str | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class DecodeConfig:
    """Group ``decode``.

    Attributes:
        beam_size: None decodes greedily.
    """

    beam_size: int | None = None


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Everything ``scripts/evaluate.py`` needs.

    Attributes:
        model: The system: a checkpoint, or a base model's name.
        test: Manifests, by the name that each test set has in the report.
        baseline: What it is compared with on the same fragments; None compares with nothing.
        output: The JSON file of the report; None writes none.
        decode: How both search for text.
        device: ``cpu``, ``cuda`` or ``auto``.
        batch_seconds: Most seconds of encoder window decoded at once.
        workers: Threads that load audio.
        resamples: Draws behind each interval.
        seed: Of the draws.
    """

    model: str
    test: dict[str, str]
    baseline: str | None = None
    output: str | None = None
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    device: str = "auto"
    batch_seconds: float = 240.0
    workers: int = 2
    resamples: int = 2000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TranscribeConfig:
    """Everything ``scripts/transcribe.py`` needs: the flags of ``asr transcribe``, which says what they mean."""

    inputs: Paths
    model: str = "base"
    format: str = "json"
    output_dir: str = "transcripts"
    language: str | None = None
    dialect: str | None = None
    device: str = "auto"
    batch_seconds: float = 240.0
    workers: int = 2
    overwrite: bool = False
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def arguments(self) -> list[str]:
        """Return the command line that means the same."""
        given = asdict(self) | {"beam_size": self.decode.beam_size}
        flags = {name: value for name, value in given.items() if name not in ("inputs", "decode", "overwrite")}
        words = [
            word
            for name, value in flags.items()
            if value is not None
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]
        return ["transcribe", *words, *(["--overwrite"] if self.overwrite else []), "--", *self.inputs]


def to_options(config: DictConfig, kind: type[Options]) -> Options:
    """Check what Hydra composed.

    Raises:
        ConfigError: A key is not known, a value is missing or not accepted.
    """
    try:
        table: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        raise ConfigError(f"{key!r} needs a value; give it as {key}=…") from error
    return build_options(kind, table, "the configuration")


def write_config(config: TrainConfig, folder: Path) -> None:
    """Write a run's configuration into its folder."""
    with atomic_write(folder / SAVED) as handle:
        handle.write(yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True))


def plain(config: TrainConfig) -> dict[str, Any]:
    """Return a configuration in plain types, as YAML and a checkpoint hold it."""
    table: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return table


def saved_config(asked: TrainConfig, overrides: Sequence[str]) -> TrainConfig:
    """Return the configuration of the run that ``asked.resume`` names.

    Args:
        asked: What was composed now.
        overrides: What was said on the command line; if anything beside ``resume`` was, it must agree with the run.

    Raises:
        ConfigError: There is no such run, or an override contradicts it.
    """
    assert asked.resume is not None
    folder = Path(asked.resume)
    try:
        table = yaml.safe_load((folder / SAVED).read_text("utf-8"))
    except OSError:
        raise ConfigError(f"{folder} is no run: there is no {SAVED} in it; resume= takes the folder of a run") from None
    saved = build_options(TrainConfig, table, str(folder / SAVED))
    if any(not override.startswith(("resume=", "run=")) for override in overrides):
        before, now = dict(_leaves(plain(saved))), dict(_leaves(plain(asked)))
        wrong = [key for key in now if key not in ("resume", "run") and now[key] != before.get(key)]
        if wrong:
            raise ConfigError(
                f"resume={folder} goes on with the run's own configuration, but {wrong[0]!r} would change from "
                f"{before.get(wrong[0])!r} to {now[wrong[0]]!r}; leave it out, or start a new run"
            )
    return replace(saved, run=str(folder), resume=str(folder))


def _leaves(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
