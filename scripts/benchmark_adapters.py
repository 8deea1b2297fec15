"""What adapters are worth: python scripts/benchmark_adapters.py MANIFEST... --model BASE --adapters FOLDER.

Hears the fragments by the base alone; with the adapter of the dialect that is given, of the one that the base's head
hears (hard), and with a mixture by that head's probabilities (soft); and by one joint model (``--joint``), if there is
one. Only "given" is told the dialects. Systems take turns, a batch of fragments each; time is that of the processor,
which other programs on the machine change little.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from asr import Transcriber, read_manifest
from asr.errors import AsrError
from asr.fragment import Fragment
from asr.inference.adapters import ROUTINGS
from asr.metrics import ErrorCounts, Estimate, nearest_errors, paired_change, rate_estimate
from asr.model.checkpoint import load_checkpoint
from asr.text import get_normalizer
from asr.transcript import Transcript

# Whose adapter a fragment took.
_KINDS = ("own", "another", "none")


@dataclass
class System:
    """One way to hear the fragments, and what came of it.

    Attributes:
        transcriber: Hears them.
        told: Whether it is told the dialects.
        errors: Of each fragment.
        seconds: Of the processor, all fragments together.
        taken: How often the adapter that weighed most was the dialect's own, another one's, or none.
    """

    transcriber: Transcriber
    told: bool = False
    errors: list[ErrorCounts] = field(default_factory=list)
    seconds: float = 0.0
    taken: Counter[str] = field(default_factory=Counter)

    def hear(self, fragments: list[Fragment], timed: bool) -> None:
        """Transcribe a batch."""
        items = fragments if self.told else [fragment.replace(dialect=None) for fragment in fragments]
        began = time.process_time()
        results = list(self.transcriber.transcribe_many(items))
        if not timed:
            return
        self.seconds += time.process_time() - began
        for fragment, result in zip(fragments, results, strict=True):
            if isinstance(result, AsrError):
                raise result
            normalizer = get_normalizer(fragment.language, fragment.dialect)
            self.errors.append(nearest_errors(normalizer(fragment.text), normalizer.renderings(result.text))[0])
            self.taken[_taken(fragment, result)] += 1


def _taken(fragment: Fragment, result: Transcript) -> str:
    if not result.adapters:
        return "none"
    return "own" if max(result.adapters, key=lambda tag: result.adapters[tag]) == fragment.dialect else "another"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, nargs="+", help="fragments with their dialects")
    parser.add_argument("--model", required=True, help="the base, with a dialect head")
    parser.add_argument("--adapters", type=Path, required=True, help="the folder of its adapters")
    parser.add_argument("--joint", help="a checkpoint that learnt from all dialects together")
    parser.add_argument("--fragments", type=int, default=16, help="in a turn")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()

    base = load_checkpoint(given.model)
    systems = {"base alone": System(Transcriber(base, threads=given.threads))}
    for routing in reversed(ROUTINGS):
        transcriber = Transcriber(base, threads=given.threads, adapters=given.adapters, routing=routing)
        systems[routing] = System(transcriber, told=routing == "given")
    if given.joint is not None:
        systems["joint model"] = System(Transcriber(given.joint, threads=given.threads))
    if "dialect" not in systems["base alone"].transcriber.heads:
        parser.error(f"{given.model} has no dialect head")

    fragments = [fragment for path in given.manifest for fragment in read_manifest(path)]
    if unlabelled := [fragment.id for fragment in fragments if fragment.dialect is None]:
        parser.error(f"{len(unlabelled)} fragments have no dialect, {unlabelled[0]} for one")
    # All dialects in every batch, the same ones in every run.
    order = torch.randperm(len(fragments), generator=torch.Generator().manual_seed(0)).tolist()
    fragments = [fragments[place] for place in order]
    turns = [fragments[first : first + given.fragments] for first in range(0, len(fragments), given.fragments)]
    for system in systems.values():  # what is loaded once
        system.hear(turns[0], timed=False)
    names = list(systems)
    for number, turn in enumerate(track(turns, console=Console(stderr=True))):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            systems[name].hear(turn, timed=True)
    _print(systems, fragments)


def _print(systems: dict[str, System], fragments: list[Fragment]) -> None:
    dialects = sorted({str(fragment.dialect) for fragment in fragments})
    clusters = [fragment.speaker or fragment.id for fragment in fragments]
    words = [one.reference for one in systems["base alone"].errors]
    alone = [one.errors for one in systems["base alone"].errors]
    seconds = sum(fragment.duration or 0.0 for fragment in fragments)
    print(
        f"{len(fragments)} fragments, {seconds:.0f} s, {len(set(clusters))} speakers, {sum(words)} words: "
        + ", ".join(f"{sum(one.dialect == tag for one in fragments)} {tag}" for tag in dialects)
    )
    print(f"| | WER % | change against the base, % | {' | '.join(dialects)} | adapter taken | s per fragment |")
    for name, system in systems.items():
        errors = [one.errors for one in system.errors]
        overall, change = rate_estimate(errors, words, clusters), paired_change(errors, alone, words, clusters).relative
        by_dialect: dict[str, ErrorCounts] = defaultdict(ErrorCounts)
        for one, fragment in zip(system.errors, fragments, strict=True):
            by_dialect[str(fragment.dialect)] += one
        taken = ", ".join(
            f"{kind} {100 * system.taken[kind] / len(fragments):.0f} %" for kind in _KINDS if system.taken[kind]
        )
        print(
            f"| {name} | {_interval(overall)} | {_interval(change)} | "
            + " | ".join(f"{100 * (by_dialect[tag].rate or 0):.2f}" for tag in dialects)
            + f" | {taken} | {system.seconds / len(fragments):.3f} |"
        )


def _interval(estimate: Estimate) -> str:
    ends = (estimate.low, estimate.high)
    shown = f"{100 * (estimate.value or 0):.2f}"
    return shown if None in ends else shown + f" [{', '.join(f'{100 * (end or 0):.2f}' for end in ends)}]"


if __name__ == "__main__":
    main()
