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
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from pydantic import Field
from torch.utils.data import DataLoader, Dataset

from asr.data.augment import Augment
from asr.data.batch import Batch, BatchLoader, BatchOptions
from asr.data.labels import Labeller
from asr.data.stream import FOR_TRAINING, BatchStream, Draw, Position, UsableFragments, sequential_batches
from asr.errors import AudioError, ConfigError
from asr.model.checkpoint import CheckpointInfo
from asr.model.heads import HeadName
from asr.model.network import DialectWhisper
from asr.privacy.consent import ConsentCheck
from asr.training.checkpoints import STATE, AtomicCheckpointIO, Checkpoints, StopOnSignal
from asr.training.heads import HeadOptions
from asr.training.log import JsonLinesLogger
from asr.training.task import OptimOptions, TranscriptionTask

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataOptions:
    """What is learnt from.

    Attributes:
        train: Manifests; a pass hears the first one once, the others beside it by weight.
        weights: How often each training manifest is drawn from; equal when empty.
        dev: Manifests on which loss and WER are measured; they choose the checkpoint.
        batch_seconds: Most seconds of audio in a batch, padding included; a longer fragment is a batch of its own.
        workers: Processes that load audio; 0 loads in the training process.
    """

    train: tuple[str, ...]
    weights: tuple[float, ...] = ()
    dev: tuple[str, ...] = ()
    batch_seconds: Annotated[float, Field(gt=0)] = 80.0
    workers: Annotated[int, Field(ge=0)] = 1


@dataclass(frozen=True, slots=True)
class TrainerOptions:
    """How long, where and how exactly is computed.

    Attributes:
        max_steps: Changes of the weights.
        accumulate: Batches whose gradients make one step.
        validate_every: Steps between two validations.
        patience: Validations without improvement after which training ends; 0 never ends early.
        monitor: The metric by which checkpoints are chosen and training ends early, lower is better: ``dev/loss``,
            ``dev/heads_loss``, ``dev/wer``, ``dev/wer_worst`` or a dialect's ``dev/wer/fr-CA``.
        keep_best: Best checkpoints kept beside the last.
        save_every: Steps between two saved states.
        log_every: Steps between two lines of the log.
        accelerator: lightning's name of the device.
        devices: Number of devices, or of processes on CPU.
        strategy: lightning's name of the way they work together.
        precision: lightning's name of the number format; ``auto`` is bf16-mixed where the device multiplies in bf16.
        gradient_checkpointing: Computes activations twice instead of keeping them.
        threads: Threads of a process on CPU; 0 leaves torch's choice.
    """

    max_steps: Annotated[int, Field(ge=1)] = 1000
    accumulate: Annotated[int, Field(ge=1)] = 1
    validate_every: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=0)] = 0
    monitor: Annotated[str, Field(pattern="^dev/(loss|heads_loss|wer|wer_worst|wer/.+)$")] = "dev/wer_worst"
    keep_best: Annotated[int, Field(ge=0)] = 2
    save_every: Annotated[int, Field(ge=1)] = 100
    log_every: Annotated[int, Field(ge=1)] = 10
    accelerator: Literal["cpu", "gpu", "auto"] = "auto"
    devices: Annotated[int, Field(ge=1)] = 1
    strategy: Literal["auto", "ddp"] = "auto"
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
    """

    def __init__(
        self,
        data: DataOptions,
        batch: BatchOptions,
        labeller: Labeller,
        seed: int,
        consent: ConsentCheck | None = FOR_TRAINING,
    ) -> None:
        super().__init__()
        self.data = data
        self.batch = batch
        self.labeller = labeller
        self.seed = seed
        self.consent = consent
        self.position = Position()
        self.waits: deque[float] = deque([0.0])

    def train_dataloader(self) -> DataLoader[Batch | AudioError]:
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
        )
        stream.position = self.position
        loader = self._loader(stream, self.batch)
        loader.waits = self.waits
        return loader

    def val_dataloader(self) -> DataLoader[Batch | AudioError] | list[Any]:
        """Every development fragment once, each process its own."""
        if not self.data.dev:
            return []
        today = None if self.consent is None else self.consent.today
        fragments = [UsableFragments(manifest, self.labeller.languages, today) for manifest in self.data.dev]
        draws = _DevelopmentDraws(fragments, self.data.batch_seconds, *self._rank_and_world())
        as_they_are = BatchOptions(margin=(0.0, 0.0), timestamps=0.0, speeds=(1.0,), contours=self.batch.contours)
        return self._loader(draws, as_they_are)

    def _loader(self, draws: Any, options: BatchOptions) -> _TimedLoader:
        return _TimedLoader(
            _ErrorsAsValues(BatchLoader(self.labeller, options)),
            sampler=draws,
            batch_size=None,
            num_workers=self.data.workers,
            # A fork would copy the locks of torch's threads as they are.
            multiprocessing_context="forkserver" if self.data.workers else None,
            worker_init_fn=_ignore_interrupts,
            pin_memory=torch.cuda.is_available(),
        )

    def on_before_batch_transfer(self, batch: Batch | AudioError, dataloader_idx: int) -> Batch:
        """Raise in this process what went wrong in one that loads audio."""
        if isinstance(batch, AudioError):
            raise batch
        return batch

    def _rank_and_world(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the training stream."""
        return asdict(self.position)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a place in the training stream."""
        self.position = Position(state_dict["epoch"], state_dict["batch"], tuple(state_dict["offsets"]))


class _TimedLoader(DataLoader[Batch | AudioError]):
    """Notes how long was waited for each batch, in seconds."""

    waits: deque[float] | None = None

    def __iter__(self) -> Iterator[Batch | AudioError]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            if self.waits is not None:
                self.waits.append(time.perf_counter() - began)
            yield batch


class _ErrorsAsValues(Dataset[Batch | AudioError]):
    """A loader's batches, or what went wrong: raised in another process, it would arrive as a traceback."""

    def __init__(self, loader: BatchLoader) -> None:
        self.loader = loader

    def __getitem__(self, draw: Draw) -> Batch | AudioError:
        try:
            return self.loader[draw]
        except AudioError as error:
            return error


def _ignore_interrupts(worker: int) -> None:
    """Let the training process alone hear Ctrl-C, which a terminal sends to all: it still needs batches then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


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
            yield Draw(tuple(cut.custom["fragment"] for cut in batch), None, 0)


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


def with_precision(options: TrainerOptions) -> TrainerOptions:
    """Return the options with the number format that ``auto`` means on this machine.

    A GPU since Ampere and a CPU with AMX multiply in bf16; elsewhere bf16 is emulated, and no faster than float32.
    """
    if options.precision != "auto":
        return options
    if options.accelerator != "cpu" and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_amx_tile_supported()
    chosen = replace(options, precision="bf16-mixed" if fast else "32-true")
    log.info("precision: %s; this device %s in bf16", chosen.precision, "multiplies" if fast else "does not multiply")
    return chosen


def _strategy(options: TrainerOptions) -> Any:
    if options.strategy != "ddp":
        return options.strategy
    # The only buffer is the causal mask, the same everywhere. Sending it round before every forward pass would make
    # processes with more validation batches than others wait for ever.
    return DDPStrategy(broadcast_buffers=False)


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

    Returns:
        The best checkpoint.

    Raises:
        TrainingStopped: A signal came; the state is saved.
        ConfigError: Training shall end early, but nothing is measured.
        AsrError: A manifest, a recording or the disk fails.
    """
    if trainer.patience and not data.dev:
        raise ConfigError(
            f"trainer.patience is {trainer.patience}, but there is no data.dev on which to see an improvement; give "
            "one, or leave patience at 0"
        )
    # lightning sets its own level to INFO when it is imported, and advertises.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    trainer = with_precision(trainer)
    assert trainer.precision != "auto"
    if trainer.threads:
        torch.set_num_threads(trainer.threads)
    lightning.seed_everything(seed, verbose=False)
    model.train()
    model.gradient_checkpointing = trainer.gradient_checkpointing
    checkpoints = Checkpoints(folder / "checkpoints", info, trainer.keep_best, trainer.save_every, trainer.monitor)
    loaders = FragmentData(data, batch, Labeller(model.whisper), seed, consent)
    callbacks: list[lightning.Callback] = [
        _Place(loaders, trainer.log_every * trainer.accumulate),
        checkpoints,
        StopOnSignal(checkpoints),
        LearningRateMonitor("step"),
        TQDMProgressBar(refresh_rate=1 if sys.stderr.isatty() else trainer.log_every),
    ]
    if trainer.patience:
        callbacks.append(EarlyStopping(trainer.monitor, patience=trainer.patience, mode="min"))
    with warnings.catch_warnings():
        # The loaders are as they are on purpose; lightning's advice on workers does not know the stream.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*treespec.*LeafSpec.*")
        # All processes log the same figures: the task has gathered what they are made of.
        warnings.filterwarnings("ignore", ".*sync_dist=True.*")
        warnings.filterwarnings("ignore", ".*Total length of `list` across ranks is zero.*")
        loop = lightning.Trainer(
            accelerator=trainer.accelerator,
            devices=trainer.devices,
            strategy=_strategy(trainer),
            precision=trainer.precision,
            max_steps=trainer.max_steps,
            max_epochs=-1,
            accumulate_grad_batches=trainer.accumulate,
            gradient_clip_val=optim.clip_norm or None,
            val_check_interval=trainer.validate_every * trainer.accumulate if data.dev else None,
            check_val_every_n_epoch=None if data.dev else 1,
            num_sanity_val_steps=0,
            log_every_n_steps=trainer.log_every,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            default_root_dir=str(folder),
            logger=[
                JsonLinesLogger(folder / "log.jsonl"),
                TensorBoardLogger(str(folder), name="", version="tensorboard"),
            ],
            plugins=[AtomicCheckpointIO()],
            callbacks=callbacks,
        )
        task = TranscriptionTask(model, optim, augment, trainer.max_steps, heads, head_weights, corpora)
        state = folder / "checkpoints" / STATE if resume else None
        try:
            loop.fit(task, datamodule=loaders, ckpt_path=None if state is None else str(state))
        except SystemExit:  # so lightning ends what a second Ctrl-C has interrupted
            raise KeyboardInterrupt from None
    checkpoints.finish(loop, task)
    return checkpoints.best_path()
