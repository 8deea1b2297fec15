"""Turns a configuration into objects and runs them; the one place that reads a config's fields."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from asr.config import EvaluateConfig, TrainConfig, TrainIntentConfig, plain, write_config
from asr.data.augment import Augment
from asr.data.batch import BatchOptions
from asr.errors import ConfigError
from asr.evaluation import evaluate, render
from asr.files import atomic_write
from asr.fragment import Fragment, read_numbered
from asr.inference.decoding import DecodeOptions
from asr.inference.transcriber import Transcriber
from asr.intent.noise import learn_confusions, read_pairs
from asr.intent.training import read_examples, score_intents, train_intent_model
from asr.model.adapt import adapt
from asr.model.checkpoint import CheckpointInfo, load_checkpoint
from asr.training.adversary import corpora_of
from asr.training.heads import head_labels
from asr.training.run import train
from asr.training.start import start_heads

log = logging.getLogger(__name__)


def run_training(config: TrainConfig) -> Path:
    """Train as configured; return the best checkpoint.

    Raises:
        TrainingStopped: A signal came; the state is saved.
        AsrError: Something a user can mend.
    """
    folder = Path(config.run)
    # Before anything that takes long: a development manifest, for one, is first read after many steps.
    for manifest in (*config.data.train, *config.data.dev):
        next(read_numbered(manifest), None)
    # The dialect head alone hears no pitch.
    contours = bool(config.heads.intonation or config.heads.tune)
    batch = BatchOptions(config.data.margin, config.data.timestamps, config.augment.speeds, config.data.tags, contours)
    if config.resume is None:
        _start(config, folder)
    loaded = load_checkpoint(config.model.name)
    model = loaded.model
    model.window, model.margin = config.model.window, config.model.margin
    torch.manual_seed(config.seed)  # adapters and heads begin at random
    learnt = head_labels(config.data.train, config.heads)
    corpora = corpora_of(config.data.train, config.heads)
    model.set_heads({name: labels.spec for name, labels in learnt.items()})
    model.heads.requires_grad_(False)
    for name in learnt:
        model.head(name).requires_grad_(True)
    if config.resume is None:
        if config.trainer.accelerator != "cpu" and torch.cuda.is_available():
            model.to(torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))))
        start_heads(model, config.data.train, learnt)
    adapt(model, config.adapter.mode, config.adapter.lora)
    dialects = _dialects(config.data.train)
    # Heads alone teach the decoder nothing.
    told = dialects if config.data.tags and config.adapter.mode != "heads_only" else {}
    info = CheckpointInfo(
        base_model=loaded.info.base_model,
        dialects=loaded.info.dialects | dialects,
        tags=tuple(sorted({*loaded.info.tags, *told})),
        training_config=plain(config),
        manifests={path: _sha256(path) for path in config.data.train},
    )
    best = train(
        model,
        info,
        folder,
        data=config.data,
        batch=batch,
        augment=Augment(config.augment),
        optim=config.optim,
        trainer=config.trainer,
        seed=config.seed,
        resume=config.resume is not None,
        heads=config.heads,
        head_weights={name: labels.weights for name, labels in learnt.items()},
        corpora=corpora,
    )
    log.info("best checkpoint: %s", best)
    return best


@rank_zero_only
def _start(config: TrainConfig, folder: Path) -> None:
    """Begin a run's folder; in one process only, that of another may bear another second in its name.

    Raises:
        ConfigError: It holds a run that has saved something.
    """
    if any((folder / "checkpoints").glob("*")):
        raise ConfigError(
            f"{folder} holds a run already; go on with resume={folder}, or choose another folder with run="
        )
    write_config(config, folder)


def run_evaluation(config: EvaluateConfig) -> None:
    """Evaluate as configured: a table on the console, and a JSON file and pictures where they are to be written.

    Raises:
        AsrError: Something a user can mend.
    """

    def transcriber(name: str, tag: str) -> Transcriber:
        return Transcriber(
            name,
            device=config.device,
            batch_seconds=config.batch_seconds,
            options=DecodeOptions(beam_size=config.decode.beam_size, bias=config.decode.bias, tag=tag),
            workers=config.workers,
            lexicon=config.decode.lexicon,
        )

    report = evaluate(
        transcriber(config.checkpoint, config.decode.tag),
        config.test,
        baseline=None if config.baseline is None else transcriber(config.baseline, config.baseline_tag),
        system_name=config.checkpoint,
        baseline_name=config.baseline or "",
        resamples=config.resamples,
        seed=config.seed,
    )
    console = Console()
    # Eighty columns are what a pipe is taken for; they would cut the table to pieces.
    render(report, console if console.is_terminal else Console(width=160))
    if config.output is not None:
        report.write(config.output)
    if config.pictures is not None:
        # matplotlib is for those who want pictures: its first import takes seconds.
        from asr.evaluation.pictures import write_pictures

        if not write_pictures(report, config.pictures):
            log.warning("there is nothing to draw: no head of the system told a label that the fragments have")


def run_intent_training(config: TrainIntentConfig) -> None:
    """Train an intent model as configured; write it, and beside it what it reaches.

    Raises:
        AsrError: Something a user can mend.
    """
    output = Path(config.output)
    if output.suffix == ".json":
        raise ConfigError(f"output={output} is where the metrics would go; name a file that does not end in .json")
    train, dev, test = (
        [one for path in paths for one in read_examples(path)] for paths in (config.train, config.dev, config.test)
    )
    confusions = None if config.heard is None else learn_confusions(read_pairs(config.heard))
    model = train_intent_model(train, config.intent, dev, confusions)
    model.save(output)
    # What is measured on dev has chosen temperature and threshold.
    metrics = {"training": model.training} | {
        name: score_intents(model, examples) for name, examples in (("dev", dev), ("test", test)) if examples
    }
    with atomic_write(output.with_suffix(".json")) as handle:
        json.dump(metrics, handle, ensure_ascii=False, indent=2)
        handle.write("\n")
    log.info("intent model: %s, metrics: %s", output, output.with_suffix(".json"))


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
