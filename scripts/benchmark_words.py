"""How well personal data in words is found: python scripts/benchmark_words.py [--lines 10000].

On the sentences of datasets/spoken_personal_data: `dev`, which the recognisers were made with; `heldout`, written
before them by the same hand and left alone; `hard`, written after them and left alone. Each as it is and bare, as a
recogniser without capitals and punctuation writes it, by our recognisers with Presidio (what `asr mask` uses), without
it, and by Presidio as it comes, with the same French model and, as none is on PyPI, no English one.

recall      tokens of personal data that lie in a span, whatever its type, of all such tokens
whole       marked spans of which every token is found
over        tokens that are no personal data and are masked, of all such tokens

In brackets 95 % intervals over the templates that the sentences come from. Then the time: lines per second of the
processor's time, one process, over the sentences in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from asr.files import atomic_write
from asr.metrics.bootstrap import Estimate, rate_estimate
from asr.privacy.find import find_spans
from asr.privacy.holdings import Figure, figures_json
from asr.privacy.marked import Finder, Marked, Tally, read_marked, tally
from asr.privacy.spans import LANGUAGES, TYPES, Span
from asr.privacy.spoken import spoken_spans

FOLDER = Path(__file__).parents[1] / "datasets" / "spoken_personal_data"
PARTS = ("dev", "heldout", "hard")


@lru_cache(maxsize=1)
def engine() -> Any:
    """Presidio as it comes, with the recognisers that it loads for French and English."""
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine

    # Its English default is a download; without one it has patterns and no names there.
    labels = {"PER": "PERSON", "LOC": "LOCATION"}
    models = SpacyNlpEngine(
        ner_model_configuration=NerModelConfiguration(
            model_to_presidio_entity_mapping=labels, labels_to_ignore=["ORG", "MISC"]
        )
    )
    models.nlp = {"fr": spacy.load("fr_core_news_md"), "en": spacy.blank("en")}
    registry = RecognizerRegistry(supported_languages=list(LANGUAGES))
    registry.load_predefined_recognizers(languages=list(LANGUAGES), nlp_engine=models)
    return AnalyzerEngine(registry=registry, nlp_engine=models, supported_languages=list(LANGUAGES))


def plain_presidio(text: str, language: str) -> tuple[Span, ...]:
    """Whatever Presidio finds, places and dates left out, which nobody asked for."""
    wanted = [entity for entity in engine().get_supported_entities(language) if entity not in ("LOCATION", "DATE_TIME")]
    found = engine().analyze(text, language, entities=wanted)
    return tuple(
        Span(one.start, one.end, one.entity_type, one.score) for one in sorted(found, key=lambda one: one.start)
    )


FINDERS: dict[str, Finder] = {"ours + Presidio": find_spans, "ours": spoken_spans, "plain Presidio": plain_presidio}


def percent(found: Estimate) -> str:
    """A rate and its interval, in per cent."""
    if found.value is None:
        return "-"
    interval = "" if found.low is None or found.high is None else f" [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"{100 * found.value:.1f}{interval}"


def rates(tallies: Sequence[Tally]) -> tuple[Estimate, Estimate, Estimate]:
    """Recall, whole spans and over-masking."""
    templates = [str(one.template) for one in tallies]
    columns = [
        ([sum(one.hit.values()) for one in tallies], [sum(one.wanted.values()) for one in tallies]),
        ([sum(one.whole.values()) for one in tallies], [sum(one.spans.values()) for one in tallies]),
        ([one.masked for one in tallies], [one.other for one in tallies]),
    ]
    recall, whole, over = (rate_estimate(part, of, templates) for part, of in columns)
    return recall, whole, over


def figure(name: str, found: Estimate, sentences: int) -> Figure:
    """A rate for the processing register."""
    low, high = found.low or 0.0, found.high or 0.0
    command = "python scripts/benchmark_words.py"
    bounds = (round(100 * low, 1), round(100 * high, 1))
    return Figure(
        name=f"{name}, %", value=round(100 * (found.value or 0.0), 1), command=command, interval=bounds, n=sentences
    )


def quality() -> list[Figure]:
    """Print the tables of what is found; return what the processing register should say of it."""
    figures: list[Figure] = []
    detail: dict[str, list[Tally]] = {}
    print(f"{'part':8} {'written':8} {'finder':16} {'lang':5} {'n':>4} {'recall':22} {'whole':22} over")
    for part in PARTS:
        sentences = list(read_marked(FOLDER / f"{part}.sentences.tsv", FOLDER / f"{part}.fillers.tsv"))
        for written, form in (("as is", sentences), ("bare", [sentence.bare() for sentence in sentences])):
            for name, find in FINDERS.items():
                tallies = [tally(one, find(one.text, one.language)) for one in form]
                detail.setdefault(part, tallies)
                for language in (*LANGUAGES, "both"):
                    some = [one for one in tallies if language in (one.language, "both")]
                    recall, whole, over = rates(some)
                    shown = f"{percent(recall):22} {percent(whole):22} {percent(over)}"
                    print(f"{part:8} {written:8} {name:16} {language:5} {len(some):4} {shown}")
                    if (name, language, form) == ("ours + Presidio", "both", sentences) and part != "dev":
                        figures.append(figure(f"personal data found in words, sentences '{part}'", recall, len(some)))
                        figures.append(figure(f"other words masked, sentences '{part}'", over, len(some)))
    print(f"\nours + Presidio, as is: tokens found of all, spans whole of all\n{'type':12}", end="")
    print("".join(f"{part + ' ' + language:>24}" for part in PARTS for language in LANGUAGES))
    for kind in TYPES:
        cells = []
        for part in PARTS:
            for language in LANGUAGES:
                some = [one for one in detail[part] if one.language == language]
                hit, wanted, whole, spans = (
                    sum(getattr(one, name).get(kind, 0) for one in some) for name in ("hit", "wanted", "whole", "spans")
                )
                cells.append(f"{f'{hit} / {wanted}, {whole} / {spans}':>24}" if wanted else f"{'-':>24}")
        print(f"{kind:12}" + "".join(cells))
    return figures


def speed(lines: int) -> None:
    """Print lines per second."""
    print(f"\nlines per second of processor time, {lines} lines each")
    sentences = list(read_marked(FOLDER / "heldout.sentences.tsv", FOLDER / "heldout.fillers.tsv"))
    for language in LANGUAGES:
        own: list[Marked] = [one for one in sentences if one.language == language]
        for name, find in (("ours", spoken_spans), ("ours + Presidio", find_spans)):
            find(own[0].text, language)  # what is loaded once
            begin = time.process_time()
            for one in islice(cycle(own), lines):
                find(one.text, language)
            print(f"{language} {name:16} {lines / (time.process_time() - begin):8.0f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_000, help="Lines that the time is taken of; 0 for none.")
    parser.add_argument("--figures", type=Path, help="A file for asr register --figures.")
    given = parser.parse_args()
    figures = quality()
    if given.figures:
        with atomic_write(given.figures) as handle:
            handle.write(figures_json(figures))
    if given.lines:
        speed(given.lines)


if __name__ == "__main__":
    main()
