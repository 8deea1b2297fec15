"""What so many minutes of a dialect are good for: benchmark_minutes.py TRAIN DEV --model TIGHT_BASE --output FOLDER.

Trains on 5, 15, 30 and 60 minutes of TRAIN, drawn at random among all of its speakers, and on all of it
(`experiment=dialect`, as many passes each, but no less than --least steps), and scores each on DEV, whose speakers
are others: once, as the fragments are cut, and as `asr transcribe` hears recordings. With --replay as much of what the
base hears in standard speech is heard beside it as `experiment=dialect` advises; with --standard the standard is scored
too. Prints a table in Markdown, and writes it and a picture into the folder. A run that is there already is not trained
again.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from asr import Fragment, Transcriber, read_manifest
from asr.evaluation import evaluate
from asr.evaluation.report import GroupScore
from asr.files import atomic_write
from asr.fragment import write_manifest

# Of `experiment=dialect`, and the minutes of speech that its steps were chosen for.
STEPS, MINUTES = 580, 88


def draw(fragments: Sequence[Fragment], minutes: float, seed: int) -> list[Fragment]:
    """Fragments of so many minutes; a larger number holds the smaller ones' too."""
    order = list(fragments)
    random.Random(seed).shuffle(order)
    taken, seconds = [], 0.0
    for fragment in order:
        if seconds >= 60 * minutes:
            break
        taken.append(fragment)
        seconds += fragment.duration or 0.0
    return taken


def train(manifest: Path, run: Path, steps: int, given: argparse.Namespace) -> Path:
    """Train as a user does; return the last checkpoint."""
    checkpoint = run / "checkpoints" / "last.pt"
    if not checkpoint.is_file():
        heard = f"[{manifest},{given.replay}]" if given.replay else str(manifest)
        command = [
            sys.executable, str(Path(__file__).with_name("train.py")), "experiment=dialect",
            f"model.name={given.model}", f"data.train={heard}", f"run={run}", f"seed={given.seed}",
            f"trainer.max_steps={steps}", f"trainer.validate_every={steps}",
            f"optim.warmup_steps={min(30, steps // 4)}",
        ]  # fmt: skip
        command += ["data.weights=[4,1]"] if given.replay else []
        command += ["without_consent_check=true"] if given.without_consent_check else []
        # What is printed here is the table alone.
        subprocess.run(command, check=True, stdout=sys.stderr)
    return checkpoint


def told(group: GroupScore) -> str:
    """A WER in percent, with its interval."""
    wer = group.system.wer
    assert wer.value is not None
    if wer.low is None or wer.high is None:
        return f"{100 * wer.value:.2f}"
    return f"{100 * wer.value:.2f} [{100 * wer.low:.1f}, {100 * wer.high:.1f}]"


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("dev", type=Path)
    parser.add_argument("--model", required=True, help="A tight base: what experiment=window makes.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--replay", type=Path, help="What the base hears in standard speech (asr label).")
    parser.add_argument("--standard", type=Path, help="Standard speech to be scored on.")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 15, 30, 60])
    parser.add_argument("--least", type=int, default=60, help="Steps of the shortest run.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-consent-check", action="store_true")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    everything = list(read_manifest(given.train))
    consent = {"consent": None} if given.without_consent_check else {}
    sets = {"dialect": given.dev} | ({"standard": given.standard} if given.standard else {})
    ways = {"": False, ", as recordings": True}
    header = ["minutes", "fragments", "speakers", "steps", *(f"{name} WER %{way}" for name in sets for way in ways)]
    lines: list[str] = []
    curve: list[tuple[float, float]] = []

    def tell(row: list[str]) -> None:
        lines.append(f"| {' | '.join(row)} |")
        print(lines[-1], flush=True)

    def score(checkpoint: Path | str, minutes: float, *row: int) -> None:
        transcriber = Transcriber(checkpoint)
        found = []
        for as_recordings in ways.values():
            name = f"{minutes:g} minutes"
            report = evaluate(transcriber, sets, system_name=name, as_recordings=as_recordings, **consent)
            groups = {group.group: group for group in report.targets[0].groups if group.dimension == "test_set"}
            found.append({"dialect": report.targets[0].overall} | groups)
        tell([f"{minutes:.0f}", *map(str, row), *(told(groups[name]) for name in sets for groups in found)])
        curve.append((minutes, 100 * (found[0]["dialect"].system.wer.value or 0.0)))

    tell(header)
    tell(["---:"] * len(header))
    score(given.model, 0, 0, 0, 0)
    for wanted in (*given.minutes, float("inf")):
        fragments = draw(everything, wanted, given.seed)
        minutes = sum(fragment.duration or 0.0 for fragment in fragments) / 60
        name = "all" if wanted == float("inf") else f"{wanted:g}"
        write_manifest(fragments, given.output / f"{name}.jsonl")
        steps = max(given.least, round(STEPS * minutes / MINUTES))
        checkpoint = train(given.output / f"{name}.jsonl", given.output / name, steps, given)
        score(checkpoint, minutes, len(fragments), len({fragment.speaker for fragment in fragments}), steps)
    with atomic_write(given.output / "minutes.md") as handle:
        handle.write("\n".join(lines) + "\n")
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*curve, strict=True), "o-", color="#0072b2")
    axes.set(xlabel="minutes of training speech", ylabel="WER in %", ylim=(0, None), title="What so many minutes do")
    with atomic_write(given.output / "minutes.png", "wb") as handle:
        figure.savefig(handle, dpi=150, format="png")


if __name__ == "__main__":
    main()
