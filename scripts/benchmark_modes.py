"""Memory and time of a training step, per model size and mode: python scripts/benchmark_modes.py MANIFEST.

Sizes of ``--measured`` are trained for a few steps as `scripts/train.py` does it, each in a process of its own; those
of ``--computed`` are too large for that here. Weights are random: neither figure depends on them.

Memory is that of the training process above what it takes without a model: on a GPU what torch allocated, else resident
memory. Computed, it is 4 bytes for a weight, 12 for one that learns (gradient and AdamW), and what is kept for the way
back. That is counted with torch's hooks on models of full width with one and with two layers, and goes on linearly with
the layers. The seconds of a step are computed from its multiplications, counted in the same way, at the rate of the
largest measured size in the same mode. For measured sizes both are printed, which shows what the computed are worth.
"""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout, suppress
from dataclasses import astuple, dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from whisper.model import ModelDimensions, Whisper

from asr.config import AdapterConfig
from asr.data.batch import BatchLoader, BatchOptions
from asr.data.labels import Labeller
from asr.data.stream import BatchStream
from asr.memory import take_large_pages
from asr.model.adapt import AdaptMode, adapt, trainable_parameters
from asr.model.checkpoint import CheckpointInfo
from asr.model.network import DialectWhisper
from asr.training import run
from asr.training.optim import OptimOptions
from asr.training.task import TranscriptionTask

# Width, heads, layers of the encoder and of the decoder, mels, vocabulary (openai's own sizes).
_SIZES = {
    "tiny-random": (16, 2, 2, 2, 80, 51865),
    "tiny": (384, 6, 4, 4, 80, 51865),
    "base": (512, 8, 6, 6, 80, 51865),
    "small": (768, 12, 12, 12, 80, 51865),
    "medium": (1024, 16, 24, 24, 80, 51865),
    "large-v3": (1280, 20, 32, 32, 128, 51866),
    "large-v3-turbo": (1280, 20, 32, 4, 128, 51866),
}
# The first steps make the optimiser's state and warm the allocators.
_WARM = 2
# Blocks of the encoder that learn in the mode `upper`.
_UPPER = AdapterConfig().encoder_blocks
# Without a head there is nothing for `heads_only` to learn.
_MODES = [mode for mode in get_args(AdaptMode) if mode != "heads_only"]
_GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        manifest: The fragments.
        size: The model's.
        mode: What of it learns.
        batch_seconds: Most seconds of audio in a batch.
        steps: Steps that are measured.
        precision: ``32-true`` or ``bf16-mixed``.
        device: ``cpu`` or ``cuda``.
    """

    manifest: Path
    size: str
    mode: AdaptMode
    batch_seconds: float
    steps: int
    precision: str
    device: str


@dataclass(frozen=True)
class Cost:
    """What a step takes.

    Attributes:
        memory: Bytes.
        seconds: Median of the measured steps.
    """

    memory: float
    seconds: float


@dataclass(frozen=True)
class Count:
    """What there is of a model, and what a step keeps and does.

    Attributes:
        weights: Numbers in all of the model.
        learning: Those of them that learn.
        kept: Bytes that are kept for the way back.
        products: Multiplications and additions, both ways.
    """

    weights: float
    learning: float
    kept: float
    products: float

    @property
    def memory(self) -> float:
        """Bytes: weights, their gradients and AdamW's two moments in float32, and what is kept."""
        return 4 * self.weights + 12 * self.learning + self.kept


def dims_of(size: str, encoder: int | None = None, decoder: int | None = None) -> ModelDimensions:
    """Sizes of a model, with other numbers of layers where they are given."""
    width, heads, encoder_layers, decoder_layers, mels, vocabulary = _SIZES[size]
    return ModelDimensions(
        n_mels=mels,
        n_vocab=vocabulary,
        n_audio_ctx=1500,
        n_audio_state=width,
        n_audio_head=heads,
        n_audio_layer=encoder or encoder_layers,
        n_text_ctx=448,
        n_text_state=width,
        n_text_head=heads,
        n_text_layer=decoder or decoder_layers,
    )


def make_model(dims: ModelDimensions, mode: AdaptMode, learning: int = _UPPER) -> DialectWhisper:
    """A random model of which the mode's part learns; with ``upper`` so many blocks of the encoder, if it has them."""
    torch.manual_seed(0)
    whisper = Whisper(dims)
    with torch.no_grad():
        whisper.decoder.positional_embedding.normal_(std=0.02)
    model = DialectWhisper(whisper, "tight")
    adapt(model, mode, encoder_blocks=min(learning, dims.n_audio_layer))
    return model.train()


def learn(plan: Plan, line: Connection) -> None:
    """Train as `scripts/train.py` does; tell memory and seconds."""
    os.setpgrp()
    take_large_pages()
    logging.disable(logging.WARNING)
    cuda = plan.device == "cuda"
    model = make_model(dims_of(plan.size), plan.mode)
    seconds: list[float] = []
    held = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))

    class Timed(TranscriptionTask):
        """Notes when steps begin and end."""

        def on_train_start(self) -> None:
            gc.collect()
            self.before = 0 if cuda else _resident("VmRSS") - held

        def on_train_batch_start(self, *_: Any) -> None:
            self.began = _now(cuda)

        def on_train_batch_end(self, *_: Any) -> None:
            seconds.append(_now(cuda) - self.began)
            if len(seconds) == _WARM:
                _forget_peak(cuda)
            if len(seconds) == _WARM + plan.steps:
                peak = torch.cuda.max_memory_allocated() if cuda else _resident("VmHWM")
                line.send(Cost(peak - self.before, statistics.median(seconds[_WARM:])))

    run.TranscriptionTask = Timed  # type: ignore[misc]
    # The progress bar would stand between the rows of the table.
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        run.train(
            model,
            CheckpointInfo("random"),
            Path(folder),
            data=run.DataOptions((str(plan.manifest),), batch_seconds=plan.batch_seconds),
            batch=BatchOptions(speeds=(1.0,)),
            augment=None,
            optim=OptimOptions(),
            trainer=run.TrainerOptions(
                max_steps=_WARM + plan.steps,
                precision=plan.precision,  # type: ignore[arg-type]
                accelerator="gpu" if cuda else "cpu",
                save_every=10**9,
            ),
            seed=0,
        )


def measured(plan: Plan) -> Cost:
    """Train in a process of its own."""
    line, other = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=learn, args=(plan, other))
    process.start()
    other.close()
    try:
        cost: Cost = line.recv()
    except EOFError:
        sys.exit(f"the training of {plan.size}, {plan.mode}, has failed; what it says above is the reason")
    finally:
        # What it would still do is to save its checkpoint; those that load its audio end with it.
        assert process.pid is not None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return cost


def counted(plan: Plan) -> Count:
    """What a step of the whole model keeps and does, from models with few layers."""
    whole = dims_of(plan.size)
    upper = min(_UPPER, whole.n_audio_layer) if plan.mode == "upper" else whole.n_audio_layer
    lower = whole.n_audio_layer - upper
    # The smallest, and with one block more: above or below, which are alike in the other modes, and in the decoder.
    few = (_count(plan, 1, 1, 1), _count(plan, 2, 1, 2), _count(plan, 2, 1, 1), _count(plan, 1, 2, 1))
    return Count(
        *(
            one + (upper - 1) * (above - one) + lower * (below - one) + (whole.n_text_layer - 1) * (decoder - one)
            for one, above, below, decoder in zip(*map(astuple, few), strict=True)
        )
    )


def _count(plan: Plan, encoder: int, decoder: int, learning: int) -> Count:
    """The mean over the batches that are measured."""
    model = make_model(dims_of(plan.size, encoder, decoder), plan.mode, learning).to(plan.device)
    task = TranscriptionTask(model, OptimOptions(), None, max_steps=1)
    task._trainer = SimpleNamespace(world_size=1)  # type: ignore[assignment]
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    loader = BatchLoader(Labeller(model.whisper), BatchOptions(speeds=(1.0,)))
    draws = islice(BatchStream([plan.manifest], plan.batch_seconds), _WARM, _WARM + plan.steps)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept, products = [], []
    for draw in draws:
        found: dict[int, int] = {}

        def keep(tensor: Tensor, found: dict[int, int] = found) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage.nbytes()
            return tensor

        with FlopCounterMode(display=False) as counter:
            with (
                torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16-mixed"),
                torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            ):
                loss = task.training_step(loader[draw].to(torch.device(plan.device)), 0)
            kept.append(sum(found.values()))
            loss.backward()
        products.append(counter.get_total_flops())
        model.zero_grad()
    weights, learning = (sum(one.numel() for one in of) for of in (model.parameters(), trainable_parameters(model)))
    # Memory is that of the largest batch, time that of the middle one.
    return Count(weights, learning, max(kept), statistics.median(products))


def _resident(name: str) -> int:
    """A line of this process's status, in bytes: VmRSS now, VmHWM at the most."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _forget_peak(cuda: bool) -> None:
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5", "utf-8")


def _now(cuda: bool) -> float:
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def rows(plans: Iterable[Plan], measure: Callable[[Plan], bool]) -> Iterable[tuple[str, ...]]:
    """The rows of the table; those that are computed follow the measured size whose rate they take."""
    rates: dict[str, float] = {}
    for plan in plans:
        count = counted(plan)
        rate = rates.get(plan.mode)
        cost = measured(plan) if measure(plan) else None
        if cost is not None and plan.size != "tiny-random":  # of that one hardly anything is multiplying
            rates[plan.mode] = count.products / cost.seconds
        yield (
            f"{plan.size} ({count.weights / 1e6:.1f} M)",
            plan.mode,
            f"{count.learning / 1e6:.2f} M",
            "" if cost is None else f"{cost.memory / _GIB:.2f}",
            f"{count.memory / _GIB:.2f}",
            "" if cost is None else f"{cost.seconds:.2f}",
            "" if rate is None else f"{count.products / rate:.2f}",
        )


def main() -> None:
    """Measure, compute and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--measured", nargs="*", default=["tiny-random", "tiny", "base"], choices=_SIZES)
    parser.add_argument("--computed", nargs="*", default=["small", "medium", "large-v3-turbo", "large-v3"])
    parser.add_argument("--modes", nargs="+", default=["full", "upper", "lora", "decoder_only"], choices=_MODES)
    parser.add_argument("--batch-seconds", type=float, default=30.0)
    parser.add_argument("--steps", type=int, default=3, help="steps measured of each, after two that warm up")
    parser.add_argument("--precision", default="auto", choices=["auto", "32-true", "bf16-mixed"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    chosen = run.with_precision(
        run.TrainerOptions(precision=given.precision, accelerator="gpu" if given.device == "cuda" else "cpu")
    )
    first = Plan(given.manifest, "", "full", given.batch_seconds, given.steps, chosen.precision, given.device)
    device = torch.cuda.get_device_name() if given.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"batches of {given.batch_seconds:g} s, {chosen.precision}, {device}\n")
    print("| size | mode | learns | GiB measured | GiB computed | s a step measured | s a step computed |")
    print("|---|---|---:|---:|---:|---:|---:|")
    plans = [
        replace(first, size=size, mode=mode) for size in (*given.measured, *given.computed) for mode in given.modes
    ]
    for row in rows(plans, lambda plan: plan.size in given.measured):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
