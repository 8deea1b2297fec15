"""Training steps on the same batches, padded against tight: python scripts/benchmark_window.py MANIFEST --model base.

The batches are the first that training draws: each of fragments of like length, from all of the manifest.
Prints seconds and fragments per second of both, and their ratio: forward, backward and the optimiser's step.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import torch
from tqdm import tqdm

from asr.data.batch import Batch, BatchLoader, BatchOptions
from asr.data.labels import Labeller
from asr.data.stream import BatchStream
from asr.model.adapt import trainable_parameters
from asr.model.checkpoint import load_checkpoint
from asr.model.network import Window
from asr.training.optim import OptimOptions
from asr.training.task import TranscriptionTask


def seconds_of(task: TranscriptionTask, optimizer: torch.optim.Optimizer, window: Window, batch: Batch) -> float:
    """Return the seconds of one step."""
    task.model.window = window
    began = time.perf_counter()
    task.training_step(batch, 0).backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - began


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
    task = TranscriptionTask(model, OptimOptions(), None, max_steps=len(batches))
    # There is no trainer to log to, and no other process.
    task.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    task._trainer = SimpleNamespace(world_size=1)  # type: ignore[assignment]
    optimizer = torch.optim.AdamW(trainable_parameters(model), fused=True)
    seconds_of(task, optimizer, "tight", batches[0])  # the first step makes the optimiser's state
    # One after the other on the same batch, so that what else the machine does slows both.
    took = [[seconds_of(task, optimizer, window, batch) for window in ("padded", "tight")] for batch in tqdm(batches)]
    padded, tight = (sum(column) for column in zip(*took, strict=True))
    for name, seconds in (("padded", padded), ("tight", tight)):
        print(f"{name:>6}: {seconds / len(batches):6.2f} s a step, {count / seconds:6.2f} fragments a second")
    print(f" ratio: {padded / tight:.1f}")


if __name__ == "__main__":
    main()
