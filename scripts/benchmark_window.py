"""Training steps on the same batches, padded against tight: python scripts/benchmark_window.py MANIFEST --model base.

The batches are the first that training draws: each of fragments of like length, from all of the manifest.
Prints seconds and fragments per second of both, and their ratio: forward, backward and the optimiser's step.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

import torch

from asr.data.batch import Batch, BatchLoader, BatchOptions
from asr.data.labels import Labeller
from asr.data.stream import BatchStream
from asr.model.adapt import trainable_parameters
from asr.model.checkpoint import load_checkpoint
from asr.model.network import DialectWhisper, Window
from asr.training.task import OptimOptions, TranscriptionTask


def seconds_of(model: DialectWhisper, window: Window, batches: list[Batch]) -> float:
    """Return the seconds of one step on each batch, after one that does not count."""
    model.window = window
    task = TranscriptionTask(model, OptimOptions(), None, max_steps=100)
    task.log = lambda *args, **kwargs: None  # type: ignore[method-assign]  # there is no trainer to log to
    optimizer = torch.optim.AdamW(trainable_parameters(model), fused=True)
    took = []
    for batch in [batches[0], *batches]:
        began = time.perf_counter()
        task.training_step(batch, 0).backward()
        optimizer.step()
        optimizer.zero_grad()
        took.append(time.perf_counter() - began)
    return sum(took[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--batch-seconds", type=float, default=30.0)
    parser.add_argument("--batches", type=int, default=8)
    given = parser.parse_args()
    model = load_checkpoint(given.model).model.train()
    draws = islice(BatchStream([given.manifest], given.batch_seconds), given.batches)
    loader = BatchLoader(Labeller(model.whisper), BatchOptions(speeds=(1.0,)))
    batches = [loader[draw] for draw in draws]
    count = sum(len(batch.fragments) for batch in batches)
    audio = sum(fragment.duration or 0.0 for batch in batches for fragment in batch.fragments)
    print(
        f"{count} fragments, {audio / count:.1f} s on average, in {len(batches)} batches; "
        f"{torch.get_num_threads()} threads"
    )
    tight = seconds_of(model, "tight", batches)
    padded = seconds_of(model, "padded", batches)
    for name, took in (("padded", padded), ("tight", tight)):
        print(f"{name:>6}: {took / len(batches):6.2f} s a step, {count / took:6.2f} fragments a second")
    print(f" ratio: {padded / tight:.1f}")


if __name__ == "__main__":
    main()
