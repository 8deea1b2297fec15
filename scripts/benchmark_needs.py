"""How surely needs are told: python scripts/benchmark_needs.py [FOLDER] [--intent-model FILE].

On the made-up sentences of datasets/needs, French and English apart: `dev`, `heldout`, `hard` and `after`; what each is
stands in the card there. With FOLDER, as scripts/benchmark_intent.py takes it, also on sentences that other people
wrote: the test part of CLINC150, all of SNIPS, and SLURP. There, a need is right where the sentence's intent is one of
those that the need names.

told        needs that are told
precision   of these, those that are right
recall      of the sentences that have a need, those whose need is told

In brackets 95 % intervals (Clopper and Pearson), over sentences: nobody speaks. With an intent model, which may have
learnt from CLINC150's training part, its intents count beside the words.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import binomtest

from asr.errors import AsrError
from asr.intent.model import Intent, IntentModel, SaidHypothesis, SaidWord, load_intent_model
from asr.intent.needs import Taxonomy, needs_in, read_needs
from asr.jsonlines import read_objects
from asr.tables import read_table

DATASET = Path(__file__).parents[1] / "datasets" / "needs"
PARTS = ("dev", "heldout", "hard", "after")
COLUMNS = ("language", "need", "kind", "text")
NONE = "none"
# Name, manifest, and the part of it that is read; the rules were made with none of these.
OTHERS = (
    ("CLINC150 test", "clinc150/manifest.jsonl", ("test", "oos_test")),
    ("SNIPS", "snips_nlu_benchmark/manifest.jsonl", None),
    ("SLURP devel", "slurp_text/manifest.jsonl", None),
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence as an utterance event has it, and the needs that it is right to tell of it."""

    text: str
    language: str
    right: frozenset[str]
    kind: str = ""
    text_standard: str | None = None
    p_question: float | None = None
    words: Sequence[SaidWord] = ()
    nbest: Sequence[SaidHypothesis] = ()


def made_up(part: str) -> Iterator[Sentence]:
    """The sentences of this project."""
    for _, row in read_table(DATASET / f"{part}.tsv", COLUMNS):
        yield Sentence(row["text"], row["language"], frozenset({row["need"]} - {NONE}), row["kind"])


def others(path: Path, splits: tuple[str, ...] | None, taxonomy: Taxonomy) -> Iterator[Sentence]:
    """The sentences of an intent corpus."""
    for _, row in read_objects(path):
        if isinstance(row, Exception):
            raise row
        if splits is None or row["split"] in splits:
            right = frozenset(name for name, need in taxonomy.needs.items() if row["intent"] in need.intents)
            yield Sentence(row["text"], row["lang"], right)


def rate(part: int, of: int) -> str:
    """A share with its interval, in per cent."""
    if not of:
        return "-"
    low, high = binomtest(part, of).proportion_ci()
    return f"{100 * part / of:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def show(name: str, sentences: Sequence[Sentence], taxonomy: Taxonomy, model: IntentModel | None) -> None:
    """Print one row, and the kinds of sentences in which something is told wrongly."""
    intents: Sequence[Intent | None] = [None] * len(sentences)
    if model is not None:
        intents = model.predict_many(sentences)
    told = right = having = found = 0
    wrong: dict[str, int] = {}
    for sentence, intent in zip(sentences, intents, strict=True):
        names = {need.name for need in needs_in(sentence, taxonomy, intent).needs}
        told, right = told + len(names), right + len(names & sentence.right)
        having, found = having + bool(sentence.right), found + bool(names & sentence.right)
        for _ in names - sentence.right:
            wrong[sentence.kind] = wrong.get(sentence.kind, 0) + 1
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(wrong.items()) if kind)
    row = f"{name:16} {len(sentences):9} {told:5} {rate(right, told):20} {having:6} {rate(found, having):20} {kinds}"
    print(row.rstrip(), flush=True)


def main() -> None:
    """Read the arguments, print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="the folder of intent corpora")
    parser.add_argument("--intent-model", type=Path, help="what scripts/train_intent.py made")
    given = parser.parse_args()
    try:
        taxonomy = read_needs(DATASET / "needs.yaml")
        model = None if given.intent_model is None else load_intent_model(given.intent_model)
        heads = f"{'sentences':>9} {'told':>5} {'precision %':20} {'with a':>6} {'recall %':20} wrong in"
        print(f"{'':16} {heads}")
        for part in PARTS:
            sentences = list(made_up(part))
            for language in taxonomy.languages:
                own = [one for one in sentences if one.language == language]
                show(f"{part} {language}", own, taxonomy, model)
            show(part, sentences, taxonomy, model)
        if given.folder is not None:
            for name, manifest, splits in OTHERS:
                show(name, list(others(given.folder / manifest, splits, taxonomy)), taxonomy, model)
    except AsrError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
