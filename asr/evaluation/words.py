"""Makes the probabilities of words hold, on fragments that the model has not learnt from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jiwer
import numpy as np
from rich.console import Console
from rich.progress import track

from asr.data.stream import FOR_TRAINING
from asr.fragment import Fragment
from asr.inference.transcriber import Transcriber
from asr.metrics.calibration import calibration_error
from asr.model.heads import log_odds
from asr.model.info import WordConfidence
from asr.privacy.consent import ConsentCheck, read_consented
from asr.text import get_normalizer
from asr.transcript import Transcript

# Right and wrong words, of each, under which nothing is learnt; parts in which speakers are held out.
_LEAST = 50
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class WordCalibration:
    """What the probabilities of words are worth.

    Attributes:
        words: How many were compared with what was said.
        right: Share of them that was said.
        error_before: Expected calibration error of the probabilities as the decoder has them.
        error: Of those that `confidence` gives, learnt each time from other speakers than it is measured on.
        confidence: Learnt from all.
    """

    words: int
    right: float
    error_before: float
    error: float
    confidence: WordConfidence


def calibrate_words(
    transcriber: Transcriber, manifests: Sequence[str | Path], consent: ConsentCheck | None = FOR_TRAINING
) -> WordCalibration | None:
    """Learn how often a word of a certain probability is right.

    Args:
        transcriber: The model, which tells words; what its checkpoint knows of their probabilities is left aside.
        manifests: Fragments that it has not learnt from, with what is said.
        consent: What is asked of the fragments, which are learnt from; None was told to ask nothing.

    Returns:
        What was learnt; None where there are fewer than 50 right or 50 wrong words, of two speakers, or where the
        surer words are not the righter ones.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict

    waiting: deque[Fragment] = deque()

    def heard() -> Iterator[Fragment]:
        for manifest in manifests:
            for fragment in read_consented(manifest, consent):
                if fragment.text:
                    waiting.append(fragment)
                    yield fragment

    chances: list[float] = []
    right: list[bool] = []
    voices: list[str] = []
    plain = _uncalibrated(transcriber)
    for told in track(plain.transcribe_many(heard()), "words", console=Console(stderr=True)):
        fragment = waiting.popleft()
        if isinstance(told, Transcript):
            for chance, said in words_that_were_said(told, fragment):
                chances.append(chance)
                right.append(said)
                voices.append(fragment.speaker or fragment.id)
    correct = np.array(right, bool)
    if min(correct.sum(), (~correct).sum()) < _LEAST or len(set(voices)) < 2:
        return None
    odds = np.array([log_odds(chance) for chance in chances])[:, None]
    learnt = LogisticRegression(C=1e6).fit(odds, correct)
    confidence = WordConfidence(float(learnt.coef_[0, 0]), float(learnt.intercept_[0]))
    if confidence.slope <= 0:
        return None
    folds = GroupKFold(min(_FOLDS, len(set(voices))))
    others = cross_val_predict(learnt, odds, correct, groups=voices, cv=folds, method="predict_proba")[:, 1]
    return WordCalibration(
        words=len(correct),
        right=float(correct.mean()),
        error_before=calibration_error(np.array(chances), correct),
        error=calibration_error(others, correct),
        confidence=confidence,
    )


def words_that_were_said(told: Transcript, fragment: Fragment) -> Iterator[tuple[float, bool]]:
    """Yield the probability of each word, and whether it was said.

    Both texts are normalised as for a word error rate and aligned with the least number of changes. A word that
    normalises to nothing counts not; one that is several words then is right if all of them are.

    Args:
        told: Of the fragment, with words.
        fragment: With what is said in it.
    """
    normalize = get_normalizer(fragment.language, fragment.dialect)
    parts = [normalize(word.text).split() for word in told.words]
    owners = [place for place, own in enumerate(parts) for _ in own]
    if not owners:
        return
    expected = normalize(fragment.text)
    same = [False] * len(owners)
    if expected:
        found = jiwer.process_words(expected, " ".join(part for own in parts for part in own))
        for chunk in found.alignments[0]:
            if chunk.type == "equal":
                for place in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
                    same[place] = True
    wrong = {owner for owner, said in zip(owners, same, strict=True) if not said}
    for place, own in enumerate(parts):
        if own:
            yield told.words[place].probability, place not in wrong


def _uncalibrated(transcriber: Transcriber) -> Transcriber:
    """The same model, with words as its decoder has them."""
    checkpoint = transcriber.checkpoint
    return Transcriber(
        replace(checkpoint, info=replace(checkpoint.info, words=None)),
        batch_seconds=transcriber.batch_seconds,
        options=transcriber.options,
        workers=transcriber.workers,
        words=True,
    )
