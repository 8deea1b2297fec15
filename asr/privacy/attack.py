"""Whose voice is it: a speaker-verification attack on changed voices, from embeddings to equal error rates.

Some fragments of a speaker enrol him, the others are to be told whose they are, each against everybody. What the
attacker has decides how well he does: originals alone, or the method, and so voices changed by himself, from which he
can also learn which directions of the embedding the change and the words move, and turn his eyes from them.

Shapes: N fragments, D dimensions, S speakers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.errors import MissingExtraError
from asr.metrics import Estimate, statistic_estimate
from asr.metrics.verification import Trials

Floats = NDArray[np.float64]

# Seconds between the windows of 1.6 s that Resemblyzer averages, and windows that its network hears at once.
_STEP, _BATCH = 0.8, 128


@dataclass(frozen=True, slots=True)
class Attack:
    """How well speakers are told again.

    Attributes:
        error: Equal error rate, with its interval over speakers.
        same: Trials of a fragment with its own speaker.
        different: Trials of a fragment with another one.
    """

    error: Estimate
    same: int
    different: int


class Whitening:
    """What is learnt from labelled voices: distances count by how little the voices of one speaker differ there.

    Within-class covariance normalisation (Hatch et al. 2006, Interspeech), with the covariance shrunk as by Ledoit and
    Wolf (2004), because there are fewer fragments than it has entries.

    Args:
        embeddings: [N, D].
        speakers: Of each, N.
    """

    def __init__(self, embeddings: Floats, speakers: NDArray[np.str_]) -> None:
        from sklearn.covariance import LedoitWolf

        names, members = np.unique(speakers, return_inverse=True)
        means = np.stack([embeddings[members == number].mean(axis=0) for number in range(len(names))])
        within = LedoitWolf(assume_centered=True).fit(embeddings - means[members]).covariance_
        self._centre = embeddings.mean(axis=0)
        self._matrix = np.linalg.inv(np.linalg.cholesky(within)).T

    def __call__(self, embeddings: Floats) -> Floats:
        """Return embeddings among which the cosine is the score, [N, D] to [N, D]."""
        return np.asarray((embeddings - self._centre) @ self._matrix)


def attack(
    enrolled: Floats,
    tested: Floats,
    speakers: NDArray[np.str_],
    learnt: Iterable[Floats] = (),
    *,
    resamples: int = 1000,
) -> Attack:
    """Enrol every speaker on half of the fragments and try to tell the other half.

    A fragment is tried against the speakers of its own half of the speakers only, so that an attacker who learns can
    learn from the other half. All attackers have the same trials.

    Args:
        enrolled: As the attacker has the fragments that he enrols on, [N, D].
        tested: As he finds those that he is to tell, [N, D], in the same order.
        speakers: Of each fragment, N.
        learnt: Other copies of the fragments, [N, D] each, from which he learns a `Whitening`; none, none.
        resamples: Draws of speakers for the interval.
    """
    names, members = np.unique(speakers, return_inverse=True)
    place = np.array([np.sum(members[:row] == speaker) for row, speaker in enumerate(members)])
    enrols, fold = place % 2 == 0, members % 2
    copies = list(learnt)
    scores, rows, against = [], [], []
    for number in (0, 1):
        own, other = np.flatnonzero(np.arange(len(names)) % 2 == number), fold != number
        first, second = enrolled, tested
        if copies:
            whiten = Whitening(np.concatenate([copy[other] for copy in copies]), np.tile(speakers[other], len(copies)))
            first, second = whiten(enrolled), whiten(tested)
        models = _unit(np.stack([_unit(first[enrols & (members == speaker)]).mean(axis=0) for speaker in own]))
        asked = np.flatnonzero((fold == number) & ~enrols)
        scores.append((_unit(second[asked]) @ models.T).ravel())
        rows.append(np.repeat(members[asked], len(own)))
        against.append(np.tile(own, len(asked)))
    tester, model = np.concatenate(rows), np.concatenate(against)
    same = tester == model
    trials = Trials(same, np.concatenate(scores))

    def error(chosen: NDArray[np.intp]) -> float | None:
        times = np.bincount(chosen, minlength=len(names)).astype(np.float64)
        # A speaker drawn twice is two speakers, each told from all others; but never from his own double.
        return trials.equal_error_rate(np.where(same, times[tester], times[tester] * times[model]))

    estimate = statistic_estimate(error, np.arange(len(names)), resamples=resamples)
    return Attack(estimate, int(same.sum()), int((~same).sum()))


def embed(recordings: Iterable[NDArray[np.float32]]) -> Floats:
    """Describe voices by Resemblyzer's speaker encoder, whose weights are in its wheel.

    Args:
        recordings: Float32 [n] at 16 kHz each.

    Returns:
        [N, 256], each of length 1.

    Raises:
        MissingExtraError: Resemblyzer or its voice detector is not installed.
    """
    try:
        import torch
        from resemblyzer import VoiceEncoder, preprocess_wav
        from resemblyzer.audio import wav_to_mel_spectrogram
    except ImportError as error:
        raise MissingExtraError(
            "the attack needs Resemblyzer; install it with its voice detector, but without the other packages that it "
            "asks for: pip install --no-deps Resemblyzer==0.1.4 webrtcvad-wheels==2.0.14.post1"
        ) from error

    encoder = VoiceEncoder("cpu", verbose=False)
    windows, owners = [], []
    for number, recording in enumerate(recordings):
        sound = preprocess_wav(recording)
        # Of noise its voice detector leaves nothing; what it is then is asked all the same.
        sound = sound if len(sound) else recording
        spans, frames = encoder.compute_partial_slices(len(sound), rate=1 / _STEP, min_coverage=0.75)
        mel = wav_to_mel_spectrogram(np.pad(sound, (0, max(0, spans[-1].stop - len(sound)))))
        windows += [mel[span] for span in frames]
        owners += [number] * len(frames)
    stacked = torch.from_numpy(np.stack(windows))
    with torch.inference_mode():
        described = torch.cat([encoder(part) for part in torch.split(stacked, _BATCH)]).double().numpy()
    sums = np.zeros((owners[-1] + 1, described.shape[1]))
    np.add.at(sums, owners, described)
    return _unit(sums)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
