"""Needs: told under consent and where they are plain, with the words that say so; nothing else is."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError, RecordError
from asr.intent.model import Intent
from asr.intent.needs import Decision, Need, NeedFinder, needs_in, read_needs, recorded_needs
from asr.privacy.record import Record
from asr.tables import read_table

FOLDER = Path(__file__).parents[2] / "datasets" / "needs"
TAXONOMY = read_needs(FOLDER / "needs.yaml")
COLUMNS = ("language", "need", "kind", "text")


@dataclass(frozen=True)
class Said:
    """What the module reads of an event."""

    text: str
    language: str = "en"
    purposes: tuple[str, ...] = ("offer",)
    text_standard: str | None = None
    words: tuple[Word, ...] = ()
    nbest: tuple[Hypothesis, ...] = ()
    p_question: float | None = None


@dataclass(frozen=True)
class Word:
    text: str
    confidence: float | None


@dataclass(frozen=True)
class Hypothesis:
    text: str
    log_probability: float


def told(text: str, language: str = "en", intent: Intent | None = None) -> Decision:
    return needs_in(Said(text, language), TAXONOMY, intent)


def intent(name: str, confidence: float = 0.9, in_scope: bool = True) -> Intent:
    return Intent(name, confidence, ((name, confidence),), in_scope, ("week", "sun"))


@pytest.mark.parametrize(
    ("text", "language", "need", "words"),
    [
        ("I'd love to go away in May", "en", "travel", ("I'd love", "go away")),
        ("i’d love to go away in may", "en", "travel", ("i’d love", "go away")),
        ("Well, I need a new car. The old one is done.", "en", "car", ("I need", "new car")),
        ("Euh, j'ai le goût d'un voyage.", "fr", "travel", ("j'ai le goût", "voyage")),
        ("trouvez moi un vol pas trop cher", "fr", "travel", ("trouvez moi", "un vol")),
    ],
)
def test_a_plain_need_is_told_with_its_words(text: str, language: str, need: str, words: tuple[str, ...]) -> None:
    assert told(text, language) == Decision((Need(need, 1.0, words),))


@pytest.mark.parametrize(
    ("text", "language", "reason", "words"),
    [
        ("I don't want to go away", "en", "nothing said", ()),
        ("I want a holiday, not", "en", "negation", ("not",)),
        ("je veux plus partir en vacances", "fr", "nothing said", ()),
        ("j'ai besoin de vacances, disait-il", "fr", "quoted", ("disait",)),
        ("I need a plumber. Just kidding!", "en", "taken back", ("Just kidding",)),
        ("« Je cherche un appartement. » Voilà.", "fr", "quoted", ("«", "»")),
        ("I'd like a flat if I had the money", "en", "hypothetical", ("if",)),
        ("I would like to cancel a flight", "en", "nothing said", ()),
        ("My sister wants to go away", "en", "nothing said", ()),
        ("", "en", "nothing said", ()),
        ("quiero un hotel", "es", "language", ()),
    ],
)
def test_what_only_looks_like_a_need_is_none_and_the_reason_is_told(
    text: str, language: str, reason: str, words: tuple[str, ...]
) -> None:
    assert told(text, language) == Decision(reason=reason, words=words)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_precision_on_the_sentences_written_before_the_rules(language: str) -> None:
    rows = [row for _, row in read_table(FOLDER / "heldout.tsv", COLUMNS) if row["language"] == language]
    told_of = [(need.name, row["need"]) for row in rows for need in told(row["text"], language).needs]
    right = sum(name == expected for name, expected in told_of)
    assert right / len(told_of) >= 0.95
    assert right / sum(row["need"] != "none" for row in rows) >= 0.85


def test_nothing_is_read_without_consent_to_offers() -> None:
    class Closed(Said):
        @property
        def nbest(self) -> tuple[Hypothesis, ...]:  # type: ignore[override]
            raise AssertionError("read without consent")

    finder = NeedFinder(TAXONOMY)
    closed = object.__new__(Closed)
    object.__setattr__(closed, "purposes", ("training", "evaluation"))
    assert finder.decide(closed) == Decision(reason="no consent")
    assert finder.decide(Said("I need a flat")).needs[0].name == "housing"
    assert finder.counts == {"none: no consent": 1, "housing": 1}


def test_hypotheses_count_by_their_probability() -> None:
    said = Said("I want a holiday", nbest=(Hypothesis("I want a holiday", -1.0), Hypothesis("I wand a holiday", -2.0)))
    share = math.exp(-1) / (math.exp(-1) + math.exp(-2))
    assert needs_in(said, TAXONOMY) == Decision(reason="unsure")
    (need,) = needs_in(said, replace(TAXONOMY, threshold=0.7)).needs
    assert need.score == pytest.approx(share)
    denied = replace(said, nbest=(said.nbest[0], Hypothesis("I want no holiday", -1.0)))
    assert needs_in(denied, TAXONOMY).needs == ()


def test_unsure_words_tell_no_need_and_still_speak_against_one() -> None:
    def heard(text: str, *unsure: str) -> Decision:
        words = tuple(Word(word, 0.2 if word in unsure else 0.9) for word in text.split())
        return needs_in(Said(text, words=words), TAXONOMY)

    assert heard("I want a holiday").needs
    assert not heard("I want a holiday", "holiday").needs
    assert not heard("I want a holiday", "want").needs
    assert heard("I want a holiday, not", "not").reason == "negation"


def test_the_standard_rendering_stands_for_the_dialect() -> None:
    said = Said("I want awa for a wee holiday", text_standard="I want a small holiday")
    assert [need.name for need in needs_in(said, TAXONOMY).needs] == ["travel"]


def test_an_intent_says_what_is_wanted_or_speaks_against_it() -> None:
    told_by = told("I'd like something warm", intent=intent("book_hotel")).needs
    assert told_by == (Need("travel", 0.9, ("I'd like", "week", "sun"), "book_hotel"),)
    assert not told("I'd like something warm", intent=intent("book_hotel", 0.5)).needs
    assert not told("I'd like something warm", intent=intent("book_hotel", 0.9, in_scope=False)).needs
    assert not told("something warm", intent=intent("book_hotel")).needs
    assert told("I need a hotel", intent=intent("weather")) == Decision(reason="intent", words=("weather",))
    # A need that no intent can say is not judged by one.
    assert told("I need a plumber", intent=intent("weather")).needs


def test_the_record_has_numbers_and_no_words(tmp_path: Path) -> None:
    record = Record(str(tmp_path / "record.db"))
    with recorded_needs(FOLDER / "needs.yaml", record, "offers of the spring") as finder:
        finder.decide(Said("I need a plumber"))
        finder.decide(Said("I never need a plumber"))
        finder.decide(Said("I need a plumber", purposes=()))
    begun, ended = record.entries()
    assert (begun.action, begun.why, begun.details["needs"]) == ("export", "offers of the spring", "needs.yaml")
    assert ended.details["decided"] == {"home_repair": 1, "none: no consent": 1, "none: nothing said": 1}
    assert "plumber" not in json.dumps([one.model_dump(mode="json") for one in (begun, ended)])


def test_nothing_is_looked_for_off_the_record(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    record = Record(str(tmp_path / "file" / "record.db"))
    with pytest.raises(RecordError), recorded_needs(FOLDER / "needs.yaml", record, "offers"):
        raise AssertionError("it went on")


def test_faults_of_a_taxonomy_are_named(tmp_path: Path) -> None:
    sound = yaml.safe_load((FOLDER / "needs.yaml").read_text("utf-8"))

    def fault(**changes: object) -> str:
        file = tmp_path / "needs.yaml"
        file.write_text(yaml.safe_dump(sound | changes), "utf-8")
        with pytest.raises(ConfigError) as caught:
            read_needs(file)
        return str(caught.value)

    assert "threshold" in fault(threshold=0)
    assert "'tresholds'" in fault(tresholds=1)
    assert "stands in two lists" in fault(needs={"travel": {"words": {"en": ["I want"]}}})
    assert "'es'" in fault(needs={"travel": {"words": {"es": ["hotel"]}}})
    assert "harmles" in fault(languages=sound["languages"] | {"en": sound["languages"]["en"] | {"harmles": []}})
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "broken.yaml").write_text("a: [")
    for name in ("list.yaml", "broken.yaml", "gone.yaml"):
        with pytest.raises(ConfigError, match=name):
            read_needs(tmp_path / name)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=80), language=st.sampled_from(["en", "fr"]))
def test_any_text_gets_an_answer_and_a_negation_never_brings_a_need(text: str, language: str) -> None:
    for sentence in (text, f"I need a flat {text}", f"Je cherche un appartement {text}"):
        needs = {need.name for need in told(sentence, language).needs}
        sign = " not" if language == "en" else " pas"
        assert {need.name for need in told(sentence.rstrip(".!?…\"'»”’) ") + sign, language).needs} <= needs


def test_spelling_and_typing_make_no_difference() -> None:
    language = replace(TAXONOMY.languages["fr"], links=("Une", "d’une"))
    needs = {"sister": replace(TAXONOMY.needs["travel"], words={"fr": ("Sœur",)})}
    own = replace(TAXONOMY, languages={"fr": language}, needs=needs)
    for text in ("Je veux une soeur", "JE VEUX UNE SŒUR", "je veux une s\u00adœur", "j’ai envie d`une sœur"):
        assert [need.name for need in needs_in(Said(text, "fr"), own).needs] == ["sister"], text


def test_a_long_utterance_takes_no_long_time() -> None:
    began = time.process_time()
    assert told("I want a cheap holiday and " * 2500).needs
    told("I want and " * 4000)
    assert time.process_time() - began < 5.0
