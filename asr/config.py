"""The typed schema of ``configs/``: Hydra composes, these dataclasses check, and nothing below takes a config."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BeforeValidator, Field

from asr.data.augment import AugmentOptions
from asr.errors import ConfigError
from asr.export.targets import FRAGMENTS, TOLERANCE, Quantization, Target
from asr.expressions import BIAS
from asr.files import atomic_write
from asr.inference.batches import BATCH_SECONDS, WORKERS
from asr.intent.training import IntentOptions
from asr.model.adapt import AdaptMode, LoraOptions
from asr.model.network import TAIL, Window
from asr.options import Options, build_options
from asr.privacy.consent import ConsentCheck
from asr.training.heads import HeadOptions
from asr.training.optim import OptimOptions
from asr.training.run import DataOptions, TrainerOptions
from asr.training.tracking import LoggerOptions

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
        tail: Frames of silence that stand for all that follows a tight window, in training and at inference.
    """

    name: str
    window: Window = "tight"
    margin: Annotated[float, Field(ge=0)] = 0.2
    tail: Annotated[int, Field(ge=0, le=1500)] = TAIL


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """Group ``adapter``.

    Attributes:
        mode: Which weights learn.
        lora: Sizes of the adapters when the mode is ``lora``.
        encoder_blocks: How many blocks of the encoder learn when the mode is ``upper``, counted from the last.
    """

    mode: AdaptMode = "full"
    lora: LoraOptions = field(default_factory=LoraOptions)
    encoder_blocks: int = 3


@dataclass(frozen=True, slots=True)
class DataConfig(DataOptions):
    """Group ``data``; `asr.data.batch.BatchOptions` says what ``margin`` to ``tags`` mean.

    One manifest needs no list; a folder that `asr pack` has made will do, and an address in object storage of either.
    """

    train: Paths
    dev: Paths = ()
    margin: tuple[float, float] = (0.05, 0.5)
    timestamps: float = 0.1
    joined: Annotated[float, Field(ge=0, le=1)] = 0.1
    prompts: float = 0.1
    silence: float = 0.02
    tags: float = 0.0


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
        why: Stands in the record of what was done.
        consent_day: The run's first day, from whose consents its order is drawn; None is today.
        without_consent_check: Hear fragments whatever was consented to. It is written to the record.
    """

    model: ModelConfig
    data: DataConfig
    run: str
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimOptions = field(default_factory=OptimOptions)
    trainer: TrainerOptions = field(default_factory=TrainerOptions)
    logger: LoggerOptions = field(default_factory=LoggerOptions)
    heads: HeadOptions = field(default_factory=HeadOptions)
    resume: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    why: str = "training"
    # A date has no place in a checkpoint's plain types.
    consent_day: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    without_consent_check: bool = False

    @property
    def consent(self) -> ConsentCheck | None:
        """What is asked of the fragments.

        Raises:
            ConfigError: There is no such day.
        """
        if self.without_consent_check:
            return None
        try:
            began = date.fromisoformat(self.consent_day) if self.consent_day else date.today()
        except ValueError:
            raise ConfigError(f"'consent_day' is {self.consent_day!r}, and there is no such day") from None
        return ConsentCheck("training", began)


@dataclass(frozen=True, slots=True)
class DecodeConfig:
    """Group ``decode``.

    Attributes:
        beam_size: None decodes greedily.
        adapters: Folder of dialects' adapters of the model (``fr-CA.safetensors``); None for none. In an evaluation the
            system has them, the baseline has not.
        routing: Whose adapter a fragment takes whose dialect is not given: ``hard``, ``soft`` or ``given``.
        lexicon: File of a dialect's expressions, to lead the search to; None leads to none.
        bias: Natural-log bonus of every token of an expression; 0 only annotates.
        tag: Which dialect the decoder is told; `asr.inference.decoding.DecodeOptions` says how.
        n_best: How many different texts of a beam search are kept.
    """

    beam_size: int | None = None
    adapters: str | None = None
    routing: str = "hard"
    lexicon: str | None = None
    bias: Annotated[float, Field(ge=0, allow_inf_nan=False)] = BIAS
    tag: str = "auto"
    n_best: Annotated[int, Field(ge=1)] = 1


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Everything ``scripts/evaluate.py`` needs.

    Attributes:
        checkpoint: The system: a checkpoint, or a base model's name. (``model`` is a group, that of training.)
        test: Manifests, by the name that each test set has in the report.
        baseline: What it is compared with on the same fragments; None compares with nothing.
        output: The JSON file of the report; None writes none.
        pictures: Folder for pictures of how labels were told; None draws none.
        intent_model: Tells what the outputs ask for, compared with the fragments' ``intent``; None asks nothing.
        standard: The dialect, or the test set, that is standard speech, for the gap in intent retention.
        abilities: Measure long recordings, word times and silence too.
        as_recordings: Hear fragments as `asr transcribe` hears recordings; see `asr.evaluation.evaluate`.
        decode: How both search for text.
        baseline_tag: In the place of ``decode.tag`` for the baseline.
        device: ``cpu``, ``cuda`` or ``auto``.
        batch_seconds: Most seconds of encoder window decoded at once.
        workers: Threads that load audio.
        resamples: Draws behind each interval.
        seed: Of the draws.
        why: Stands in the record of what was done.
        without_consent_check: Hear fragments whatever was consented to. It is written to the record.
    """

    checkpoint: str
    test: dict[str, str]
    baseline: str | None = None
    output: str | None = None
    pictures: str | None = None
    intent_model: str | None = None
    standard: str | None = None
    abilities: bool = True
    as_recordings: bool = False
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    baseline_tag: str = "auto"
    device: str = "auto"
    batch_seconds: float = BATCH_SECONDS
    workers: int = WORKERS
    resamples: int = 2000
    seed: int = 0
    why: str = "evaluation"
    without_consent_check: bool = False


@dataclass(frozen=True, slots=True)
class TranscribeConfig:
    """Everything ``scripts/transcribe.py`` needs: the flags of ``asr transcribe``, which says what they mean.

    Its ``--model`` is ``checkpoint`` here: ``model`` is a group, that of training.
    """

    inputs: Paths
    checkpoint: str = "base"
    format: str | None = None
    output_dir: str | None = None
    output: str | None = None
    language: str | None = None
    dialect: str | None = None
    engine: str = "auto"
    replicas: int | None = None
    threads: int | None = None
    device: str = "auto"
    batch_seconds: float = BATCH_SECONDS
    workers: int = WORKERS
    words: bool = False
    runner: str = "local"
    processes: int | None = None
    overwrite: bool = False
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def arguments(self) -> list[str]:
        """Return the command line that means the same."""
        given = asdict(self) | {"model": self.checkpoint} | asdict(self.decode)
        if self.output is None:
            given |= {"format": self.format or "json", "output_dir": self.output_dir or "transcripts"}
        flags = {name: value for name, value in given.items() if name not in ("inputs", "checkpoint", "decode")}
        return ["transcribe", *_flags(flags), "--", *self.inputs]


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """Everything ``scripts/export.py`` needs: the flags of ``asr export``, which says what they mean."""

    checkpoint: str
    output: str
    to: Target = "ctranslate2"
    check: str | None = None
    without_check: bool = False
    fragments: int = FRAGMENTS
    tolerance: float = TOLERANCE
    quantization: Quantization = "int8"
    why: str = "evaluation"
    without_consent_check: bool = False

    def arguments(self) -> list[str]:
        """Return the command line that means the same."""
        flags = asdict(self)
        checkpoint = flags.pop("checkpoint")
        return ["export", *_flags(flags), "--", checkpoint]


@dataclass(frozen=True, slots=True)
class TrainIntentConfig:
    """Everything ``scripts/train_intent.py`` needs.

    Attributes:
        train: Files of examples, JSON Lines with ``text``, ``intent`` and ``language``.
        dev: The same, to calibrate on and to choose the threshold on; without it, folds of ``train`` serve.
        test: The same, to measure the model on.
        output: The file of the model; its metrics go beside it, with the ending ``.json``.
        heard: File of a recogniser's errors, JSON Lines with ``text`` and ``heard``; None trains on texts as they are.
        intent: How it is trained.
    """

    train: Paths
    output: str
    dev: Paths = ()
    test: Paths = ()
    heard: str | None = None
    intent: IntentOptions = field(default_factory=IntentOptions)


def to_options(config: DictConfig, kind: type[Options]) -> Options:
    """Check what Hydra composed.

    Raises:
        ConfigError: A key is not known, a value is missing or not accepted.
    """
    try:
        table: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key!r} needs a value; give it as {error.full_key}=…") from error
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere
        raise ConfigError(f"{error.full_key!r}: {str(error).splitlines()[0]} (the configuration)") from error
    return build_options(kind, table, "the configuration")


def write_config(config: TrainConfig, folder: Path) -> None:
    """Write a run's configuration into its folder."""
    with atomic_write(folder / SAVED) as handle:
        handle.write(yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True))


def of_multirun(config: TrainConfig, number: int, search: bool) -> TrainConfig:
    """Return the configuration of one of several runs that one command starts; each has its own folder.

    Args:
        config: As composed for it.
        number: Which one.
        search: Whether the next one is chosen by what this one reaches.

    Raises:
        ConfigError: It cannot be one of several, or reaches nothing that is measured.
    """
    if config.resume is not None:
        raise ConfigError(f"resume={config.resume} goes on with one run; leave --multirun and lists of values out")
    if config.trainer.devices * config.trainer.nodes > 1:
        raise ConfigError(
            "a multirun trains in one process, and trainer.devices times trainer.nodes is "
            f"{config.trainer.devices * config.trainer.nodes}; start each of these runs by itself"
        )
    if search and not config.data.dev:
        raise ConfigError("a search needs data.dev: on it is measured which run is best")
    return replace(config, run=f"{config.run}/{number}")


def plain(config: TrainConfig) -> dict[str, Any]:
    """Return a configuration in plain types, as YAML and a checkpoint hold it."""
    table: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return table


def saved_config(composed: DictConfig, overrides: Sequence[str]) -> TrainConfig:
    """Return the configuration of the run that ``resume`` names.

    Args:
        composed: What Hydra composed now; only what an override says is looked at.
        overrides: What was said on the command line; beside ``resume`` it must agree with the run.

    Raises:
        ConfigError: There is no such run, its configuration is damaged, or an override contradicts it.
    """
    folder = Path(str(composed.resume))
    try:
        table = yaml.safe_load((folder / SAVED).read_text("utf-8"))
    except OSError:
        raise ConfigError(f"{folder} is no run: there is no {SAVED} in it; resume= takes the folder of a run") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        table = None
    if not isinstance(table, dict):
        raise ConfigError(f"{folder / SAVED} is damaged; restore it, or start a new run from the run's last.pt")
    saved = build_options(TrainConfig, table, str(folder / SAVED))
    before = dict(_leaves(plain(saved)))
    now = dict(_leaves(plain(_filled(composed, before))))
    # Of two overrides the more exact one is to blame.
    for override in sorted(overrides, key=lambda override: len(_said(override, now))):
        for key in _said(override, now):
            if key not in ("resume", "run") and now[key] != before[key] and not _resolved(key, now[key], override):
                raise ConfigError(
                    f"resume={folder} goes on with the run's own configuration, but {override!r} would change {key!r} "
                    f"from {before[key]!r} to {now[key]!r}; leave it out, or start a new run"
                )
    return replace(saved, run=str(folder), resume=str(folder))


def _filled(composed: DictConfig, saved: dict[str, Any]) -> TrainConfig:
    """Build what was composed, values that must be given but were not taken from the saved run."""
    config = composed.copy()
    for key in OmegaConf.missing_keys(config):
        OmegaConf.update(config, key, saved.get(key))
    return to_options(config, TrainConfig)


def _said(override: str, now: dict[str, Any]) -> list[str]:
    """The keys that an override speaks of: one, those of a group, or, for an experiment, all that differ by now."""
    name = override.partition("=")[0].lstrip("+~").partition("@")[0]
    defaults = dict(_leaves(plain(TrainConfig(ModelConfig("base"), DataConfig(()), ""))))
    return [key for key in now if key == name or key.startswith(f"{name}.")] or [
        key for key in now if now[key] != defaults[key]
    ]


def _resolved(key: str, value: Any, override: str) -> bool:
    """Whether a run wrote down what a value meant on the day, and the machine, that it began on."""
    if key == "consent_day":
        return not override.lstrip("+").startswith("consent_day=")
    return key == "trainer.precision" and value == "auto"


def _leaves(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _flags(given: Mapping[str, Any]) -> list[str]:
    """Flags of a command: those with a value, then of what is true the names; nothing of what is not given or false."""
    names = {f"--{name.replace('_', '-')}": value for name, value in given.items() if value is not None}
    valued = [word for flag, value in names.items() if not isinstance(value, bool) for word in (flag, str(value))]
    return valued + [flag for flag, value in names.items() if value is True]
