"""Training steps with and without torch.compile, on the same batches: python scripts/benchmark_compile.py MANIFEST.

The blocks of encoder and decoder are compiled for any length (``dynamic=True``); what surrounds them is not. Prints the
seconds of the first compiled steps, in which torch compiles, then medians of a step's seconds and of the pairs' ratios,
forward and backward, taken by turns: by the clock, and of processor time, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from torch import Tensor
from tqdm import tqdm

from asr.data.batch import Batch, BatchLoader, BatchOptions
from asr.data.labels import Labeller
from asr.data.stream import BatchStream
from asr.model import network
from asr.model.checkpoint import load_checkpoint
from asr.training.optim import OptimOptions
from asr.training.run import TrainerOptions, with_precision
from asr.training.task import TranscriptionTask

_BLOCKS = ("_encoder_block", "_decoder_block")
# Steps in which torch compiles, with the lengths of as many batches.
_WARM = 3

Blocks = dict[str, Callable[..., Tensor]]


def with_blocks(blocks: Blocks) -> AbstractContextManager[object]:
    """Let the model run its blocks by these functions."""
    return mock.patch.multiple(network, **blocks)


def seconds_of(task: TranscriptionTask, batch: Batch, blocks: Blocks, precision: str) -> tuple[float, float]:
    """Seconds of a step by the clock, and of processor time."""
    device = task.model.device
    batch = batch.to(device)
    began, processor = time.perf_counter(), time.process_time()
    with with_blocks(blocks):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = task.training_step(batch, 0)
        loss.backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    took = time.perf_counter() - began, time.process_time() - processor
    task.zero_grad()
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--batch-seconds", type=float, default=30.0)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    precision = with_precision(TrainerOptions(accelerator="gpu" if given.device == "cuda" else "cpu")).precision
    model = load_checkpoint(given.model, given.device).model.train()
    model.window = "tight"
    loader = BatchLoader(Labeller(model.whisper), BatchOptions(speeds=(1.0,)))
    batches = [loader[draw] for draw in islice(BatchStream([given.manifest], given.batch_seconds), given.pairs)]
    task = TranscriptionTask(model, OptimOptions(), None, max_steps=1)
    # There is no trainer to log to, and no other process.
    task.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    task._trainer = SimpleNamespace(world_size=1)  # type: ignore[assignment]
    plain = {name: getattr(network, name) for name in _BLOCKS}
    compiled = {name: torch.compile(function, dynamic=True) for name, function in plain.items()}
    warm = [seconds_of(task, batch, compiled, precision)[0] for batch in batches[:_WARM]]
    print(
        f"{precision} on {given.device}, {torch.get_num_threads()} threads; compiling:", *(f"{s:.1f} s" for s in warm)
    )
    pairs = [[seconds_of(task, batch, blocks, precision) for blocks in (plain, compiled)] for batch in tqdm(batches)]
    for column, name in enumerate(("by the clock", "processor time")):
        before, after = (statistics.median(pair[side][column] for pair in pairs) for side in (0, 1))
        ratio = statistics.median(pair[0][column] / pair[1][column] for pair in pairs)
        print(f"{name:>14}: {before:.2f} s, compiled {after:.2f} s; {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
