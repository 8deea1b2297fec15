"""Makes the probabilities of a model's heads hold, on fragments that it has not learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track

from asr.audio import SAMPLE_RATE
from asr.data.batch import Batch, each_once
from asr.data.labels import IGNORED
from asr.data.stream import FOR_TRAINING
from asr.errors import ConfigError
from asr.inference.decoding import DecodeOptions, decode, sayable_tokens
from asr.inference.punctuation import asks, has_words, question_log_odds
from asr.metrics import macro_f1
from asr.metrics.calibration import calibration_error, coverage_at_risk, fit_temperature, threshold_at_risk
from asr.metrics.labels import f1_of
from asr.model.features import count_states
from asr.model.heads import HEAD_NAMES, Fusion, Head, HeadName, log_odds
from asr.model.network import DialectWhisper, Encoded
from asr.privacy.consent import ConsentCheck

_BATCH_SECONDS = 240.0
# By so much more than by the model alone may the share of false question marks be.
_MORE_FALSE = 0.01
_QUESTION = "question"
# Questions, and others, under which no fusion is learnt.
_LEAST = 20

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MarkScore:
    """Question marks by one source.

    Attributes:
        f1: Of the questions, 0 to 1.
        false: Share of what is no question that gets one.
    """

    f1: float
    false: float


@dataclass(frozen=True, slots=True)
class Marks:
    """Question marks on the fragments that the fusion was learnt from; its true figures are a little worse.

    Attributes:
        fragments: Those with words, enough voice and a label.
        words: The model's own marks.
        voice: The head's most probable label.
        fused: The marks that are written from now on.
    """

    fragments: int
    words: MarkScore
    voice: MarkScore
    fused: MarkScore


@dataclass(frozen=True, slots=True)
class _Words:
    """What the decoder makes of one fragment: whether it writes a question mark, the log-odds of one, who speaks."""

    asks: bool
    log_odds: float
    voice: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """One head on the fragments that it was calibrated with.

    Attributes:
        name: Of the head.
        fragments: Those that have one of its labels.
        f1: Macro-F1, 0 to 1.
        error_before: Expected calibration error without a temperature.
        error: With it; measured where it was fitted, so the true one is larger.
        temperature: See `asr.model.heads.HeadSpec`.
        threshold: Likewise.
        coverage: Share of the fragments that are answered.
        marks: What its fusion with the decoder does; None for a head without "question", or with too few of them.
    """

    name: HeadName
    fragments: int
    f1: float
    error_before: float
    error: float
    temperature: float
    threshold: float
    coverage: float
    marks: Marks | None = None


def calibrate(
    model: DialectWhisper,
    manifests: Sequence[str | Path],
    risk: float,
    consent: ConsentCheck | None = FOR_TRAINING,
) -> list[Calibration]:
    """Give every head of a model, in place, the temperature and threshold that its answers on some fragments ask for.

    The intonation head gets a `Fusion` too: what the fragments say of the decoder's question marks and its own. Of all
    thresholds that put hardly more false question marks than the model alone does (see `learn_fusion`), it has the one
    with the best F1. Where there are fewer than 20 questions, or 20 others, with words and voice, there is none.

    Args:
        model: With heads.
        manifests: Fragments that no head has learnt from, of other speakers; those without a label do not count.
        risk: Share of the answers that may be wrong; what is less sure is "unknown".
        consent: What is asked of the fragments, which are learnt from; None was told to ask nothing.

    Raises:
        ConfigError: The model has no head, or no fragment has a label that one of them knows.
    """
    heads = {name: model.head(name) for name in HEAD_NAMES if name in model.heads}
    if not heads:
        raise ConfigError("the checkpoint has no head to calibrate; train one with experiment=heads")
    scores: dict[HeadName, list[npt.NDArray[np.float32]]] = {name: [] for name in heads}
    targets: dict[HeadName, list[int]] = {name: [] for name in heads}
    words: list[_Words | None] = []
    batches = each_once(model.whisper, manifests, _BATCH_SECONDS, consent=consent)
    for batch in track(batches, "listening", console=Console(stderr=True)):
        with torch.inference_mode():
            batch = batch.to(model.device)
            encoded = model.encode(*model.features(batch.audio, model.window_samples(batch.num_samples)))
            languages = [fragment.language for fragment in batch.fragments]
            dialects = [fragment.dialect for fragment in batch.fragments]
            for name, head in heads.items():
                labels = [getattr(fragment, name) for fragment in batch.fragments]
                wanted = head.targets(labels, languages, IGNORED)
                found = head(encoded.normal, count_states(batch.num_samples), languages, dialects, batch.contours).cpu()
                scores[name] += list(found[wanted != IGNORED].numpy())
                targets[name] += wanted[wanted != IGNORED].tolist()
                if name == "intonation" and _QUESTION in head.spec.labels:
                    words += _decode(model, batch, encoded, (wanted != IGNORED).nonzero()[:, 0].tolist())
    unlabelled = [name for name, labels in targets.items() if not labels]
    if unlabelled:
        known = ", ".join(heads[unlabelled[0]].spec.labels)
        raise ConfigError(
            f"no fragment has a label that the head {unlabelled[0]!r} knows ({known}); give a manifest with such labels"
        )
    found = []
    for name, head in heads.items():
        answers, right = np.stack(scores[name]), np.array(targets[name])
        calibration = _calibrate(name, head, answers, right, risk)
        if name == "intonation" and words:
            calibration = replace(calibration, marks=_fuse(head, answers, right, words))
        found.append(calibration)
    return found


def _decode(model: DialectWhisper, batch: Batch, encoded: Encoded, rows: Sequence[int]) -> list[_Words | None]:
    """What the decoder makes of some rows of a batch; None where there are no words, or the head is not asked."""
    found: dict[int, _Words] = {}
    heard = model.head("intonation").spec.heard
    languages = [fragment.language for fragment in batch.fragments]
    voiced = (~batch.contours.isnan().any(-1)).tolist()
    usable = [row for row in rows if voiced[row] and (not heard or languages[row] in heard)]
    longest = int(batch.num_samples.max()) / SAMPLE_RATE
    for language in sorted({languages[row] for row in usable}):
        options = DecodeOptions(max_tokens=sayable_tokens(model, longest, language))
        spoken = [row for row in usable if languages[row] == language]
        texts = [result.text for result in decode(model, encoded.select(spoken), language, options)]
        said = [(row, text) for row, text in zip(spoken, texts, strict=True) if has_words(text)]
        if said:
            chosen, written = zip(*said, strict=True)
            odds = question_log_odds(model, encoded.select(list(chosen)), written, language)
            for row, text, words in zip(chosen, written, odds, strict=True):
                speaker = batch.fragments[row].speaker or batch.fragments[row].id
                found[row] = _Words(asks(text, language), words, speaker)
    return [found.get(row) for row in rows]


def _fuse(
    head: Head, scores: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], words: Sequence[_Words | None]
) -> Marks | None:
    """Learn the head's fusion from the fragments that have words."""
    rows = [row for row, said in enumerate(words) if said is not None]
    said = [item for item in words if item is not None]
    number = head.spec.labels.index(_QUESTION)
    asked = targets[rows] == number
    head.spec = replace(head.spec, fusion=None)
    if min(asked.sum(), (~asked).sum()) < _LEAST:
        return None
    chances = head.probabilities(torch.from_numpy(scores[rows])).numpy()
    own = np.array([item.asks for item in said])
    odds = [item.log_odds for item in said]
    voice = chances[:, number].tolist()
    fusion = learn_fusion(odds, voice, asked, own, [item.voice for item in said])
    head.spec = replace(head.spec, fusion=fusion)
    fused = [fusion.p_question(*pair) >= fusion.threshold for pair in zip(odds, voice, strict=True)]
    by_voice = chances.argmax(axis=1) == number
    return Marks(len(rows), *(_score_marks(asked, marks) for marks in (own, by_voice, np.array(fused))))


def learn_fusion(
    words: Sequence[float], p_voice: Sequence[float], asked: Flags, own: Flags, voices: Sequence[str]
) -> Fusion:
    """Learn to weigh the decoder against the voice.

    Args:
        words: The decoder's log-odds of "?" against ".", of N fragments.
        p_voice: The head's probability of a question, of each.
        asked: Whether each is a question, [N]; some are and some are not.
        own: Where the model itself writes a question mark, [N].
        voices: Who speaks. The share of false marks may be larger than the model's own by one point at most: as a mean
            over voices, and with the standard error of that mean added, because other voices will be heard.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_curve

    sources = np.column_stack([words, [log_odds(chance) for chance in p_voice]])
    model = LogisticRegression().fit(sources, asked)
    (by_words, by_voice), (bias,) = model.coef_[0].tolist(), model.intercept_.tolist()
    chances = model.predict_proba(sources)[:, 1]
    _, right, thresholds = roc_curve(asked, chances, drop_intermediate=False)
    marked = chances >= thresholds[:, None]
    false = (marked & ~asked).sum(axis=1) / (~asked).sum()
    # F1 of every threshold; the first lets nothing in.
    f1 = 2 * right * asked.sum() / (right * asked.sum() + false * (~asked).sum() + asked.sum())
    # Per voice, how many more of its fragments that are no question get a mark than by the model alone; [T, V].
    spoken = (np.unique(voices, return_inverse=True)[1] == np.arange(len(set(voices)))[:, None]) & ~asked
    spoken = spoken[spoken.any(axis=1)]
    more = (marked.astype(float) - own) @ spoken.T / spoken.sum(axis=1)
    error = more.std(axis=1, ddof=1) / np.sqrt(len(spoken)) if len(spoken) > 1 else 0.0
    best = int(np.where(more.mean(axis=1) + error <= _MORE_FALSE, f1, -1.0).argmax())
    # Half way to the next fragment that would be let in: on others the edge lies somewhere between.
    edges = np.clip(thresholds[best : best + 2], 0.0, 1.0)
    return Fusion(by_words, by_voice, bias, threshold=float(edges.mean()))


def _score_marks(asked: Flags, marks: Flags) -> MarkScore:
    return MarkScore(f1_of(asked, marks), float(marks[~asked].mean()))


def _calibrate(
    name: HeadName, head: Head, scores: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], risk: float
) -> Calibration:
    head.spec = replace(head.spec, temperature=1.0)
    before, correct = _confidence(head, scores, targets)
    temperature = fit_temperature(scores, targets)
    head.spec = replace(head.spec, temperature=temperature)
    confidence, _ = _confidence(head, scores, targets)
    threshold = threshold_at_risk(confidence, correct, risk)
    head.spec = replace(head.spec, threshold=threshold)
    return Calibration(
        name=name,
        fragments=len(targets),
        f1=macro_f1(targets.tolist(), scores.argmax(axis=1).tolist()),
        error_before=calibration_error(before, correct),
        error=calibration_error(confidence, correct),
        temperature=temperature,
        threshold=threshold,
        coverage=coverage_at_risk(confidence, correct, risk),
    )


def _confidence(
    head: Head, scores: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The probability of each answer, and whether it is right."""
    chances = head.probabilities(torch.from_numpy(scores)).numpy()
    return chances.max(axis=1), chances.argmax(axis=1) == targets
