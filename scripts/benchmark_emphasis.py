"""Which word is emphasised, by the voice alone: python scripts/benchmark_emphasis.py MANIFEST --model CHECKPOINT.

MANIFEST holds sentences of subject, verb and object, with the word that people heard as prominent in the key
``prominence``: "Verb" is the second one, "Object" the last (recipe `bestiary_intonation`). Their known text is
aligned. Prints how often the word with the highest score is that one, by each cue of `asr.prosody.word_cues`, by all,
and by the rule that it is always the last; how well the difference between object and verb tells the two (AUC); and
what `asr.prosody.emphasised` finds. All with 95 % intervals over speakers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track as progress
from whisper.tokenizer import get_tokenizer

from asr import Fragment, load_checkpoint, read_manifest
from asr.audio import SAMPLE_RATE, load_audio
from asr.inference.words import word_times
from asr.metrics import statistic_estimate
from asr.metrics.labels import area_under_curve
from asr.model.network import DialectWhisper
from asr.prosody import FRAME_RATE, WORD_CUES, emphasised, track, word_cues

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

RESAMPLES = 1000
VERB, OBJECT = 1, -1
PLACES = {"Verb": VERB, "Object": OBJECT}


def annotated(fragment: Fragment) -> bool:
    """Whether it is known which word is prominent, among three or more."""
    return fragment.custom.get("prominence") in PLACES and len(fragment.text.split()) > 2


@torch.inference_mode()
def measure(model: DialectWhisper, fragment: Fragment) -> tuple[Floats, Flags] | None:
    """Scores [W, cues and their mean] and which words are emphasised [W]; None where nothing can be told."""
    samples = load_audio(fragment.audio, fragment.start, fragment.duration)
    whisper = model.whisper
    tokenizer = get_tokenizer(whisper.is_multilingual, num_languages=whisper.num_languages, language=fragment.language)
    num_samples = model.window_samples(torch.tensor([len(samples)]))
    encoded = model.encode(*model.features(torch.from_numpy(samples)[None], num_samples))
    frames = len(samples) * FRAME_RATE // SAMPLE_RATE
    text = tokenizer.encode(f" {fragment.text}")
    (words,) = word_times(model, encoded, [frames], [text], fragment.language)
    cues = word_cues(track(samples), words)
    if cues is None:
        return None
    scores = np.column_stack([cues, cues.mean(axis=1)])
    marked = emphasised([replace(word, prominence=score) for word, score in zip(words, scores[:, -1], strict=True)])
    return scores, np.isin(np.arange(len(words)), marked)


def interval(speakers: list[str], statistic: Callable[[npt.NDArray[np.intp]], float | None]) -> str:
    """The statistic over all, and its 95 % interval over speakers."""
    found = statistic_estimate(statistic, speakers, resamples=RESAMPLES)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def share(flags: Flags, among: Flags, rows: npt.NDArray[np.intp]) -> float | None:
    """Share of some of the rows; None where there are none of them."""
    chosen = rows[among[rows]]
    return float(flags[chosen].mean()) if len(chosen) else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="base")
    given = parser.parse_args()

    model = load_checkpoint(given.model).model.eval()
    fragments = [fragment for fragment in read_manifest(given.manifest) if annotated(fragment)]
    found = [measure(model, item) for item in progress(fragments, "aligning", console=Console(stderr=True))]
    told = [(item, *result) for item, result in zip(fragments, found, strict=True) if result is not None]
    speakers = [item.speaker or item.id for item, _, _ in told]
    verb = np.array([item.custom["prominence"] == "Verb" for item, _, _ in told])
    places = [len(scores) - 1 if not second else VERB for second, (_, scores, _) in zip(verb, told, strict=True)]
    chance = float(np.mean([1 / len(scores) for _, scores, _ in told]))
    print(
        f"{len(told)} fragments, {len(set(speakers))} speakers, {verb.sum()} with the verb prominent; "
        f"{len(fragments) - len(told)} in which nothing can be told; chance {chance:.3f}"
    )

    def balanced(right: Flags) -> Callable[[npt.NDArray[np.intp]], float | None]:
        def mean(rows: npt.NDArray[np.intp]) -> float | None:
            kinds = [share(right, verb, rows), share(right, ~verb, rows)]
            return None if None in kinds else float(np.mean(kinds))

        return mean

    everything = np.ones(len(told), bool)
    print(f"{'by':10} {'right':22} {'verb':6} {'object':6} {'mean of the two':22} AUC")
    for number, name in enumerate((*WORD_CUES, "all", "last word")):
        columns = [scores[:, number] if number < scores.shape[1] else np.arange(len(scores)) for _, scores, _ in told]
        right = np.array([column.argmax() == place for column, place in zip(columns, places, strict=True)])
        lead = np.array([column[VERB] - column[OBJECT] for column in columns], float)
        print(
            f"{name:10} {interval(speakers, lambda rows, right=right: share(right, everything, rows))} "
            f"{right[verb].mean():6.3f} {right[~verb].mean():6.3f} {interval(speakers, balanced(right))} "
            f"{interval(speakers, lambda rows, lead=lead: area_under_curve(verb[rows], lead[rows]))}"
        )
    some = np.array([marked.any() for _, _, marked in told])
    hit = np.array([marked[place] for (_, _, marked), place in zip(told, places, strict=True)])
    wrong = np.array([marked.sum() for _, _, marked in told]) - hit
    print(f"emphasis is told in {some.mean():.3f} of the fragments")
    print("recall   ", interval(speakers, lambda rows: share(hit, everything, rows)))
    precision = interval(speakers, lambda rows: hit[rows].sum() / max(1, hit[rows].sum() + wrong[rows].sum()))
    print("precision", precision)


if __name__ == "__main__":
    main()
