"""Turns a configuration into objects and runs them; the one place that reads a config's fields."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from pydantic import JsonValue
from rich.console import Console

from asr.config import DataConfig, EvaluateConfig, TrainConfig, TrainIntentConfig, plain, write_config
from asr.data.augment import Augment
from asr.data.batch import BatchOptions
from asr.data.fetch import fetched
from asr.errors import ConfigError, TrainingError
from asr.evaluation import evaluate, render
from asr.files import atomic_write
from asr.fragment import read_numbered
from asr.inference.decoding import DecodeOptions
from asr.inference.transcriber import Transcriber
from asr.intent.model import intent_model_file, load_intent_model
from asr.intent.noise import learn_confusions, read_pairs
from asr.intent.training import read_examples, score_intents, train_intent_model
from asr.jsonlines import read_objects
from asr.model.adapt import adapt
from asr.model.checkpoint import CheckpointInfo, load_checkpoint
from asr.privacy.consent import ConsentCheck, ask, read_consented
from asr.privacy.entries import mark
from asr.privacy.record import Outcome, open_record
from asr.sums import sha256_of
from asr.training.adversary import corpora_of
from asr.training.card import CARD, PAGE, RunCard, code, environment, read_card
from asr.training.checkpoints import TrainingStopped
from asr.training.figures import NoteFigures
from asr.training.heads import head_labels
from asr.training.log import JsonLinesLogger
from asr.training.run import train, with_precision
from asr.training.start import start_heads
from asr.training.tracking import RUN_ID, MlflowRun
from asr.weights.state import weights_sha256

log = logging.getLogger(__name__)


def run_training(config: TrainConfig) -> Path:
    """Train as configured; return the best checkpoint.

    Raises:
        TrainingStopped: A signal came; the state is saved.
        AsrError: Something a user can mend.
    """
    folder = Path(config.run)
    given = config
    config = replace(config, data=_here(config.data, folder / "manifests"))
    manifests = (*config.data.train, *config.data.dev)
    # Before anything that takes long: a development manifest, for one, is first read after many steps.
    for manifest in manifests:
        next(read_numbered(manifest), None)
    if config.resume is None:
        _refuse_second_run(folder)
    refused = ask(manifests, config.consent)
    begun: dict[str, JsonValue] = {"run": folder.name, "resumed": config.resume is not None}
    begun["model"] = _file(config.model.name)
    begun |= {"without_consent_check": True} if config.without_consent_check else {"refused": dict(refused)}
    with _recorded("train", config.why, manifests, begun) as outcome:
        try:
            # What `auto` means here is written down: a run that goes on elsewhere keeps it.
            if config.resume is None:
                trainer = with_precision(config.trainer)
                config, given = replace(config, trainer=trainer), replace(given, trainer=trainer)
                rank_zero_only(write_config)(given, folder)
            with _tracked(given, folder) as (loggers, card), _carded(config, given, card, refused):
                return _train(config, given, folder, refused, loggers, card)
        finally:
            outcome.details["checkpoints"] = {
                path.name: sha256_of(path) for path in sorted((folder / "checkpoints").glob("*.pt"))
            }


def _here(data: DataConfig, folder: Path) -> DataConfig:
    """The data with every manifest where it can be read; fetched anew, because consent may have ended since."""
    train, dev = (tuple(fetched(manifest, folder) for manifest in manifests) for manifests in (data.train, data.dev))
    return replace(data, train=train, dev=dev)


def _log_refused(path: Path, figures: dict[str, float]) -> None:
    """Log how many fragments are refused, unless the log has it: a run that goes on has the log of one that did not."""
    told = {}
    for _, row in read_objects(path) if path.is_file() else ():
        if isinstance(row, dict) and any(name.startswith("refused/") for name in row):
            told = {name: value for name, value in row.items() if name.startswith("refused/")}
    if figures and figures != told:
        JsonLinesLogger(path).log_metrics(figures)


def run_trial(config: TrainConfig) -> float:
    """Train as one trial of a search; return the monitored figure, of which the search looks for the lowest.

    A training that diverges, or forgets what is protected, ends no search: its figure is infinite.

    Raises:
        TrainingStopped: A signal came; the state is saved.
        AsrError: Something a user can mend.
    """
    try:
        run_training(config)
    except TrainingError as error:
        log.warning("%s: %s", config.run, error)
        return math.inf
    value = reached(config)
    assert value is not None  # without data.dev there is no search
    log.info("%s: %s %.4g", config.run, config.trainer.monitor, value)
    return value if math.isfinite(value) else math.inf


def reached(config: TrainConfig) -> float | None:
    """The monitored figure of a run's best checkpoint: infinite if it harms what is protected, None if not measured."""
    card = read_card(Path(config.run)) or {}
    metrics = card.get("figures", {}).get("best", {}).get("metrics", {})
    if metrics.get("dev/harmed"):
        return math.inf
    value = metrics.get(config.trainer.monitor)
    return None if value is None else float(value)


@contextmanager
def _tracked(config: TrainConfig, folder: Path) -> Iterator[tuple[list[MlflowRun], RunCard]]:
    """The card of a run, and where its figures go; the card is given there at the end, however it ends."""
    first = not rank_zero_only.rank  # type: ignore[attr-defined]
    card = RunCard(folder)
    wanted = first and config.logger.kind == "mlflow"
    loggers = [MlflowRun(folder, config.logger, _without_places(plain(config)))] if wanted else []
    try:
        yield loggers, card
    except BaseException as error:
        for logger in loggers:
            logger.finalize("KILLED" if isinstance(error, TrainingStopped) else "FAILED")
        raise
    finally:
        for logger in loggers:
            logger.add_card(folder)


def _without_places(table: Any) -> Any:
    """A configuration as MLflow lists it: files by their names alone, for folders tell whose they are."""
    if isinstance(table, dict):
        return {name: _without_places(value) for name, value in table.items() if name != "why"}
    if isinstance(table, list):
        return [_without_places(value) for value in table]
    return PurePath(table).name if isinstance(table, str) and "/" in table else table


def _carded(
    config: TrainConfig, given: TrainConfig, card: RunCard, refused: dict[str, int]
) -> AbstractContextManager[None]:
    """Note on the card how this part of a run begins and ends; of several processes, in the first one."""
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return nullcontext()
    manifests = [
        {"for": purpose, **mark(Path(path)).model_dump()}
        for purpose, paths in (("training", config.data.train), ("development", config.data.dev))
        for path in paths
    ]
    card.facts["config"] = plain(given)
    return card.part(code=code(), environment=environment(_device(config)), refused=refused, manifests=manifests)


def _device(config: TrainConfig) -> str:
    """What a run computes on, in words."""
    options = config.trainer
    if options.accelerator != "cpu" and torch.cuda.is_available():
        kind = torch.cuda.get_device_name()
    else:
        kind = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    return f"{options.devices * options.nodes} x {kind}, {options.precision}"


def _train(
    config: TrainConfig,
    given: TrainConfig,
    folder: Path,
    refused: dict[str, int],
    loggers: Sequence[MlflowRun],
    card: RunCard,
) -> Path:
    # The dialect head alone hears no pitch.
    contours = bool(config.heads.intonation or config.heads.tune)
    data = config.data
    batch = BatchOptions(
        data.margin, data.timestamps, config.augment.speeds, data.tags, data.prompts, data.silence, contours
    )
    _log_refused(folder / "log.jsonl", {f"refused/{reason}": float(count) for reason, count in refused.items()})
    loaded = load_checkpoint(config.model.name)
    model = loaded.model
    card.facts["base"] = {"name": config.model.name, "weights_sha256": weights_sha256(model.whisper)}
    model.window, model.margin, model.tail = config.model.window, config.model.margin, config.model.tail
    torch.manual_seed(config.seed)  # adapters and heads begin at random
    consent = config.consent
    learnt = head_labels(config.data.train, config.heads, consent)
    corpora = corpora_of(config.data.train, config.heads, consent)
    model.set_heads({name: labels.spec for name, labels in learnt.items()})
    model.heads.requires_grad_(False)
    for name in learnt:
        model.head(name).requires_grad_(True)
    if config.resume is None:
        if config.trainer.accelerator != "cpu" and torch.cuda.is_available():
            model.to(torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))))
        start_heads(model, config.data.train, learnt, consent)
    adapt(model, config.adapter.mode, config.adapter.lora, config.adapter.encoder_blocks)
    dialects = _dialects(config.data.train, consent)
    # Heads alone teach the decoder nothing.
    told = dialects if config.data.tags and config.adapter.mode != "heads_only" else {}
    info = CheckpointInfo(
        base_model=loaded.info.base_model,
        dialects=loaded.info.dialects | dialects,
        tags=tuple(sorted({*loaded.info.tags, *told})),
        joined=loaded.info.joined if config.adapter.mode == "heads_only" else config.data.joined > 0,
        training_config=plain(replace(config, data=given.data)),
        manifests={name: sha256_of(Path(path)) for name, path in zip(given.data.train, config.data.train, strict=True)},
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
        consent=consent,
        loggers=loggers,
        watchers=[NoteFigures(card)],
    )
    # The others know of what was kept on the way only.
    rank_zero_only(log.info)("best checkpoint: %s", best)
    return best


@rank_zero_only
def _refuse_second_run(folder: Path) -> None:
    """Look into a run's folder; in one process only, that of another may bear another second in its name.

    Raises:
        ConfigError: It holds a run that has saved something.
    """
    if any((folder / "checkpoints").glob("[!.]*")):
        raise ConfigError(
            f"{folder} holds a run already; go on with resume={folder}, or choose another folder with run="
        )
    # Of a run that was killed before it had saved anything.
    for name in ("log.jsonl", CARD, PAGE, RUN_ID):
        (folder / name).unlink(missing_ok=True)


def run_evaluation(config: EvaluateConfig) -> None:
    """Evaluate as configured: a table on the console, and a JSON file and pictures where they are to be written.

    Raises:
        AsrError: Something a user can mend.
    """

    def transcriber(name: str, tag: str, adapters: str | None = None) -> Transcriber:
        return Transcriber(
            name,
            device=config.device,
            batch_seconds=config.batch_seconds,
            options=DecodeOptions(
                beam_size=config.decode.beam_size, bias=config.decode.bias, tag=tag, n_best=config.decode.n_best
            ),
            workers=config.workers,
            adapters=adapters,
            routing=config.decode.routing,
            lexicon=config.decode.lexicon,
        )

    if config.standard is not None and config.intent_model is None:
        raise ConfigError("standard= is for the gap in intent retention; give intent_model= too")
    intent_model = None if config.intent_model is None else load_intent_model(config.intent_model)
    systems = [config.checkpoint, *([] if config.baseline is None else [config.baseline])]
    begun: dict[str, JsonValue] = {"models": [_file(name) for name in systems]}
    if config.intent_model is not None:
        begun["intent_model"] = _file(str(intent_model_file(config.intent_model)))
    if config.without_consent_check:
        begun["without_consent_check"] = True
    with _recorded("evaluate", config.why, config.test.values(), begun) as outcome:
        report = evaluate(
            transcriber(config.checkpoint, config.decode.tag, config.decode.adapters),
            config.test,
            baseline=None if config.baseline is None else transcriber(config.baseline, config.baseline_tag),
            system_name=config.checkpoint,
            baseline_name=config.baseline or "",
            resamples=config.resamples,
            seed=config.seed,
            consent=None if config.without_consent_check else ConsentCheck("evaluation"),
            intent_model=intent_model,
            standard=config.standard,
            abilities=config.abilities,
            as_recordings=config.as_recordings,
        )
        outcome.details["fragments"] = report.fragments
        if not config.without_consent_check:
            outcome.details["refused"] = dict(report.refused)
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


def _dialects(manifests: tuple[str, ...], consent: ConsentCheck | None) -> dict[str, str]:
    """The dialects in some manifests, each with the language that it was annotated under."""
    found: dict[str, str] = {}
    for manifest in manifests:
        for fragment in read_consented(manifest, consent):
            if fragment.dialect is not None:
                found.setdefault(fragment.dialect, fragment.language)
    return dict(sorted(found.items()))


def _recorded(
    action: str, why: str, manifests: Iterable[str], details: dict[str, JsonValue]
) -> AbstractContextManager[Outcome]:
    """Write to the record when something begins and ends; of several processes that do it, in the first one."""
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return nullcontext(Outcome())
    return open_record().during(action, why=why, manifests=[Path(path) for path in manifests], details=details)


def _file(model: str) -> JsonValue:
    """A model for the record: its name, and its hash where it is a file."""
    path = Path(model).expanduser()
    return {"name": path.name, "sha256": sha256_of(path)} if path.is_file() else {"name": path.name}
