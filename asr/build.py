"""Turns a configuration into objects and runs them; the one place that reads a config's fields."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from asr.config import SAVED, AugmentConfig, EvaluateConfig, TrainConfig, plain, write_config
from asr.data.augment import Augment, AugmentOptions
from asr.data.batch import BatchOptions
from asr.errors import ConfigError
from asr.evaluation import evaluate, render
from asr.fragment import Fragment, read_numbered
from asr.inference.decoding import DecodeOptions
from asr.inference.transcriber import Transcriber
from asr.model.adapt import adapt
from asr.model.checkpoint import CheckpointInfo, load_checkpoint
from asr.training.run import train

log = logging.getLogger(__name__)


def run_training(config: TrainConfig) -> Path:
    """Train as configured; return the best checkpoint.

    Raises:
        TrainingStopped: A signal came; the state is saved.
        AsrError: Something a user can mend.
    """
    folder = Path(config.run)
    if config.resume is None and (folder / SAVED).exists():
        raise ConfigError(
            f"{folder} holds a run already; go on with resume={folder}, or choose another folder with run="
        )
    loaded = load_checkpoint(config.model.name)
    model = loaded.model
    model.window, model.margin = config.model.window, config.model.margin
    adapt(model, config.adapter.mode, config.adapter.lora)
    info = CheckpointInfo(
        base_model=loaded.info.base_model,
        dialects=loaded.info.dialects | _dialects(config.data.train),
        training_config=plain(config),
        manifests={path: _sha256(path) for path in config.data.train},
    )
    if config.resume is None:
        write_config(config, folder)
    best = train(
        model.train(),
        info,
        folder,
        data=config.data.options(),
        batch=BatchOptions(config.data.margin, config.data.timestamps, config.augment.speeds),
        augment=_augment(config.augment),
        optim=config.optim,
        trainer=config.trainer,
        seed=config.seed,
        resume=config.resume is not None,
    )
    log.info("best checkpoint: %s", best)
    return best


def run_evaluation(config: EvaluateConfig) -> None:
    """Evaluate as configured: a table on the console, and a JSON file if one is named.

    Raises:
        AsrError: Something a user can mend.
    """

    def transcriber(name: str) -> Transcriber:
        return Transcriber(
            name,
            device=config.device,
            batch_seconds=config.batch_seconds,
            options=DecodeOptions(beam_size=config.decode.beam_size),
            workers=config.workers,
        )

    report = evaluate(
        transcriber(config.model),
        config.test,
        baseline=None if config.baseline is None else transcriber(config.baseline),
        system_name=config.model,
        baseline_name=config.baseline or "",
        resamples=config.resamples,
        seed=config.seed,
    )
    render(report, Console())
    if config.output is not None:
        report.write(config.output)


def _augment(config: AugmentConfig) -> Augment:
    return Augment(AugmentOptions(**{item.name: getattr(config, item.name) for item in fields(AugmentOptions)}))


def _dialects(manifests: tuple[str, ...]) -> dict[str, str]:
    """The dialects in some manifests, each with the language that it was annotated under."""
    found: dict[str, str] = {}
    for manifest in manifests:
        for _, item in read_numbered(manifest):
            if isinstance(item, Fragment) and item.dialect is not None:
                found.setdefault(item.dialect, item.language)
    return dict(sorted(found.items()))


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
