"""One training run, from plain objects to a folder of checkpoints; the loop is lightning's."""

from __future__ import annotations

import logging
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Annotated, Any, Literal

import joblib
import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from pydantic import Field
from torch.utils.data import DataLoader

from asr.data.augment import Augment
from asr.data.batch import Batch, BatchLoader, BatchOptions
from asr.data.labels import Labeller
from asr.data.stream import (
    FOR_TRAINING,
    BatchStream,
    Draw,
    Position,
    UsableFragments,
    order_hash,
    sequential_batches,
)
from asr.errors import AudioError, ConfigError, LostProcessError, ManifestError, TrainingError
from asr.memory import keep
from asr.model.checkpoint import CheckpointInfo
from asr.model.heads import HeadName
from asr.model.network import DialectWhisper
from asr.privacy.consent import ConsentCheck
from asr.training.checkpoints import SIGNALS, STATE, AtomicCheckpointIO, Checkpoints, StopOnSignal
from asr.training.gate import Gate
from asr.training.heads import HeadOptions
from asr.training.log import JsonLinesLogger, LogBeforeSaving
from asr.training.optim import OptimOptions
from asr.training.processes import WatchProcesses, check_processes, lost_process, make_strategy
from asr.training.task import TranscriptionTask

log = logging.getLogger(__name__)

# Processes that load audio beside one GPU: more compete for the disk.
_MOST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class DataOptions:
    """What is learnt from.

    Attributes:
        train: Manifests; a pass hears the first one once, the others beside it by weight.
        weights: How often each training manifest is drawn from; equal when empty.
        dev: Manifests on which loss and WER are measured; they choose the checkpoint.
        batch_seconds: Most seconds of audio in a batch, padding included; a longer fragment is a batch of its own. What
            a device cannot hold of it at once is learnt in parts.
        workers: Processes that load audio; 0 loads in the training process. ``auto`` is one where the cores themselves
            learn, and beside a GPU as many as there are cores for, up to eight: one alone would let it wait.
        joined: Share of the fragments that are joined with others of their speaker to long examples, where speakers are
            known; without any the model forgets that there is more than one sentence.
        unreadable: Share of the fragments drawn whose recordings may be unreadable: each is named in the log and left
            out. With more, and more than ten, the run ends.
    """

    train: tuple[str, ...]
    weights: tuple[float, ...] = ()
    dev: tuple[str, ...] = ()
    batch_seconds: Annotated[float, Field(gt=0)] = 80.0
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    joined: Annotated[float, Field(ge=0, le=1)] = 0.0
    unreadable: Annotated[float, Field(ge=0, le=1)] = 0.05


@dataclass(frozen=True, slots=True)
class TrainerOptions:
    """How long, where and how exactly is computed.

    Attributes:
        max_steps: Changes of the weights.
        accumulate: Batches whose gradients make one step.
        validate_every: Steps between two validations; a shorter run is validated at its end.
        patience: Validations without improvement after which training ends; 0 never ends early.
        monitor: The metric by which checkpoints are chosen and training ends early, lower is better: ``dev/loss``,
            ``dev/heads_loss``, ``dev/wer``, ``dev/wer_worst`` or a dialect's ``dev/wer/fr-CA``.
        protect: Dialects in ``data.dev`` that must not be forgotten, such as ``en-US``; of fragments without a dialect,
            the language. They are heard before the first step too, a checkpoint that harms none goes before one that
            does, whatever the metric, and ``dev/wer_worst`` is that of the other dialects.
        protect_limit: By how many percent of its error rate a protected dialect may get worse.
        keep_best: Best checkpoints kept beside the last.
        save_every: Steps between two saved states.
        log_every: Steps between two lines of the log.
        accelerator: lightning's name of the device.
        devices: Number of devices of a machine, or of processes on CPU.
        nodes: Number of machines.
        strategy: How they work together: ``ddp`` (each holds everything) or ``fsdp`` (each holds a part).
        timeout: Seconds after which a process gives up waiting for the others.
        precision: lightning's name of the number format; ``auto`` is bf16-mixed where the device multiplies in bf16.
        gradient_checkpointing: Computes activations twice instead of keeping them.
        threads: Threads of a process on CPU; 0 leaves torch's choice.
    """

    max_steps: Annotated[int, Field(ge=1)] = 1000
    accumulate: Annotated[int, Field(ge=1)] = 1
    validate_every: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=0)] = 0
    monitor: Annotated[str, Field(pattern="^dev/(loss|heads_loss|wer|wer_worst|wer/.+)$")] = "dev/wer_worst"
    protect: tuple[str, ...] = ()
    protect_limit: Annotated[float, Field(ge=0)] = 2.0
    keep_best: Annotated[int, Field(ge=0)] = 2
    save_every: Annotated[int, Field(ge=1)] = 100
    log_every: Annotated[int, Field(ge=1)] = 10
    accelerator: Literal["cpu", "gpu", "auto"] = "auto"
    devices: Annotated[int, Field(ge=1)] = 1
    nodes: Annotated[int, Field(ge=1)] = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    timeout: Annotated[float, Field(gt=0)] = 1800.0
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    gradient_checkpointing: bool = False
    threads: Annotated[int, Field(ge=0)] = 0


class FragmentData(lightning.LightningDataModule):
    """The loaders of a run, and its place in the training stream.

    Args:
        data: Manifests and batches.
        batch: What is drawn per fragment.
        labeller: Makes the labels.
        seed: Of order and draws.
        consent: What is asked of the fragments; None was told to ask nothing.
        workers: Processes that load audio.
    """

    def __init__(
        self,
        data: DataOptions,
        batch: BatchOptions,
        labeller: Labeller,
        seed: int,
        consent: ConsentCheck | None = FOR_TRAINING,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.data = data
        self.batch = batch
        self.labeller = labeller
        self.seed = seed
        self.consent = consent
        self.workers = workers
        self.position = Position()
        self._hashes = {manifest: order_hash(manifest) for manifest in (*data.train, *data.dev)}
        self.waits: deque[float] = deque([0.0])

    def train_dataloader(self) -> DataLoader[Batch]:
        """Endless training batches from the current position on."""
        rank, world_size = self._rank_and_world()
        stream = BatchStream(
            self.data.train,
            self.data.batch_seconds,
            self.data.weights,
            self.seed,
            rank,
            world_size,
            self.labeller.languages,
            self.consent,
            self.data.joined,
        )
        stream.position = self.position
        loader = self._loader(stream, self.batch)
        loader.waits = self.waits
        return loader

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Every development fragment once, each process its own."""
        if not self.data.dev:
            return []
        today = None if self.consent is None else self.consent.today
        fragments = [UsableFragments(manifest, self.labeller.languages, today) for manifest in self.data.dev]
        draws = _DevelopmentDraws(fragments, self.data.batch_seconds, *self._rank_and_world())
        as_they_are = BatchOptions(margin=(0.0, 0.0), timestamps=0.0, speeds=(1.0,), contours=self.batch.contours)
        return self._loader(draws, as_they_are)

    def _loader(self, draws: Any, options: BatchOptions) -> _TimedLoader:
        if self.workers:
            _start_fork_server()
        return _TimedLoader(
            BatchLoader(self.labeller, options),
            sampler=draws,
            batch_size=None,
            num_workers=self.workers,
            # A fork would copy the locks of torch's threads as they are.
            multiprocessing_context="forkserver" if self.workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    def _rank_and_world(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the training stream, and hashes of what is heard in it and measured beside it."""
        return asdict(self.position) | {"manifests": self._hashes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a place in the training stream.

        Raises:
            ManifestError: A manifest has changed since: the place is another one, or figures cannot be compared.
        """
        # By their order: a copy from object storage lies in the run's folder, and that may have been moved.
        before = state_dict.get("manifests", {}).values()
        for (manifest, now), then in zip(self._hashes.items(), before, strict=False):
            if now != then:
                raise ManifestError(
                    "the manifest is not the one that this run began with, and what would come is another training "
                    "(consent alone may change); restore it, or start a new run from the run's last.pt",
                    manifest,
                )
        self.position = Position(state_dict["epoch"], state_dict["batch"], tuple(state_dict["offsets"]))


class _TimedLoader(DataLoader[Batch]):
    """Notes how long was waited for each batch, in seconds."""

    waits: deque[float] | None = None

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            if self.waits is not None:
                self.waits.append(time.perf_counter() - began)
            yield batch


def _start_fork_server() -> None:
    """Start what the workers are forked from, deaf, as they will be, to what a terminal or a cluster sends to all.

    The training process alone hears it: it still needs batches then, and its workers end when it does.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        # The fork server would start it otherwise, and it lets signals through again.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _DevelopmentDraws:
    """All fragments of some manifests, once, in batches of similar length."""

    def __init__(self, manifests: Sequence[UsableFragments], batch_seconds: float, rank: int, world_size: int) -> None:
        self.manifests = manifests
        self.batch_seconds = batch_seconds
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[Draw]:
        fragments = (fragment for manifest in self.manifests for fragment in manifest)
        for batch in sequential_batches(fragments, self.batch_seconds, self.rank, self.world_size):
            yield Draw(batch, None, 0)


class _Place(lightning.Callback):
    """Notes after every batch where in the stream the next one stands, and logs how long was waited for the last ones.

    Args:
        loaders: What is noted in.
        logged: Batches between two lines of the log.
    """

    def __init__(self, loaders: FragmentData, logged: int) -> None:
        self.loaders = loaders
        loaders.waits = deque([0.0], maxlen=logged)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Batch, index: int
    ) -> None:
        if batch.after is not None:
            self.loaders.position = batch.after
        module.log("train/wait_seconds", sum(self.loaders.waits), batch_size=len(batch.fragments))


def _on_gpu(options: TrainerOptions) -> bool:
    return options.accelerator != "cpu" and torch.cuda.is_available()


def with_precision(options: TrainerOptions) -> TrainerOptions:
    """Return the options with the number format that ``auto`` means on this machine.

    A GPU since Ampere multiplies in bf16, and so does a CPU with AMX or AVX-512's bf16; elsewhere bf16 is emulated, and
    no faster than float32.
    """
    if options.precision != "auto":
        return options
    if _on_gpu(options):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    chosen = replace(options, precision="bf16-mixed" if fast else "32-true")
    log.info("precision: %s; this device %s in bf16", chosen.precision, "multiplies" if fast else "does not multiply")
    return chosen


def workers_for(data: DataOptions, trainer: TrainerOptions) -> int:
    """How many processes load audio; results do not depend on it."""
    if data.workers != "auto":
        return data.workers
    if not _on_gpu(trainer):
        return 1
    cores: int = joblib.cpu_count()  # as a container's limit has it
    # Each of a machine's training processes needs a core of its own.
    return max(1, min(_MOST_WORKERS, cores // trainer.devices - 1))


class _StayStopped(lightning.Callback):
    """Ends a run that goes on from where patience had ended it: lightning forgets that it had to stop."""

    def __init__(self, patience: EarlyStopping) -> None:
        self.patience = patience

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if self.patience.wait_count >= self.patience.patience:
            trainer.should_stop = True


def train(
    model: DialectWhisper,
    info: CheckpointInfo,
    folder: Path,
    *,
    data: DataOptions,
    batch: BatchOptions,
    augment: Augment | None,
    optim: OptimOptions,
    trainer: TrainerOptions,
    seed: int,
    resume: bool = False,
    heads: HeadOptions | None = None,
    head_weights: Mapping[HeadName, Sequence[float]] | None = None,
    corpora: Sequence[str] = (),
    consent: ConsentCheck | None = FOR_TRAINING,
    loggers: Sequence[Logger] = (),
    watchers: Sequence[lightning.Callback] = (),
) -> Path:
    """Train a model and keep its checkpoints in ``folder/checkpoints``.

    Args:
        model: The model; what of it learns is already set.
        info: What its checkpoints say about themselves.
        folder: The run's folder.
        data: What is learnt from.
        batch: What is drawn per fragment.
        augment: Changes training batches.
        optim: How weights are changed.
        trainer: How long and where.
        seed: Of everything random.
        resume: Go on from the state in the folder.
        heads: How the model's heads are learnt; none is when None.
        head_weights: Of each label of each head that is learnt.
        corpora: What the dialect head's adversary tells apart, if there is one.
        consent: What is asked of the fragments, those of ``data.dev`` included; None was told to ask nothing.
        loggers: Where figures go beside the run's own log.
        watchers: Are told last what happens.

    Returns:
        The best checkpoint.

    Raises:
        TrainingStopped: A signal came; the state is saved.
        ConfigError: Training shall end early, but nothing is measured; there are other processes than asked for, or no
            GPU where one is asked for.
        TrainingError: A loss is not finite, or the device has too little memory.
        LostProcessError: Another process of the run is gone.
        AsrError: A manifest, a recording or the disk fails.
    """
    if trainer.patience and not data.dev:
        raise ConfigError(
            f"trainer.patience is {trainer.patience}, but there is no data.dev on which to see an improvement; give "
            "one, or leave patience at 0"
        )
    if trainer.protect and not data.dev:
        raise ConfigError("trainer.protect is asked of data.dev; give one, with fragments of what is protected in it")
    if (trainer.strategy, trainer.precision) == ("fsdp", "16-mixed"):
        raise ConfigError("trainer.strategy=fsdp divides no loss scale; take trainer.precision=bf16-mixed or 32-true")
    if trainer.accelerator == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise ConfigError(
            "trainer.accelerator=gpu, but torch finds no GPU on this machine; train without one with "
            "trainer.accelerator=cpu trainer.precision=32-true"
        )
    check_processes(trainer.devices * trainer.nodes)
    # lightning sets its own level to INFO when it is imported, and advertises.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    trainer = with_precision(trainer)
    assert trainer.precision != "auto"
    if trainer.threads:
        torch.set_num_threads(trainer.threads)
    if not _on_gpu(trainer):
        keep()
    lightning.seed_everything(seed, verbose=False)
    model.train()
    model.gradient_checkpointing = trainer.gradient_checkpointing
    checkpoints = Checkpoints(folder / "checkpoints", info, trainer.keep_best, trainer.save_every, trainer.monitor)
    loaders = FragmentData(data, batch, Labeller(model.whisper), seed, consent, workers_for(data, trainer))
    logger = JsonLinesLogger(folder / "log.jsonl")
    # What changes when a step or a validation ends stands before what saves it.
    callbacks: list[lightning.Callback] = [
        _Place(loaders, trainer.log_every * trainer.accumulate),
        LogBeforeSaving(logger, trainer.log_every),
    ]
    if trainer.patience:
        # A metric that was not measured is told by the checkpoints.
        patience = EarlyStopping(trainer.monitor, patience=trainer.patience, mode="min", strict=False)
        callbacks += [patience, _StayStopped(patience)]
    callbacks += [
        WatchProcesses(folder),
        checkpoints,
        StopOnSignal(checkpoints),
        LearningRateMonitor("step"),
        TQDMProgressBar(refresh_rate=1 if sys.stderr.isatty() else trainer.log_every),
        *watchers,
    ]
    with warnings.catch_warnings():
        # The loaders are as they are on purpose; lightning's advice on workers does not know the stream.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*treespec.*LeafSpec.*")
        # All processes log the same figures: the task has gathered what they are made of.
        warnings.filterwarnings("ignore", ".*sync_dist=True.*")
        warnings.filterwarnings("ignore", ".*Total length of `list` across ranks is zero.*")
        # Its new name is not known to the oldest torch that this works with.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated.*")
        loop = lightning.Trainer(
            accelerator=trainer.accelerator,
            devices=trainer.devices,
            num_nodes=trainer.nodes,
            strategy=make_strategy(
                trainer.strategy, trainer.devices * trainer.nodes, timedelta(seconds=trainer.timeout)
            ),
            precision=trainer.precision,
            max_steps=trainer.max_steps,
            max_epochs=-1,
            accumulate_grad_batches=trainer.accumulate,
            val_check_interval=min(trainer.validate_every, trainer.max_steps) * trainer.accumulate
            if data.dev
            else None,
            check_val_every_n_epoch=None if data.dev else 1,
            # What is protected is heard before anything is learnt; a run that goes on knows it.
            num_sanity_val_steps=-1 if trainer.protect else 0,
            log_every_n_steps=trainer.log_every,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            default_root_dir=str(folder),
            logger=[logger, TensorBoardLogger(str(folder), name="", version="tensorboard"), *loggers],
            plugins=[AtomicCheckpointIO()],
            callbacks=callbacks,
        )
        gate = Gate(trainer.protect, trainer.protect_limit) if trainer.protect else None
        task = TranscriptionTask(
            model, optim, augment, trainer.max_steps, heads, head_weights, corpora, data.unreadable, gate
        )
        state = folder / "checkpoints" / STATE if resume else None
        try:
            loop.fit(task, datamodule=loaders, ckpt_path=None if state is None else str(state))
        except SystemExit:  # so lightning ends what a second Ctrl-C has interrupted
            raise KeyboardInterrupt from None
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"the device has too little memory for batches of {data.batch_seconds:g} s; lower data.batch_seconds "
                "and raise trainer.accumulate by as much (training divides its batches itself, except with fsdp)"
            ) from error
        except RuntimeError as error:
            if loop.world_size > 1 and lost_process(error):
                raise LostProcessError(
                    f"another process of this run is gone, or has not answered for {trainer.timeout:g} s; what it says "
                    f"itself is the reason; go on with resume={folder}"
                ) from error
            raise
    checkpoints.finish(loop, task)
    if loop.is_global_zero and checkpoints.best and min(checkpoints.best.values())[0]:
        log.warning(
            "every checkpoint makes a protected dialect worse by more than %g %%; `asr sweep` finds out how much of "
            "what was learnt does not",
            trainer.protect_limit,
        )
    if task.missed:
        log.warning("%d of %d fragments were left out: they cannot be read", task.missed, task.drawn)
    if task.drawn and task.missed == task.drawn:
        raise AudioError("no recording of data.train can be read, and nothing was learnt; run `asr validate` on it")
    return checkpoints.best_path()
