"""What dialect costs where it counts: the intents told of what was heard, against those told of what was said.

A fragment's intent stands under its key ``intent``. *Intent retention* is the accuracy on what was heard over the
accuracy on the fragments' own text, by the same intent model: what the recogniser leaves of the understanding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asr.errors import AsrError
from asr.fragment import Fragment
from asr.intent.event import UtteranceEvent, event_of
from asr.intent.features import bare
from asr.intent.model import Intent, IntentModel
from asr.metrics import Estimate, macro_f1, rate_estimate, rate_estimates, statistic_estimate
from asr.metrics.calibration import coverage_at_risk
from asr.transcript import Transcript

# Words that are asked of the intent model for each text, and the share of wrong answers that coverage is reported at.
_KEYWORDS, _RISK = 3, 0.05

Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ReadingScores:
    """The intents told of one reading of all fragments.

    Attributes:
        reading: "text" and "text_standard", the fragments' own; "heard", as it is handed on; "heard, no standard
            rendering", "heard, no voice" and "heard, best text alone", the same without ``text_standard``, without
            what the voice tells of a question, and without the other texts of a beam search.
        accuracy: Share of the fragments in scope whose intent is told; calling one out of scope is an error.
        f1: Macro-F1 over their intents.
        retention: The accuracy over that of "text".
        outside: Share of the fragments out of scope that are called so.
        covered: The largest share of all fragments that can be answered with at most 5 % wrong, by confidence.
    """

    reading: str
    accuracy: Estimate
    f1: Estimate
    retention: Estimate
    outside: Estimate
    covered: Estimate


@dataclass(frozen=True, slots=True)
class IntentGroup:
    """The fragments in scope of one dialect, or of one test set.

    Attributes:
        dimension: ``dialect`` or ``test_set``.
        group: Its value.
        fragments: How many there are.
        text: Accuracy on their own text.
        heard: Accuracy on what was heard.
        retention: The latter over the former.
        gap: Retention of standard speech minus this one; None where that is among it, or none is named.
    """

    dimension: str
    group: str
    fragments: int
    text: Estimate
    heard: Estimate
    retention: Estimate
    gap: Estimate | None


@dataclass(frozen=True, slots=True)
class IntentScores:
    """What one system leaves of the understanding.

    Attributes:
        system: Its name.
        fragments: Those in scope: with an intent that the model has learnt, and a transcript.
        outside: Those with another intent, which are out of scope.
        readings: Per reading; those that say nothing new are left out.
        keywords: Of the words that lead to the right intents of the fragments' text, the share that was heard.
        groups: Dialects and test sets, as heard.
    """

    system: str
    fragments: int
    outside: int
    readings: tuple[ReadingScores, ...]
    keywords: Estimate
    groups: tuple[IntentGroup, ...]


def score_understanding(
    fragments: Sequence[Fragment],
    transcripts: Sequence[Transcript | None],
    model: IntentModel,
    *,
    system: str,
    test_sets: Sequence[str] | None = None,
    standard: str | None = None,
    resamples: int,
    seed: int,
) -> IntentScores:
    """Score the intents of what was heard against those that people gave.

    Args:
        fragments: Those without a key ``intent`` are passed over.
        transcripts: One per fragment; None where it failed.
        model: Tells the intents.
        system: What heard them; its name.
        test_sets: Name of the test set per fragment.
        standard: The dialect, or the test set, that is standard speech.
        resamples: Draws behind each interval.
        seed: Of the draws.

    Raises:
        AsrError: No fragment has an intent that the model knows, or none is standard speech.
    """
    names = test_sets or [""] * len(fragments)
    rows = [
        (fragment, transcript, name, str(fragment.custom["intent"]))
        for fragment, transcript, name in zip(fragments, transcripts, names, strict=True)
        if transcript is not None and fragment.custom.get("intent") is not None
    ]
    truth = np.array([intent for *_, intent in rows], str)
    inside = np.isin(truth, [label for label in model.labels if label != model.outside])
    if not inside.any():
        raise AsrError(
            "no fragment has an intent that the intent model has learnt; give them in the manifest, as 'intent'"
        )
    clusters = np.unique([_cluster(fragment, name) for fragment, _, name, _ in rows], return_inverse=True)[1]
    said = [(fragment, transcript) for fragment, transcript, *_ in rows]
    told = {
        reading: model.predict_many(events, keywords=_KEYWORDS if reading == "text" else 0)
        for reading, events in _readings(said).items()
    }
    right = {reading: np.array([one.name for one in intents]) == truth for reading, intents in told.items()}
    draws = {"resamples": resamples, "seed": seed}
    spoken = {
        "dialect": [fragment.dialect or "" for fragment, *_ in rows],
        "test_set": [name for _, _, name, _ in rows],
    }
    is_standard = np.zeros(len(rows), bool)
    if standard is not None:
        is_standard = np.any([np.array(values) == standard for values in spoken.values()], axis=0) & inside
        if not is_standard.any():
            raise AsrError(f"standard={standard} names neither a dialect nor a test set of fragments with an intent")
    groups = []
    for dimension, values in spoken.items():
        for value in sorted({*values} - {""}):
            chosen = (np.array(values) == value) & inside
            if chosen.any():
                groups.append(_group(dimension, value, chosen, is_standard, right, clusters, draws))
    return IntentScores(
        system=system,
        fragments=int(inside.sum()),
        outside=int((~inside).sum()),
        readings=tuple(
            _scores(reading, intents, truth, inside, right["text"], clusters, draws)
            for reading, intents in told.items()
        ),
        keywords=_keywords([transcript.text for _, transcript in said], told["text"], right["text"], clusters, draws),
        groups=tuple(groups),
    )


def _cluster(fragment: Fragment, test_set: str) -> str:
    alone = f"fragment {test_set} {fragment.id}"
    return alone if fragment.speaker is None else f"speaker {fragment.speaker}"


def _readings(said: Iterable[tuple[Fragment, Transcript]]) -> dict[str, list[UtteranceEvent]]:
    """The events of all fragments, by reading."""
    pairs = list(said)
    own = [event_of(Transcript("", one.text, one.language, one.dialect, 0.0, ())) for one, _ in pairs]
    heard = [event_of(transcript) for _, transcript in pairs]
    found = {"text": own}
    if any(one.text_standard is not None for one, _ in pairs):
        found["text_standard"] = [
            event.model_copy(update={"text_standard": one.text_standard})
            for event, (one, _) in zip(own, pairs, strict=True)
        ]
    found["heard"] = heard
    if any(event.text_standard not in (None, event.text) for event in heard):
        found["heard, no standard rendering"] = [event.model_copy(update={"text_standard": None}) for event in heard]
    if any(event.p_question is not None for event in heard):
        found["heard, no voice"] = [event.model_copy(update={"p_question": None}) for event in heard]
    if any(len(event.nbest) > 1 for event in heard):
        found["heard, best text alone"] = [event.model_copy(update={"nbest": ()}) for event in heard]
    return found


def _scores(
    reading: str,
    intents: Sequence[Intent],
    truth: npt.NDArray[np.str_],
    inside: Flags,
    right_in_text: Flags,
    clusters: npt.NDArray[np.int64],
    draws: dict[str, int],
) -> ReadingScores:
    names = np.array([one.name for one in intents])
    right = (names == truth) & inside
    refused = np.array([not one.in_scope for one in intents])
    best = np.array([one.scores[0][0] if one.scores else "" for one in intents])
    confidence = np.array([one.confidence for one in intents])
    correct = (best == truth) & inside
    # Numbers for names, which are many times slower to compare.
    true, found = np.split(np.unique(np.concatenate([truth, names]), return_inverse=True)[1], 2)

    def f1(chosen: Rows) -> float | None:
        chosen = chosen[inside[chosen]]
        return macro_f1(true[chosen], found[chosen]) if len(chosen) else None

    accuracy, retention, outside = rate_estimates(
        [right, right, refused & ~inside], [inside, right_in_text & inside, ~inside], clusters, **draws
    )
    return ReadingScores(
        reading=reading,
        accuracy=accuracy,
        f1=statistic_estimate(f1, clusters, **draws),
        retention=retention,
        outside=outside,
        covered=statistic_estimate(
            lambda chosen: coverage_at_risk(confidence[chosen], correct[chosen], _RISK), clusters, **draws
        ),
    )


def _group(
    dimension: str,
    value: str,
    chosen: Flags,
    is_standard: Flags,
    right: dict[str, Flags],
    clusters: npt.NDArray[np.int64],
    draws: dict[str, int],
) -> IntentGroup:
    text, heard = right["text"], right["heard"]
    within = clusters[chosen]
    ones = np.ones(int(chosen.sum()), np.int64)
    of_text, of_heard, retention = rate_estimates(
        [text[chosen], heard[chosen], heard[chosen]], [ones, ones, text[chosen]], within, **draws
    )
    gap = None
    if is_standard.any() and not (chosen & is_standard).any():
        either = np.flatnonzero(chosen | is_standard)

        def difference(drawn: Rows) -> float | None:
            drawn = either[drawn]
            standard, dialect = (_ratio(heard, text, drawn[flags[drawn]]) for flags in (is_standard, chosen))
            return None if standard is None or dialect is None else standard - dialect

        gap = statistic_estimate(difference, clusters[either], **draws)
    return IntentGroup(dimension, value, len(ones), of_text, of_heard, retention, gap)


def _ratio(part: Flags, of: Flags, rows: Rows) -> float | None:
    total = int(of[rows].sum())
    return int(part[rows].sum()) / total if total else None


def _keywords(
    heard: Sequence[str], told: Sequence[Intent], right: Flags, clusters: npt.NDArray[np.int64], draws: dict[str, int]
) -> Estimate:
    kept, wanted = np.zeros(len(heard), np.int64), np.zeros(len(heard), np.int64)
    for row, (text, intent) in enumerate(zip(heard, told, strict=True)):
        words = set(bare(text).split())
        keywords = intent.keywords if right[row] else ()
        kept[row] = sum(words.issuperset(keyword.split()) for keyword in keywords)
        wanted[row] = len(keywords)
    return rate_estimate(kept, wanted, clusters, **draws)
