"""How an intent model is trained: examples read, regressions fitted and calibrated, the threshold of scope chosen.

Temperature and threshold come from development examples, or, where there are none, from training examples that the
model being asked has not seen (five folds). Only this module needs scikit-learn.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from asr.errors import ConfigError, ManifestError
from asr.intent.features import asks, bare, ngrams, question_feature
from asr.intent.model import OUT_OF_SCOPE, IntentModel, Regression
from asr.intent.noise import Confusions
from asr.intent.vectors import SIZE, sentence_vectors
from asr.jsonlines import read_objects
from asr.metrics import macro_f1
from asr.metrics.calibration import calibration_error, fit_temperature

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.floating]

FOLDS = 5
_ITERATIONS = 500
# A score so low that its label is never told, and no number that arithmetic cannot bear.
_NO_CHANCE = -1e4


@dataclass(frozen=True, slots=True)
class Example:
    """A text and what it asks for.

    Attributes:
        text: As a person writes or says it.
        intent: Its label.
        language: Whisper's code.
    """

    text: str
    intent: str
    language: str


@dataclass(frozen=True, slots=True)
class IntentOptions:
    """How a model is trained.

    Attributes:
        outside: The label, in the data, of what is none of the intents; None where there is none.
        buckets: Into which words and letters are counted; 0 leaves them out.
        ngrams: How much words and letters count beside the vector, whose length is 1.
        inverse_penalty: C of scikit-learn's logistic regression.
        lost: Share of the right answers that may be called out of scope so that wrong ones are; the threshold is the
            highest that keeps to it.
        copies: How many copies of each example, with a recogniser's errors, are learnt from beside it, where there are
            confusions.
        seed: Of folds and errors.
    """

    outside: str | None = None
    buckets: int = 1024
    ngrams: float = 0.6
    inverse_penalty: float = 10.0
    lost: float = 0.01
    copies: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not 0 <= self.buckets <= 2**20:
            raise ConfigError(f"'buckets' must be 0 to {2**20}, found {self.buckets}")
        if not self.ngrams > 0:
            raise ConfigError(f"'ngrams' must be above 0, found {self.ngrams}; buckets=0 leaves words and letters out")
        if not self.inverse_penalty > 0:
            raise ConfigError(f"'inverse_penalty' must be above 0, found {self.inverse_penalty}")
        if not 0 <= self.lost < 1:
            raise ConfigError(f"'lost' must be at least 0 and below 1, found {self.lost}")
        if self.copies < 1:
            raise ConfigError(f"'copies' must be at least 1, found {self.copies}")


def read_examples(path: str | Path) -> list[Example]:
    """Read JSON Lines with ``text``, ``intent`` and ``language``; other keys are left out.

    Lines that cannot be used are reported, with their place, and left out. They are all held: training needs them so.

    Raises:
        ManifestError: The file cannot be read, or no line can be used.
    """
    examples, broken = [], 0
    for number, row in read_objects(path):
        found = row if isinstance(row, ManifestError) else _example(row, Path(path), number)
        if isinstance(found, Example):
            examples.append(found)
        else:
            broken += 1
            log.warning("left out: %s", found)
    if not examples:
        raise ManifestError(f"there is no usable example, {broken} broken ones; a line needs {_NEEDED}", path)
    return examples


_NEEDED = "'text', 'intent' and 'language', each a text that is not empty"


def _example(row: dict[str, Any], path: Path, number: int) -> Example | ManifestError:
    values = [row.get(name) for name in ("text", "intent", "language")]
    if not all(isinstance(value, str) and value.strip() for value in values):
        return ManifestError(f"an example needs {_NEEDED}", path, number)
    text, intent, language = (str(value).strip() for value in values)
    if intent == OUT_OF_SCOPE:
        message = f"the intent {OUT_OF_SCOPE!r} is what a model answers itself; name it otherwise, and as 'outside'"
        return ManifestError(message, path, number)
    return Example(text, intent, language) if bare(text) else ManifestError("the text has no word", path, number)


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """Examples as arrays.

    Attributes:
        texts: N, as they are read; what comes of one text by noise has that text here.
        features: Vector, question, then words and letters, [N, D + G].
        targets: The label's number, [N].
        weights: How much each counts, [N].
    """

    texts: list[str]
    features: npt.NDArray[np.float32]
    targets: npt.NDArray[np.intp]
    weights: Floats

    def width(self, buckets: int) -> npt.NDArray[np.float32]:
        """The features, with words and letters or without."""
        return self.features if buckets else self.features[:, : SIZE + 1]


def train_intent_model(
    examples: Sequence[Example],
    options: IntentOptions,
    dev: Sequence[Example] = (),
    confusions: Confusions | None = None,
) -> IntentModel:
    """Train a model; it takes some 8 KB for each example, copies included.

    Args:
        examples: Of at least two intents.
        options: See there.
        dev: To calibrate on and to choose the threshold on; labels that the examples lack are left out.
        confusions: A recogniser's errors, to learn from texts as it would hear them.

    Raises:
        ConfigError: The examples are of too few intents, or the label of what is outside is not among them.
        MissingExtraError: The package of the sentence vectors is not installed.
    """
    labels = tuple(sorted({one.intent for one in examples}))
    if options.outside is not None and options.outside not in labels:
        names = ", ".join(labels)
        raise ConfigError(f"no example is labelled {options.outside!r}, which 'outside' names; there are {names:.300}")
    if len(labels) - (options.outside is not None) < 2:
        raise ConfigError(f"a model needs examples of two intents or more, found {', '.join(labels) or 'none'}")
    data = _data(examples, labels, options)
    if confusions is not None:
        data = _with_noise(data, examples, labels, options, confusions)
    known = [one for one in dev if one.intent in labels]
    unseen = _data(known, labels, options) if known else None
    full = _fit(data, unseen, labels, options, options.buckets)
    alone = _fit(data, unseen, labels, options, 0) if options.buckets else full
    training = {
        "options": asdict(options),
        "examples": dict(sorted(Counter(one.intent for one in examples).items())),
        "calibrated_on": f"{len(known)} development examples" if known else f"{FOLDS} folds of the examples",
        "noise": confusions is not None,
    }
    languages = tuple(sorted({one.language for one in examples}))
    return IntentModel(labels, options.outside, languages, full, alone, training)


def _data(
    examples: Sequence[Example], labels: Sequence[str], options: IntentOptions, heard: Sequence[str] | None = None
) -> _Data:
    """Examples as arrays; ``heard`` is what is read in place of each one's own text."""
    own = [bare(one.text) for one in examples]
    texts = own if heard is None else list(heard)
    numbers = {label: number for number, label in enumerate(labels)}
    columns = [sentence_vectors()(texts), question_feature([asks(one.text) for one in examples])]
    if options.buckets:
        columns.append(ngrams(texts, options.buckets).toarray() * np.float32(options.ngrams))
    targets = np.array([numbers[one.intent] for one in examples], np.intp)
    return _Data(own, np.column_stack(columns), targets, np.ones(len(own)))


def _with_noise(
    data: _Data, examples: Sequence[Example], labels: Sequence[str], options: IntentOptions, confusions: Confusions
) -> _Data:
    """Add copies as a recogniser would hear them; with them, an example counts as much as without."""
    source = random.Random(options.seed)
    copied = [(one, confusions.corrupt(bare(one.text), source)) for _ in range(options.copies) for one in examples]
    # A copy of which nothing is left teaches nothing.
    kept = [(one, heard) for one, heard in copied if heard]
    noisy = _data([one for one, _ in kept], labels, options, [heard for _, heard in kept])
    return _Data(
        data.texts + noisy.texts,
        np.concatenate([data.features, noisy.features]),
        np.concatenate([data.targets, noisy.targets]),
        np.concatenate([data.weights / 2, noisy.weights / (2 * options.copies)]),
    )


def _fit(data: _Data, dev: _Data | None, labels: Sequence[str], options: IntentOptions, buckets: int) -> Regression:
    """Fit a regression, and calibrate it on what it has not seen."""
    features = data.width(buckets)
    weights, bias = _regression(features, data.targets, data.weights, len(labels), options)
    if dev is not None:
        scores, targets = dev.width(buckets) @ weights.T + bias, dev.targets
    else:
        scores, targets = _held_out(data, features, len(labels), options)
    # Where every label has one example, nothing can be held out.
    temperature = fit_temperature(scores, targets) if len(targets) else 1.0
    chances = softmax(scores / temperature, axis=1)
    inside = np.array([label != options.outside for label in labels])
    threshold = scope_threshold(np.where(inside, chances, 0.0), targets, options.lost)
    dense, grams = weights[:, : SIZE + 1], weights[:, SIZE + 1 :] * np.float32(options.ngrams)
    return Regression(dense, grams, bias, temperature, threshold)


def _regression(
    features: Floats, targets: npt.NDArray[np.intp], weights: Floats, count: int, options: IntentOptions
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Fit weights [C, D + G] and bias [C]; a label without an example here gets next to no chance."""
    # The import takes a second, and who only asks a model does not need it.
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=options.inverse_penalty, max_iter=_ITERATIONS)
    fitted.fit(features, targets, sample_weight=weights)
    coefficients, intercepts = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:  # one score, that of the second over the first
        coefficients, intercepts = np.outer([-0.5, 0.5], coefficients), np.outer([-0.5, 0.5], intercepts)[:, 0]
    matrix = np.zeros((count, features.shape[1]), np.float32)
    bias = np.full(count, _NO_CHANCE, np.float32)
    matrix[fitted.classes_], bias[fitted.classes_] = coefficients, intercepts
    return matrix, bias


def _held_out(data: _Data, features: Floats, count: int, options: IntentOptions) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Scores of the examples by regressions that have not seen them, nor a copy of them; and their targets.

    Examples whose label the others do not have are left out.
    """
    fold = deal(data.texts, data.targets, options.seed)
    scores, targets = [np.zeros((0, count))], [np.zeros(0, np.intp)]
    for number in range(FOLDS):
        learnt = np.flatnonzero(fold != number)
        known = np.unique(data.targets[learnt])
        asked = np.flatnonzero((fold == number) & np.isin(data.targets, known))
        if len(known) > 1 and len(asked):
            weights, bias = _regression(features[learnt], data.targets[learnt], data.weights[learnt], count, options)
            scores.append(features[asked] @ weights.T + bias)
            targets.append(data.targets[asked])
    return np.concatenate(scores), np.concatenate(targets)


def deal(texts: Sequence[str], targets: npt.NDArray[np.intp], seed: int) -> npt.NDArray[np.intp]:
    """Deal texts into folds, [N]: those of a label evenly, and every copy of a text into the same one."""
    pairs = sorted(set(zip(targets.tolist(), texts, strict=True)))
    random.Random(seed).shuffle(pairs)
    # A text that has several labels goes where the first of them sends it.
    places: dict[str, int] = {}
    dealt: Counter[int] = Counter()
    for target, text in pairs:
        if text not in places:
            places[text] = dealt[target] % FOLDS
            dealt[target] += 1
    return np.array([places[text] for text in texts], np.intp)


def scope_threshold(chances: Floats, targets: npt.NDArray[np.intp], lost: float) -> float:
    """The highest confidence to ask for at which at most a share of the right answers is called out of scope.

    Args:
        chances: Of each label, zero for what is outside, [N, C].
        targets: The right label's number, [N]; what is outside is never answered rightly.
        lost: The share.
    """
    confidence = chances.max(axis=1, initial=0.0)
    right = np.sort(confidence[(chances.argmax(axis=1) == targets) & (confidence > 0)])
    return float(right[int(lost * len(right))]) if len(right) else 0.0


def score_intents(model: IntentModel, examples: Sequence[Example]) -> dict[str, Any]:
    """Measure a model on examples that it has not seen.

    Returns:
        ``examples``; ``accuracy`` over the intents, where "out of scope" is wrong; their ``macro_f1``;
        ``out_of_scope_recall`` over what is none of them; ``calibration_error`` of the confidence over the intents.
        What has no example to be measured on is None.
    """
    answers: list[Any] = []
    for language in sorted({one.language for one in examples}):
        own = [one for one in examples if one.language == language]
        answers += zip(own, model.predict_many([one.text for one in own], language=language), strict=True)
    inside = [(one, told) for one, told in answers if one.intent != model.outside]
    outside = [told for one, told in answers if one.intent == model.outside]
    right = np.array([told.name == one.intent for one, told in inside], bool)
    best = np.array([bool(told.scores) and told.scores[0][0] == one.intent for one, told in inside], bool)
    confidence = np.array([told.confidence for _, told in inside])
    return {
        "examples": len(answers),
        "accuracy": float(right.mean()) if inside else None,
        "macro_f1": macro_f1([one.intent for one, _ in inside], [told.name for _, told in inside]) if inside else None,
        "out_of_scope_recall": float(np.mean([not told.in_scope for told in outside])) if outside else None,
        "calibration_error": calibration_error(confidence, best) if inside else None,
    }
