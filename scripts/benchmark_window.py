"""One training step on the same batch, padded against tight: python scripts/benchmark_window.py MANIFEST --model base.

The batch is one that training draws: fragments of like length.
Prints seconds and fragments per second of both, and their ratio: forward, backward and the optimiser's step.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from asr.data.batch import Batch, BatchLoader, BatchOptions
from asr.data.labels import Labeller
from asr.data.stream import BatchStream
from asr.model.adapt import trainable_parameters
from asr.model.checkpoint import load_checkpoint
from asr.model.network import DialectWhisper, Window
from asr.training.task import OptimOptions, TranscriptionTask


def seconds_per_step(model: DialectWhisper, window: Window, batch: Batch, repeats: int) -> float:
    """Return the least seconds of some steps, after one that does not count."""
    model.window = window
    task = TranscriptionTask(model, OptimOptions(), None, max_steps=100)
    task.log = lambda *args, **kwargs: None  # type: ignore[method-assign]  # there is no trainer to log to
    optimizer = torch.optim.AdamW(trainable_parameters(model), fused=True)
    took = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        task.training_step(batch, 0).backward()
        optimizer.step()
        optimizer.zero_grad()
        took.append(time.perf_counter() - began)
    return min(took[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--batch-seconds", type=float, default=60.0)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    model = load_checkpoint(given.model).model.train()
    draw = next(iter(BatchStream([given.manifest], given.batch_seconds)))
    batch = BatchLoader(Labeller(model.whisper), BatchOptions(speeds=(1.0,)))[draw]
    count = len(batch.fragments)
    audio = sum(fragment.duration or 0.0 for fragment in batch.fragments)
    print(f"{count} fragments, {audio / count:.1f} s on average, {torch.get_num_threads()} threads")
    tight = seconds_per_step(model, "tight", batch, given.repeats)
    padded = seconds_per_step(model, "padded", batch, given.repeats)
    for name, took in (("padded", padded), ("tight", tight)):
        print(f"{name:>6}: {took:6.2f} s a step, {count / took:6.2f} fragments a second")
    print(f" ratio: {padded / tight:.1f}")


if __name__ == "__main__":
    main()
