"""From the command to the first word: python scripts/benchmark_start.py RECORDING --model CHECKPOINT.

Each turn starts Python for PyTorch and Whisper alone, for a model that is loaded by them, for the same by this project,
and `asr transcribe` on the recording, each in a process of its own. Prints the median seconds of each.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--model", required=True, help="a checkpoint (.pt)")
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    python = [sys.executable, "-c"]
    load = "; load_checkpoint(sys.argv[1])"
    with tempfile.TemporaryDirectory() as folder:
        transcribe = [sys.executable, "-m", "asr", "transcribe", str(given.recording), "--model", given.model]
        commands = {
            "PyTorch and Whisper": [*python, "import torch, whisper"],
            "and a model, by them": [
                *python,
                "import sys, whisper; whisper.load_model(sys.argv[1], 'cpu')",
                given.model,
            ],
            "and a model, by us": [
                *python,
                f"import sys; from asr.model.checkpoint import load_checkpoint{load}",
                given.model,
            ],
            "asr transcribe": [*transcribe, "--overwrite", "--output-dir", folder],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in track(range(given.turns + 1), "starting", console=Console(stderr=True)):
            for name, command in commands.items():
                began = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                seconds[name].append(time.perf_counter() - began)
    for name, found in seconds.items():
        print(f"{name:20} {statistics.median(found[1:]):6.2f} s")  # the first one fills the disk's cache


if __name__ == "__main__":
    main()
