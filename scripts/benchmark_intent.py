"""What the intent model reaches on texts: python scripts/benchmark_intent.py FOLDER [--only clinc snips home slurp].

FOLDER holds, each with a ``manifest.jsonl`` of ``text``, ``intent``, ``lang`` and ``split``: ``clinc150``,
``snips_nlu_benchmark``, ``ha_intents_fr``, and ``slurp_text`` with ``asr_hyp_manifest.jsonl`` (``file``, ``text_gold``,
``text_asr``, ``intent``), what a recogniser heard of its test sentences.

CLINC150 is measured by the usual definition: accuracy over the queries that are in scope, where calling one out of
scope is an error, and the recall of those that are not. The other sets have nothing out of scope, and the most
probable intent counts, whatever its confidence. Nothing is chosen on a test part. SLURP's training part is not in the
folder: its test sentences are asked in five folds, and a model learns from the devel part and the other four; so the
figures do not compare with published ones. The errors of the recogniser too are learnt from the other four folds. It
has one hypothesis for a recording; pooling is measured where two microphones heard the same words.

No set names speakers: the 95 % intervals are over utterances, in SLURP over sentences with all their recordings.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from asr.errors import AsrError
from asr.intent.features import bare
from asr.intent.model import Intent, IntentModel
from asr.intent.noise import learn_confusions
from asr.intent.training import Example, IntentOptions, read_examples, score_intents, train_intent_model
from asr.jsonlines import read_sound_objects
from asr.metrics import Estimate, rate_estimate, word_errors

Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

FOLDS = 5
TRAVEL = Path(__file__).parents[1] / "datasets" / "intents" / "travel.fr.jsonl"
OPTIONS = IntentOptions()
# Word error rates of a recording, above the one before, up to this.
BANDS = (0.0, 0.25, 0.5, np.inf)


def examples(rows: Sequence[dict[str, Any]], **wanted: str) -> list[Example]:
    """The rows whose keys have these values, or one of several with a bar between."""
    return [
        Example(row["text"], row["intent"], row["lang"])
        for row in rows
        if all(row[key] in values.split("|") for key, values in wanted.items())
    ]


def best(told: Intent) -> str:
    """The most probable intent, in scope or not."""
    return told.scores[0][0] if told.scores else ""


def ask(model: IntentModel, asked: Sequence[Example]) -> Flags:
    """Whether the most probable intent of each is the right one."""
    told = model.predict_many([one.text for one in asked], language=asked[0].language)
    return np.array([best(answer) == one.intent for answer, one in zip(told, asked, strict=True)])


def show(name: str, estimate: Estimate) -> None:
    """Print a share with its interval."""
    share = "-" if estimate.value is None else f"{100 * estimate.value:.2f} %"
    interval = "" if estimate.low is None else f"[{100 * estimate.low:.2f}, {100 * (estimate.high or 0):.2f}]"
    print(f"  {name:72} {share:>9} {interval:16} of {estimate.clusters}", flush=True)


def share(right: Flags) -> Estimate:
    """A share of utterances."""
    return rate_estimate(right, np.ones(len(right), np.int64), [f"{number:06d}" for number in range(len(right))])


def fold_of(text: str) -> int:
    """A sentence is always in the same fold."""
    return zlib.crc32(bare(text).encode()) % FOLDS


def clinc(folder: Path) -> None:
    """CLINC150, what its travel intents know of French, and the time that one utterance takes."""
    rows = list(read_sound_objects(folder / "clinc150" / "manifest.jsonl"))
    learnt, dev = examples(rows, split="train|oos_train"), examples(rows, split="val|oos_val")
    inside, outside = examples(rows, split="test"), examples(rows, split="oos_test")
    print(f"CLINC150: {len(learnt)} learnt from, {len(dev)} to choose the threshold on", flush=True)
    full: IntentModel | None = None
    for name, buckets in (("vectors, words and letters", OPTIONS.buckets), ("vectors alone", 0)):
        model = train_intent_model(learnt, replace(OPTIONS, outside="oos", buckets=buckets), dev)
        full = full or model
        if full is model:
            some = islice(read_sound_objects(folder / "snips_nlu_benchmark" / "manifest.jsonl"), 500)
            speed(model, [row["text"] for row in some])
        told = model.predict_many([one.text for one in inside], language="en")
        right = np.array([answer.name == one.intent for answer, one in zip(told, inside, strict=True)])
        show(f"{name}: in-scope accuracy", share(right))
        known = np.array([best(answer) == one.intent for answer, one in zip(told, inside, strict=True)])
        show(f"{name}: in-scope accuracy if nothing were called out of scope", share(known))
        refused = model.predict_many([one.text for one in outside], language="en")
        show(f"{name}: out-of-scope recall", share(np.array([not answer.in_scope for answer in refused])))
        error = score_intents(model, inside)["calibration_error"]
        print(f"  {name}: calibration error {error:.3f}, threshold {model.full.threshold:.3f}", flush=True)
    assert full is not None
    french = read_examples(TRAVEL)
    print(f"English CLINC150, all {len(full.labels)} labels, asked in French ({TRAVEL.name})", flush=True)
    for name, language in (("known to be French: vectors alone", "fr"), ("taken for English", "en")):
        told = full.predict_many([one.text for one in french], language=language)
        show(
            f"{name}: most probable intent",
            share(np.array([best(a) == e.intent for a, e in zip(told, french, strict=True)])),
        )
        show(
            f"{name}: the same, and in scope",
            share(np.array([a.name == e.intent for a, e in zip(told, french, strict=True)])),
        )


def speed(model: IntentModel, texts: Sequence[str]) -> None:
    """Milliseconds of one utterance on one core; no text is asked twice, vectors are kept."""
    with threadpool_limits(1):
        model.predict("something to begin with")
        half = len(texts) // 2
        for name, keywords, part in (("no keywords", 0, texts[:half]), ("three keywords", 3, texts[half:])):
            wall, busy = [], []
            for text in part:
                began, worked = time.perf_counter(), time.process_time()
                model.predict(text, keywords=keywords)
                wall.append(1000 * (time.perf_counter() - began))
                busy.append(1000 * (time.process_time() - worked))
            figures = [f"{np.median(one):.1f} and {np.percentile(one, 95):.1f} ms" for one in (busy, wall)]
            print(
                f"  {name}: median and 95th percentile {figures[0]} of one core, {figures[1]} by the clock", flush=True
            )


def snips(folder: Path) -> None:
    """SNIPS, with its question marks and without."""
    rows = list(read_sound_objects(folder / "snips_nlu_benchmark" / "manifest.jsonl"))
    learnt, asked = examples(rows, split="train"), examples(rows, split="validate")
    print(f"SNIPS: {len(learnt)} learnt from", flush=True)
    model = train_intent_model(learnt, OPTIONS)
    show("as written", share(ask(model, asked)))
    plain = [replace(one, text=re.sub(r"[?.!\s]+$", "", one.text)) for one in asked]
    show("without the final mark: nobody says whether it is a question", share(ask(model, plain)))
    markless = [replace(one, text=re.sub(r"[?.!\s]+$", "", one.text)) for one in learnt]
    show("the same, learnt from texts without it", share(ask(train_intent_model(markless, OPTIONS), plain)))


def home(folder: Path) -> None:
    """Home Assistant: French through vectors, learnt from French, from English, from both."""
    rows = list(read_sound_objects(folder / "ha_intents_fr" / "manifest.jsonl"))
    french, english = examples(rows, lang="fr"), examples(rows, lang="en")
    print(f"Home Assistant: {len(french)} French, {len(english)} English sentences", flush=True)
    for name, more, buckets in (
        ("vectors, learnt from four fifths of the French", [], 0),
        ("the same and the English", english, 0),
        ("vectors, words and letters, from four fifths of the French", [], OPTIONS.buckets),
    ):
        right = []
        for fold in range(FOLDS):
            learnt = [one for one in french if fold_of(one.text) != fold]
            asked = [one for one in french if fold_of(one.text) == fold]
            right.append(ask(train_intent_model([*learnt, *more], replace(OPTIONS, buckets=buckets)), asked))
        show(f"{name}, five folds", share(np.concatenate(right)))
    model = train_intent_model(english, OPTIONS)
    show("learnt from English alone, known to be French: vectors alone", share(ask(model, french)))
    taken = [replace(one, language="en") for one in french]
    show("learnt from English alone, taken for English", share(ask(model, taken)))


@dataclass(frozen=True)
class Clip:
    """A recording of a sentence, and what was heard."""

    file: str
    gold: str
    heard: str
    intent: str

    @property
    def recording(self) -> str:
        """What was said once, whichever microphone heard it."""
        return self.file.replace("-headset", "")


@dataclass(frozen=True)
class Word:
    """A word with its confidence."""

    text: str
    confidence: float | None


@dataclass(frozen=True)
class Hypothesis:
    """One of several texts."""

    text: str
    log_probability: float = 0.0


@dataclass(frozen=True)
class Utterance:
    """What the model reads of an event."""

    text: str
    words: tuple[Word, ...] = ()
    nbest: tuple[Hypothesis, ...] = ()
    text_standard: str | None = None
    language: str | None = "en"
    p_question: float | None = None


def with_confidences(clip: Clip, source: random.Random) -> Utterance:
    """Simulated: of the words heard rightly one in ten is unsure, of the others seven in ten."""
    words = []
    aligned = jiwer.process_words(bare(clip.gold), bare(clip.heard))
    for chunk in aligned.alignments[0]:
        for word in aligned.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx]:
            unsure = source.random() < (0.1 if chunk.type == "equal" else 0.7)
            words.append(Word(word, 0.25 if unsure else 0.75))
    return Utterance(bare(clip.heard), tuple(words))


def plain_model(known: list[Example], _: list[Clip]) -> IntentModel:
    """Learn from sentences as they are written; a tenth of them calibrates."""
    learnt, dev = shared(known)
    return train_intent_model(learnt, OPTIONS, dev)


def noisy_model(known: list[Example], heard: list[Clip]) -> IntentModel:
    """Learn from the same sentences, and from copies with made-up errors like those of the recogniser."""
    learnt, dev = shared(known)
    return train_intent_model(learnt, OPTIONS, dev, learn_confusions((clip.gold, clip.heard) for clip in heard))


def real_model(known: list[Example], heard: list[Clip]) -> IntentModel:
    """Learn from the same sentences, and from all that was really heard of them, each recording as one example."""
    learnt, dev = shared(known)
    asked = {bare(one.text) for one in dev}
    real = [Example(one.heard, one.intent, "en") for one in heard if bare(one.heard) and bare(one.gold) not in asked]
    return train_intent_model([*learnt, *real], OPTIONS, dev)


def shared(known: list[Example]) -> tuple[list[Example], list[Example]]:
    """Nine tenths to learn from and a tenth to calibrate on, by the sentence."""
    tenth = [zlib.crc32(bare(one.text).encode()) // FOLDS % 10 == 0 for one in known]
    parts = zip(known, tenth, strict=True)
    learnt, dev = [], []
    for one, calibrates in parts:
        (dev if calibrates else learnt).append(one)
    return learnt, dev


def slurp(folder: Path) -> None:
    """SLURP's sentences, and its recordings as a recogniser heard them."""
    rows = list(read_sound_objects(folder / "slurp_text" / "manifest.jsonl"))
    devel, test = examples(rows, split="devel"), examples(rows, split="test")
    clips = [
        Clip(row["file"], row["text_gold"], row["text_asr"], row["intent"])
        for row in read_sound_objects(folder / "slurp_text" / "asr_hyp_manifest.jsonl")
    ]
    errors = [word_errors(bare(clip.gold), bare(clip.heard)) for clip in clips]
    wer = np.array([one.rate or 0.0 for one in errors])
    total = sum(one.errors for one in errors) / sum(one.reference for one in errors)
    print(f"SLURP, scenario and action: {len(devel)} + {len(test)} sentences, {len(clips)} recordings, WER {total:.1%}")
    learnt, dev = shared(devel)
    show(
        "learnt from devel alone, test sentences as written", share(ask(train_intent_model(learnt, OPTIONS, dev), test))
    )
    folds = np.array([fold_of(clip.gold) for clip in clips])
    sentences = np.array([bare(clip.gold) for clip in clips])
    source = random.Random(0)
    unsure = [with_confidences(clip, source) for clip in clips]
    microphones: defaultdict[str, list[Hypothesis]] = defaultdict(list)
    for clip in clips:
        microphones[clip.recording].append(Hypothesis(clip.heard))
    twice = np.array([len(microphones[clip.recording]) > 1 for clip in clips])
    # What is asked of each model: all recordings in each of these forms.
    forms = {
        "written": [Utterance(clip.gold) for clip in clips],
        "heard": [Utterance(clip.heard) for clip in clips],
        "unsure": unsure,
        "pooled": [Utterance(clip.heard, nbest=tuple(microphones[clip.recording])) for clip in clips],
    }
    intents = np.array([clip.intent for clip in clips])

    def in_folds(learn: Callable[[list[Example], list[Clip]], IntentModel]) -> dict[str, Counts]:
        """Whether the most probable intent of each recording is right, by models that know neither it nor its text."""
        right = {form: np.zeros(len(clips), np.int64) for form in forms}
        for fold in range(FOLDS):
            known = [*devel, *test]
            model = learn(
                [one for one in known if fold_of(one.text) != fold],
                [clip for clip, own in zip(clips, folds, strict=True) if own != fold],
            )
            asked = np.flatnonzero(folds == fold)
            for form, said in forms.items():
                told = model.predict_many([said[row] for row in asked])
                right[form][asked] = np.array([best(answer) for answer in told]) == intents[asked]
        return right

    def ratio(above: Counts, below: Counts, rows: Flags | None = None) -> Estimate:
        rows = np.ones(len(clips), bool) if rows is None else rows
        return rate_estimate(above[rows], below[rows], sentences[rows].tolist())

    one = np.ones(len(clips), np.int64)
    learners = {"clean": plain_model, "noise-aware": noisy_model, "real transcripts": real_model}
    found = {}
    for name, learn in learners.items():
        right = found[name] = in_folds(learn)
        show(f"learnt from {name}: as written", ratio(right["written"], one))
        show(f"learnt from {name}: as heard", ratio(right["heard"], one))
        show(f"learnt from {name}: retention", ratio(right["heard"], right["written"]))
    clean, noisy = found["clean"], found["noise-aware"]
    lost = clean["written"] - clean["heard"]
    for name in ("noise-aware", "real transcripts"):
        won = found[name]["heard"] - clean["heard"]
        show(f"learnt from {name}: accuracy more than clean, as heard", ratio(won, one))
        show(f"learnt from {name}: share of clean's loss that it wins back", ratio(won, lost))
    for low, high in pairwise((-np.inf, *BANDS)):
        band = (wer > low) & (wer <= high)
        # Of what clean gets right as written, so that the two compare.
        label = "WER 0" if high == 0 else f"WER above {low:.2f}" + (f" to {high:.2f}" if np.isfinite(high) else "")
        for name, right in (("clean", clean), ("noise-aware", noisy)):
            count = f"{band.sum()} recordings"
            show(f"{label}, {count}: retention, {name}", ratio(right["heard"], clean["written"], band))
    show("SIMULATED confidences, unsure words count less, clean: as heard", ratio(clean["unsure"], one))
    show("the same: accuracy more than without", ratio(clean["unsure"] - clean["heard"], one))
    show(f"{twice.sum()} recordings by two microphones, one by one, clean", ratio(clean["heard"], one, twice))
    show("the same, both pooled", ratio(clean["pooled"], one, twice))
    show("the same: accuracy more than one by one", ratio(clean["pooled"] - clean["heard"], one, twice))


SECTIONS = {"clinc": clinc, "snips": snips, "home": home, "slurp": slurp}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    given = parser.parse_args()
    try:
        for name in given.only:
            SECTIONS[name](given.folder)
    except AsrError as error:
        sys.exit(f"benchmark_intent: {error}")


if __name__ == "__main__":
    main()
