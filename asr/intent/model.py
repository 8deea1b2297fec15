"""The reference intent model: what a person wants by an utterance, how sure that is, and which words say so.

Logistic regression on a sentence vector, hashed words and letters, and whether the utterance asks. An utterance is
more than one text: its n-best hypotheses count by their probability, and where words are unsure, what is left without
them counts too; the answer is the sum of the probabilities over all of these. In a language that the model has not
learnt from, the vector alone decides: it means the same in sixteen languages, words and letters do not.

Shapes: N texts, C labels, D numbers that the dense features have, G buckets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy.special import softmax

from asr.errors import CheckpointError
from asr.files import atomic_write
from asr.intent.features import asks, bare, ngrams, question_feature
from asr.intent.vectors import ENCODER, LANGUAGES, SIZE, sentence_vectors

Floats = npt.NDArray[np.floating]

VERSION = 1
# The name of the model that comes with this package, which knows the intents of CLINC150: datasets/intents/README.md.
REFERENCE = "clinc150"
# The name of what is none of the intents, or too unsure to be acted on.
OUT_OF_SCOPE = "out_of_scope"
# A word less probable than this is unsure; a text counts so much without its unsure words.
UNSURE, WITHOUT_UNSURE = 0.5, 0.5
# Labels whose probability is told.
TOLD = 5
# Words above which an explanation names phrases, so many of them.
_WORDS, _PHRASES = 24, 8


class SaidWord(Protocol):
    """A word of an utterance."""

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def confidence(self) -> float | None: ...  # noqa: D102


class SaidHypothesis(Protocol):
    """One of several texts that an utterance may be."""

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def log_probability(self) -> float: ...  # noqa: D102


class Said(Protocol):
    """What the model reads of an `UtteranceEvent`."""

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def text_standard(self) -> str | None: ...  # noqa: D102
    @property
    def language(self) -> str | None: ...  # noqa: D102
    @property
    def words(self) -> Sequence[SaidWord]: ...  # noqa: D102
    @property
    def nbest(self) -> Sequence[SaidHypothesis]: ...  # noqa: D102
    @property
    def p_question(self) -> float | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Intent:
    """What an utterance asks for.

    Attributes:
        name: The intent, or `OUT_OF_SCOPE`.
        confidence: Probability of the most probable intent, also where it is too low to be in scope.
        scores: The most probable intents, each with its probability, falling.
        in_scope: Whether the confidence is high enough to act on.
        keywords: The words that led to it, the weightiest first, as `asr.intent.features.bare` writes them; phrases in
            a long text; none out of scope.
        reason: Why it is out of scope: "no words", "language" (one that the vectors do not know) or "unsure".
    """

    name: str
    confidence: float
    scores: tuple[tuple[str, float], ...]
    in_scope: bool
    keywords: tuple[str, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One text that an utterance may be.

    Attributes:
        text: As `bare` gives it.
        p_question: None where nobody can tell.
        known: Whether its language is one that the model has learnt from.
        weight: How much it counts; those of an utterance sum to 1.
    """

    text: str
    p_question: float | None
    known: bool
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """Calibrated logistic regression.

    Attributes:
        weights: Of vector and question, [C, D].
        buckets: Of words and letters, [C, G]; G may be 0.
        bias: [C].
        temperature: Over which the scores are divided.
        threshold: Least confidence of what is in scope.
    """

    weights: Floats
    buckets: Floats
    bias: Floats
    temperature: float
    threshold: float

    def scores(self, vectors: Floats, texts: Sequence[str], questions: Sequence[float | None]) -> Floats:
        """Return the scores of some texts before the softmax, [N, C].

        Args:
            vectors: [N, 512].
            texts: As `bare` gives them.
            questions: Probability that each is a question, or None.
        """
        dense = np.column_stack([vectors, question_feature(questions)])
        scores = dense @ self.weights.T + self.bias
        if self.buckets.shape[1]:
            scores = scores + ngrams(texts, self.buckets.shape[1]) @ self.buckets.T
        told: Floats = scores / self.temperature
        return told


@dataclass(frozen=True, slots=True, eq=False)
class IntentModel:
    """A trained model.

    Attributes:
        labels: Of the intents, and of what is none of them where the training data had it.
        outside: The label of what is none of them; None where it had no such label.
        languages: Whisper's codes of what the training data was written in.
        full: Hears vectors, words and letters.
        vectors_alone: Hears vectors; for languages that were not learnt from.
        training: How it was trained, in plain types.
    """

    labels: tuple[str, ...]
    outside: str | None
    languages: tuple[str, ...]
    full: Regression
    vectors_alone: Regression
    training: dict[str, Any]

    def predict(self, said: str | Said, *, language: str | None = None, keywords: int = 3) -> Intent:
        """Tell what an utterance asks for.

        Args:
            said: A text, or an `UtteranceEvent`.
            language: Whisper's code of a text, where it is known; an event says it itself.
            keywords: Most words that are named; finding them takes about half of the time.
        """
        (intent,) = self.predict_many([said], language=language, keywords=keywords)
        return intent

    def predict_many(
        self, said: Sequence[str | Said], *, language: str | None = None, keywords: int = 0
    ) -> list[Intent]:
        """Tell what each of several utterances asks for; quicker than one by one.

        Args:
            said: Texts or events.
            language: As in `predict`.
            keywords: As in `predict`.
        """
        several = [readings(one, language, self.languages) for one in said]
        return [
            self._intent(read, pooled, _language(one, language), keywords)
            for one, read, pooled in zip(said, several, self._pool(several), strict=True)
        ]

    def probabilities(self, read: Sequence[Reading]) -> Floats:
        """Return the probabilities of some readings, each for itself, [N, C]."""
        vectors = sentence_vectors()([one.text for one in read])
        chances = np.zeros((len(read), len(self.labels)))
        for known, regression in ((True, self.full), (False, self.vectors_alone)):
            rows = [row for row, one in enumerate(read) if one.known is known]
            texts = [read[row].text for row in rows]
            if rows:
                scores = regression.scores(vectors[rows], texts, [read[row].p_question for row in rows])
                chances[rows] = softmax(scores, axis=1)
        return chances

    def _pool(self, several: Sequence[Sequence[Reading]]) -> list[Floats]:
        """Sum the probabilities of each utterance's readings by their weights: [C] for each utterance."""
        chances = self.probabilities([one for read in several for one in read])
        ends = np.cumsum([len(read) for read in several])
        return [
            np.array([one.weight for one in read]) @ chances[end - len(read) : end]
            for read, end in zip(several, ends, strict=True)
        ]

    def _intent(self, read: Sequence[Reading], pooled: Floats, language: str | None, keywords: int) -> Intent:
        if not read:
            return Intent(OUT_OF_SCOPE, 0.0, (), False, reason="no words")
        if language is not None and language not in LANGUAGES:
            return Intent(OUT_OF_SCOPE, 0.0, (), False, reason="language")
        inside = pooled.copy()
        if self.outside is not None:
            inside[self.labels.index(self.outside)] = -1.0
        order = np.argsort(-inside, kind="stable")[: min(TOLD, len(self.labels) - (self.outside is not None))]
        scores = tuple((self.labels[index], float(pooled[index])) for index in order)
        name, confidence = scores[0]
        regression = self.full if read[0].known else self.vectors_alone
        if confidence < regression.threshold:
            return Intent(OUT_OF_SCOPE, confidence, scores, False, reason="unsure")
        return Intent(name, confidence, scores, True, self._keywords(read[0], int(order[0]), keywords))

    def _keywords(self, read: Reading, label: int, count: int) -> tuple[str, ...]:
        """The words without which the label has less of a chance, by how much the logarithm of its odds falls."""
        words = read.text.split()
        if count <= 0:
            return ()
        if len(words) == 1:
            return (read.text,)
        cuts = [[word] for word in words]
        if len(words) > _WORDS:
            edges = np.linspace(0, len(words), _PHRASES + 1).astype(int)
            cuts = [words[start:end] for start, end in pairwise(edges)]
        without = [[word for other in (*cuts[:at], *cuts[at + 1 :]) for word in other] for at in range(len(cuts))]
        texts = [read.text, *(" ".join(rest) for rest in without)]
        chances = self.probabilities([Reading(text, read.p_question, read.known, 1.0) for text in texts])[:, label]
        odds = np.log(chances.clip(1e-12)) - np.log((1 - chances).clip(1e-12))
        falls = odds[0] - odds[1:]
        best = [at for at in np.argsort(-falls, kind="stable") if falls[at] > 0][:count]
        return tuple(dict.fromkeys(" ".join(cuts[at]) for at in best))

    def save(self, path: str | Path) -> None:
        """Write the model into one file: arrays as safetensors, all else as JSON in its header."""
        header = {
            "version": VERSION,
            "encoder": ENCODER,
            "labels": self.labels,
            "outside": self.outside,
            "languages": self.languages,
            "training": self.training,
        }
        arrays: dict[str, Floats] = {}
        for name in _PARTS:
            part: Regression = getattr(self, name)
            header[name] = {"temperature": part.temperature, "threshold": part.threshold}
            for array in _ARRAYS:
                arrays[f"{name}.{array}"] = np.ascontiguousarray(getattr(part, array), np.float32)
        with atomic_write(path, "wb") as handle:
            handle.write(save(arrays, {"intent_model": json.dumps(header, ensure_ascii=False)}))


_PARTS = ("full", "vectors_alone")
_ARRAYS = ("weights", "buckets", "bias")


def intent_model_file(name: str | Path) -> Path:
    """The file of a model.

    Args:
        name: Its path, or `REFERENCE`.
    """
    return Path(__file__).with_name(f"{REFERENCE}.safetensors") if str(name) == REFERENCE else Path(name)


@cache
def reference_intent_model() -> IntentModel:
    """The model that comes with this package, read once.

    Raises:
        MissingExtraError: The encoder's package is not installed.
    """
    return load_intent_model(REFERENCE)


def load_intent_model(path: str | Path) -> IntentModel:
    """Read a model that `IntentModel.save` has written; nothing in the file is executed.

    Args:
        path: The file, or `REFERENCE`.

    Raises:
        CheckpointError: There is no such file, it is damaged, or it is of another version or encoder.
        MissingExtraError: The encoder's package is not installed.
    """
    file = intent_model_file(path)
    if not file.is_file():
        raise CheckpointError(
            f"there is no intent model {file}; scripts/train_intent.py makes one, and {REFERENCE!r} is the one that "
            "comes with this package"
        )
    try:
        with safe_open(file, framework="numpy") as opened:
            header = json.loads((opened.metadata() or {})["intent_model"])
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is no intent model, or a damaged one; train it again or copy it anew") from error
    if not isinstance(header, dict) or header.get("version") != VERSION:
        found = header.get("version") if isinstance(header, dict) else None
        raise CheckpointError(
            f"{file} is an intent model of version {found}, this package reads {VERSION}; train it again"
        )
    if header.get("encoder") != ENCODER:
        raise CheckpointError(f"{file} has learnt from other sentence vectors than {ENCODER}; train it again")
    try:
        model = _built(header, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} is a damaged intent model; train it again or copy it anew") from error
    # Now, not with the first utterance.
    sentence_vectors()
    return model


def _built(header: dict[str, Any], arrays: dict[str, Floats]) -> IntentModel:
    labels = tuple(str(label) for label in header["labels"])
    parts = {}
    for name in _PARTS:
        weights, buckets, bias = (arrays[f"{name}.{array}"] for array in _ARRAYS)
        temperature, threshold = float(header[name]["temperature"]), float(header[name]["threshold"])
        fits = weights.shape == (len(labels), SIZE + 1) and buckets.ndim == 2 and len(buckets) == len(labels)
        if not (fits and bias.shape == (len(labels),) and temperature > 0 and 0 <= threshold <= 1):
            raise ValueError("arrays and labels do not go together")
        if not all(np.isfinite(array).all() for array in (weights, buckets, bias)):
            raise ValueError("a weight is no number")
        parts[name] = Regression(weights, buckets, bias, temperature, threshold)
    outside = header["outside"]
    inside = [label for label in labels if label != outside]
    if not inside or (outside is not None and outside not in labels) or len(set(labels)) != len(labels):
        raise ValueError("the labels are not usable")
    return IntentModel(
        labels, outside, tuple(str(code) for code in header["languages"]), **parts, training=dict(header["training"])
    )


def readings(said: str | Said, language: str | None, learnt: Sequence[str]) -> list[Reading]:
    """Return the texts that an utterance may be, and how much each counts; none where it has no word.

    Hypotheses count by their probability among themselves (a softmax of their log-probabilities). Where words are
    unsure, half of a text's weight goes to what is left without them. The rendering in the standard language, where
    there is one, stands for the text that it renders.

    Args:
        said: A text or an event.
        language: Of a text.
        learnt: Languages that the model has learnt from; a text of unknown language is taken to be in one of them.
    """
    spoken = _language(said, language)
    known = spoken is None or spoken in learnt
    if isinstance(said, str):
        found = [(said, 1.0)]
        p_question = asks(said)
    else:
        own = asks(said.text)
        p_question = own if said.p_question is None else said.p_question
        texts = said.nbest or ()
        odds = np.array([one.log_probability for one in texts], float)
        # A probability that is no number says nothing against a text.
        weights = softmax(np.nan_to_num(odds, nan=0.0, posinf=0.0, neginf=-1e9)) if len(texts) else np.ones(1)
        pairs = list(zip([one.text for one in texts] or [said.text], weights, strict=True))
        found = [part for text, weight in pairs for part in _with_confidence(said, text, float(weight))]
    counted: dict[str, float] = {}
    for text, weight in found:
        plain = bare(text)
        if plain:
            counted[plain] = counted.get(plain, 0.0) + weight
    total = sum(counted.values())
    if not total:
        return []
    order = sorted(counted, key=lambda text: -counted[text])
    return [Reading(text, p_question, known, counted[text] / total) for text in order]


def _with_confidence(said: Said, text: str, weight: float) -> list[tuple[str, float]]:
    """A hypothesis with its weight, shared with what is left of it without unsure words."""
    # The transcript's final mark may be another than the hypothesis's: the voice has a say in it.
    if bare(text) != bare(said.text):
        return [(text, weight)]
    best = said.text_standard or text
    sure = [word.text for word in said.words if word.confidence is None or word.confidence >= UNSURE]
    if not sure or len(sure) == len(said.words):
        return [(best, weight)]
    return [(best, weight * (1 - WITHOUT_UNSURE)), (" ".join(sure), weight * WITHOUT_UNSURE)]


def _language(said: str | Said, language: str | None) -> str | None:
    return language if isinstance(said, str) else said.language
