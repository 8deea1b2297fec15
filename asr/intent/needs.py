"""Needs: what a speaker says that he wants, such as to travel; told only under consent to `offer`, and only when sure.

A need is told where a sentence begins by saying that its speaker wants something ("I'd love"), and goes on to say what
("to go away"). Only words that are known to mean nothing else may stand before and between ("well", "a cheap"), and a
sign against it anywhere in the sentence ends it: a negation, the past, an "if", a quotation, something done already.
All of these are lists in a taxonomy. Precision comes first: whatever is not plain is no need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from pydantic import ConfigDict, JsonValue
from scipy.special import softmax

from asr.errors import ConfigError
from asr.expressions import Entry, Lexicon
from asr.intent.features import LONGEST, bare
from asr.intent.model import UNSURE, Intent, Said
from asr.options import build_options, read_table
from asr.privacy.record import Record
from asr.sums import sha256_of
from asr.text import fold

# The purpose that a speaker must have agreed to.
PURPOSE = "offer"
# The reason that counts for all that is said, not for its sentence alone.
TAKEN_BACK = "taken back"

_QUOTED, _QUOTES = "quoted", frozenset('"«»“”„')
_ENDS, _CLOSING = (".", "!", "?", "…"), "\"'»”’)"

# A reason, and the words that are a sign of it.
_Sign = tuple[str, str]
_Kind = Literal["want", "need", "against", "harmless"]


class _Found(NamedTuple):
    """An expression in a text, from its first word to the one after its last; its name is a need's or a reason's."""

    kind: _Kind
    name: str
    text: str
    start: int
    end: int


class Consenting(Said, Protocol):
    """What is read of an `UtteranceEvent`."""

    @property
    def purposes(self) -> Sequence[str]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Need:
    """A need that was said.

    Attributes:
        name: As the taxonomy has it.
        score: The share of what the utterance may be in which the need is said, by probability; where only the intent
            says what is wanted, times the intent's confidence.
        words: The words that led to it, as they were said: what says that something is wanted, then what.
        intent: The intent that says what is wanted; None where words do.
    """

    name: str
    score: float
    words: tuple[str, ...]
    intent: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of an utterance.

    Attributes:
        needs: The needs that are told, the surest first; mostly none.
        reason: Where there is none, why: "no consent", "language" (one that the taxonomy does not have), "nothing
            said", "unsure", "intent" (it says something else), or the sign against it, as the taxonomy calls it.
        words: The signs against it, as they were said.
    """

    needs: tuple[Need, ...] = ()
    reason: str | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Language:
    __pydantic_config__ = ConfigDict(extra="forbid")

    wants: tuple[str, ...]
    openers: tuple[str, ...]
    conjunctions: tuple[str, ...]
    links: tuple[str, ...]
    against: dict[str, tuple[str, ...]]
    harmless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _NeedWords:
    __pydantic_config__ = ConfigDict(extra="forbid")

    words: dict[str, tuple[str, ...]]
    intents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Taxonomy:
    """What counts as a need; the YAML file as it stands.

    Attributes:
        languages: By Whisper's code: what says that something is wanted; words before it; conjunctions, before which
            anything may stand; words between it and what is wanted; what speaks against a need, by its reason; what
            only looks so.
        needs: By name: the words that say it, by language, and the intents that do. An intent that is in scope and none
            of them speaks against the need, unless it has none at all.
        threshold: Least score of what is told, above 0.
    """

    languages: dict[str, _Language]
    needs: dict[str, _NeedWords]
    threshold: float

    @cached_property
    def _known(self) -> dict[str, _Known]:
        """What is looked for, by language."""
        return {code: self._of(code, language) for code, language in self.languages.items()}

    def _of(self, code: str, language: _Language) -> _Known:
        kinds: dict[str, tuple[_Kind, str]] = {}
        groups: list[tuple[tuple[_Kind, str], tuple[str, ...]]] = [
            (("want", ""), language.wants),
            (("harmless", ""), language.harmless),
            *((("against", reason), said) for reason, said in language.against.items()),
            *((("need", name), need.words.get(code, ())) for name, need in self.needs.items()),
        ]
        for kind, said in groups:
            for expression in said:
                key = " ".join(_parts(expression, code))
                if not key or kinds.setdefault(key, kind) != kind:
                    raise ConfigError(f"{expression!r} has no word, or stands in two lists ({code}); keep one")
        # An expression's rendering is its key: by that it is known again, however it was said.
        lexicon = Lexicon(code, tuple(Entry(key, key, "") for key in kinds))
        words = (language.openers, language.conjunctions, language.links)
        return _Known(
            lexicon, kinds, *(frozenset(part for one in some for part in _parts(one, code)) for some in words)
        )


class _Known(NamedTuple):
    """A language's expressions, what each of them is, and the words around them, all as `_parts` has them."""

    lexicon: Lexicon
    kinds: dict[str, tuple[_Kind, str]]
    openers: frozenset[str]
    conjunctions: frozenset[str]
    links: frozenset[str]

    def find(self, text: str) -> list[_Found]:
        """The expressions in a text, in its order."""
        return [
            _Found(*self.kinds[one.standard or ""], one.text, one.start_word or 0, one.end_word or 0)
            for one in self.lexicon.find(text)
        ]

    def opens(self, before: Sequence[str]) -> bool:
        """Whether a clause begins behind some words of a sentence."""
        last = self._all(before[-1:])
        return (bool(last) and self.conjunctions.issuperset(last)) or self.openers.issuperset(self._all(before))

    def link(self, words: Sequence[str]) -> bool:
        """Whether some words only link those before to those behind."""
        return self.links.issuperset(self._all(words))

    def _all(self, words: Sequence[str]) -> list[str]:
        return [part for word in words for part in _parts(word, self.lexicon.language)]


def read_needs(path: str | Path) -> Taxonomy:
    """Read a taxonomy.

    Raises:
        ConfigError: It cannot be read, is no YAML, or holds what is not accepted.
    """
    file = Path(path)
    table = read_table(file, "taxonomy of needs", "languages, needs and threshold")
    taxonomy = build_options(Taxonomy, table, str(file))
    if not 0 < taxonomy.threshold <= 1:
        raise ConfigError(f"'threshold' must be above 0 and at most 1, found {taxonomy.threshold} ({file})")
    for name, need in taxonomy.needs.items():
        if unknown := sorted(need.words.keys() - taxonomy.languages.keys()):
            raise ConfigError(f"need {name!r} has words in {unknown[0]!r}, which 'languages' does not have ({file})")
    try:
        taxonomy._known  # noqa: B018
    except ConfigError as error:
        raise ConfigError(f"{error} ({file})") from error
    return taxonomy


@dataclass(frozen=True, slots=True)
class NeedFinder:
    """Decides under consent, and counts what it decided.

    Attributes:
        taxonomy: What counts as a need.
        counts: Needs by their name, and utterances without one by the reason.
    """

    taxonomy: Taxonomy
    counts: Counter[str] = field(default_factory=Counter)

    def decide(self, said: Consenting, intent: Intent | None = None) -> Decision:
        """Decide which needs an utterance tells; without consent to `offer`, none, and nothing is read.

        Args:
            said: An `UtteranceEvent`.
            intent: What the intent model made of it.
        """
        allowed = PURPOSE in said.purposes
        decision = needs_in(said, self.taxonomy, intent) if allowed else Decision(reason="no consent")
        self.counts.update([need.name for need in decision.needs] or [f"none: {decision.reason}"])
        return decision


@contextmanager
def recorded_needs(path: str | Path, record: Record, why: str, manifests: Sequence[Path] = ()) -> Iterator[NeedFinder]:
    """Look for needs on the record: an entry before, and one after it with the numbers of what was decided.

    Args:
        path: The taxonomy; its hash is noted.
        record: Where it is noted. No text is, and no word of one.
        why: The purpose.
        manifests: Of the fragments that are asked.

    Raises:
        ConfigError: As of `read_needs`.
        RecordError: It cannot be written; nothing is looked for.
    """
    finder = NeedFinder(read_needs(path))
    # What is told leaves for whoever makes the offers.
    details: dict[str, JsonValue] = {"needs": Path(path).name, "sha256": sha256_of(Path(path))}
    with record.during("export", why=why, manifests=manifests, details=details) as outcome:
        try:
            yield finder
        finally:
            outcome.details["decided"] = dict(sorted(finder.counts.items()))


def needs_in(said: Said, taxonomy: Taxonomy, intent: Intent | None = None) -> Decision:
    """Decide which needs an utterance tells, whoever may know: ask `NeedFinder.decide` of people's utterances.

    What the utterance may be, its hypotheses by their probability, is read each for itself. An expression that was
    heard with an unsure word tells no need; a sign against one counts however unsure.

    Args:
        said: An `UtteranceEvent`; consent is not asked.
        taxonomy: What counts as a need.
        intent: What the intent model made of it.
    """
    language = said.language
    if language not in taxonomy.languages:
        return Decision(reason="language")
    scores: dict[str, float] = {}
    best: dict[str, Need] = {}
    against: dict[_Sign, None] = {}
    for text, weight, unsure in _readings(said):
        needs, signs = _read(text, language, unsure, taxonomy, intent)
        against.update(dict.fromkeys(signs))
        for need in needs:
            scores[need.name] = scores.get(need.name, 0.0) + weight * need.score
            best.setdefault(need.name, need)
    told = [
        Need(name, score, best[name].words, best[name].intent)
        for name, score in sorted(scores.items(), key=lambda pair: -pair[1])
        if score >= taxonomy.threshold
    ]
    allowed = [need for need in told if _allows(intent, taxonomy.needs[need.name])]
    if allowed:
        return Decision(tuple(allowed))
    if told and intent is not None:
        return Decision(reason="intent", words=(intent.name,))
    if against:
        reason = next(iter(against))[0]
        return Decision(reason=reason, words=tuple(words for why, words in against if why == reason))
    return Decision(reason="unsure" if scores else "nothing said")


def _allows(intent: Intent | None, need: _NeedWords) -> bool:
    return intent is None or not intent.in_scope or not need.intents or intent.name in need.intents


def _readings(said: Said) -> list[tuple[str, float, frozenset[int]]]:
    """The texts that it may be, most probable first: each with its share, and the indices of unsure words in it."""
    texts = [(one.text, one.log_probability) for one in said.nbest] or [(said.text, 0.0)]
    weights = softmax(np.nan_to_num([odds for _, odds in texts], nan=-1e9, posinf=0.0, neginf=-1e9))
    read = []
    for (text, _), weight in sorted(zip(texts, weights, strict=True), key=lambda pair: -pair[1]):
        own = bare(text) == bare(said.text)
        unsure: frozenset[int] = frozenset()
        if own and said.text_standard is not None:
            # Its words are others than those that were heard.
            text = said.text_standard
        elif own and len(said.words) == len(text.split()):
            heard = enumerate(said.words)
            unsure = frozenset(at for at, word in heard if word.confidence is not None and word.confidence < UNSURE)
        # The time that one utterance takes has an end.
        read.append((text[: 20 * LONGEST], float(weight), unsure))
    return read


def _read(
    text: str, language: str, unsure: frozenset[int], taxonomy: Taxonomy, intent: Intent | None
) -> tuple[list[Need], list[_Sign]]:
    """The needs of one text, and the signs against those that it would have."""
    words = text.split()
    known = taxonomy._known[language]
    found = known.find(text)
    everywhere = [(_QUOTED, char) for char in sorted(_QUOTES.intersection(text))]
    everywhere += [(one.name, one.text) for one in found if one.kind == "against" and one.name == TAKEN_BACK]
    needs: list[Need] = []
    signs: list[_Sign] = []
    at = 0
    for start, end in _sentences(words):
        said = []
        while at < len(found) and found[at].start < end:
            said.append(found[at])
            at += 1
        if wanted := _wanted(words, start, said, known, unsure, taxonomy, intent):
            own = [(one.name, one.text) for one in said if one.kind == "against"] + everywhere
            signs += own
            needs += [] if own else wanted
    return list({need.name: need for need in reversed(needs)}.values()), signs


def _wanted(
    words: Sequence[str],
    start: int,
    found: Sequence[_Found],
    known: _Known,
    unsure: frozenset[int],
    taxonomy: Taxonomy,
    intent: Intent | None,
) -> list[Need]:
    """The needs that the sentence from some word on tells, by the expressions in it, if nothing speaks against them."""
    needs: list[Need] = []
    want: _Found | None = None
    # The word from which on something stands between that is no link.
    linked = 0
    for one in found:
        if unsure.intersection(range(one.start, one.end)):
            continue
        if one.kind == "want" and known.opens(words[start : one.start]):
            want, linked = one, one.end
        elif want is not None and one.kind in ("need", "harmless") and known.link(words[linked : one.start]):
            linked = max(linked, one.end)
            if one.kind == "need":
                needs.append(Need(one.name, 1.0, (want.text, one.text)))
    if not needs and want is not None and intent is not None and intent.in_scope:
        needs = [
            Need(name, intent.confidence, (want.text, *intent.keywords), intent.name)
            for name, need in taxonomy.needs.items()
            if intent.name in need.intents
        ]
    return needs


def _sentences(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The first word of each sentence, and the one after its last."""
    start = 0
    for at, word in enumerate(words, start=1):
        if at == len(words) or word.rstrip(_CLOSING).endswith(_ENDS):
            yield start, at
            start = at


def _parts(said: str, language: str) -> list[str]:
    """The words of what was said, however they are joined and typed."""
    return fold(bare(said.replace("-", " ")), language).replace("'", " ").split()
