"""What heads cost: python scripts/benchmark_heads.py MANIFEST --model CHECKPOINT.

Transcribes the fragments with the checkpoint's heads and without, by turns, a batch of them at a time, and prints the
time of both and how much more it is with heads: their layers, the pitch that they ask for, and the final mark.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import track
from torch import nn

from asr import Transcriber, read_manifest
from asr.model.checkpoint import load_checkpoint


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", required=True, help="a checkpoint with heads")
    parser.add_argument("--fragments", type=int, default=20, help="in a turn")
    parser.add_argument("--turns", type=int, default=8)
    given = parser.parse_args()

    loaded = load_checkpoint(given.model)
    told = Transcriber(loaded)
    if not told.heads:
        parser.error(f"{given.model} has no heads")
    heads, none = loaded.model.heads, nn.ModuleDict()
    # The same weights, asked for nothing but text.
    loaded.model.heads = none
    plain = Transcriber(loaded)
    fragments = read_manifest(given.manifest)
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    audio = 0.0
    for turn in track(range(given.turns + 1), console=Console(stderr=True)):
        chosen = list(islice(fragments, given.fragments))
        if len(chosen) < given.fragments:
            wanted = given.fragments * (given.turns + 1)
            parser.error(f"{given.manifest} has too few fragments, {wanted} are needed: ask for fewer --turns")
        for name, transcriber, own in (("without", plain, none), ("with", told, heads)):
            loaded.model.heads = own
            began = time.perf_counter()
            list(transcriber.transcribe_many(chosen))
            if turn:  # the first one loads libraries
                seconds[name].append(time.perf_counter() - began)
        audio += sum(fragment.duration or 0.0 for fragment in chosen) if turn else 0.0
    ratios = [after / before for before, after in zip(seconds["without"], seconds["with"], strict=True)]
    print(
        f"{audio:.0f} s of audio, {given.turns} turns: {sum(seconds['without']):.1f} s without heads, "
        f"{sum(seconds['with']):.1f} s with {', '.join(told.heads)}: {100 * (median(ratios) - 1):+.1f} % (median of "
        f"turns, {100 * (min(ratios) - 1):+.1f} to {100 * (max(ratios) - 1):+.1f} %)"
    )


if __name__ == "__main__":
    main()
