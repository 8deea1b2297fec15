"""Where heads begin: at the logistic regression on what they pool, before any weight has moved.

There are few labelled voices and many ways to tell them apart, so what is learnt from them must be held back. A
regression has its optimum, finds it in seconds, and its penalty can be chosen on voices held out; a head that begins at
random finds neither in so few fragments.

Shapes: N fragments, R what is represented of each, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import track

from asr.data.batch import each_once
from asr.data.labels import IGNORED
from asr.data.stream import FOR_TRAINING
from asr.fragment import Fragment
from asr.model.features import count_states
from asr.model.heads import Head, HeadName
from asr.model.network import DialectWhisper
from asr.privacy.consent import ConsentCheck
from asr.training.heads import HeadLabels

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

_BATCH_SECONDS = 240.0
# Fragments with a label that a head begins with, about; of more, every second, third … Training hears all of them.
_MOST = 4000
# Inverse strengths of the penalty that are tried, as scikit-learn counts them, and folds of voices they are tried on.
_STRENGTHS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
_FOLDS = 5
# A pitch contour has few places, each of which says more than one of the encoder's many hundred.
_CONTOUR_WEIGHT = 2.0
# Where the end does not count, in dialects, how far frames spread says less than their mean.
_SPREAD_WEIGHT = 0.25


@dataclass(slots=True)
class _Heard:
    """What a head pools of fragments that have a label: [N, R], and beside each the label, the language, the voice."""

    pooled: list[npt.NDArray[np.float32]] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    voices: list[str] = field(default_factory=list)


def start_heads(
    model: DialectWhisper,
    manifests: Sequence[str | Path],
    learnt: Mapping[HeadName, HeadLabels],
    consent: ConsentCheck | None = FOR_TRAINING,
) -> None:
    """Let the heads of a model begin where a regression ends, in one pass over some manifests.

    Args:
        model: With the heads, on the device that is to hear.
        manifests: Those that the heads will learn from.
        learnt: The heads that will learn.
        consent: What is asked of the fragments; None was told to ask nothing.

    Raises:
        ManifestError: A manifest cannot be read.
    """
    if not learnt:
        return
    training = model.training
    model.eval()
    heard = {name: _Heard() for name in learnt}
    seen = dict.fromkeys(learnt, 0)

    def wanted(fragment: Fragment) -> bool:
        found = False
        for name, labels in learnt.items():
            if getattr(fragment, name) in labels.spec.labels:
                seen[name] += 1
                found |= seen[name] % -(-labels.fragments // _MOST) == 0
        return found

    batches = each_once(model.whisper, manifests, _BATCH_SECONDS, wanted, consent)
    # Of several processes that all do this, one shows it.
    told = Console(stderr=True, quiet=bool(rank_zero_only.rank))  # type: ignore[attr-defined]
    for batch in track(batches, "hearing what heads begin with", console=told):
        batch = batch.to(model.device)
        languages = [fragment.language for fragment in batch.fragments]
        with torch.inference_mode():
            encoded = model.encode(*model.features(batch.audio, model.window_samples(batch.num_samples)))
            for name, found in heard.items():
                head = model.head(name)
                targets = head.targets([getattr(item, name) for item in batch.fragments], languages, IGNORED).tolist()
                pooled = head.pooled(encoded.normal, count_states(batch.num_samples), batch.contours).cpu().numpy()
                for row, (target, fragment) in enumerate(zip(targets, batch.fragments, strict=True)):
                    if target != IGNORED:
                        found.pooled.append(pooled[row])
                        found.targets.append(target)
                        found.languages.append(fragment.language)
                        found.voices.append(fragment.speaker or fragment.id)
    for name, found in heard.items():
        if found.targets:
            begin(
                model.head(name),
                np.stack(found.pooled),
                np.array(found.targets),
                found.languages,
                found.voices,
                learnt[name].weights,
            )
    model.train(training)


def begin(
    head: Head,
    pooled: npt.NDArray[np.float32],
    targets: Numbers,
    languages: Sequence[str],
    voices: Sequence[str],
    weights: Sequence[float],
) -> None:
    """Give a head the scale of what it pools, and the weights that logistic regression finds on that.

    A head with a bottleneck gets the scale alone. Of dialects, those of each language are regressed by themselves.

    Args:
        head: It changes in place.
        pooled: What it pools, [N, R], see `asr.model.heads.Head.pooled`.
        targets: The number of each fragment's label, [N].
        languages: Of each fragment.
        voices: Of each fragment; those of one fold are never learnt from for another.
        weights: Of each label in the loss, C.
    """
    center, spread = pooled.mean(axis=0, dtype=np.float64), pooled.std(axis=0, dtype=np.float64)
    scale = 1 / np.maximum(spread, 1e-3)
    if head.spec.contour:
        scale[-head.spec.contour :] *= _CONTOUR_WEIGHT
    else:
        scale[len(scale) // 2 :] *= _SPREAD_WEIGHT
    with torch.no_grad():
        head.center.copy_(torch.from_numpy(center))
        head.scale.copy_(torch.from_numpy(scale))
        if head.spec.bottleneck:
            return
        head.out.weight.zero_()
        head.out.bias.zero_()
        standard = (pooled - center) * scale
        owners = np.array(languages if head.spec.languages else [""] * len(targets))
        for owner in sorted(set(owners.tolist())):
            rows = np.flatnonzero(owners == owner)
            labels = np.unique(targets[rows])
            if len(labels) < 2:
                continue
            found = _regress(standard[rows], targets[rows], np.array(voices)[rows], np.array(weights)[targets[rows]])
            head.out.weight[labels] = torch.from_numpy(found[0]).to(head.out.weight)
            head.out.bias[labels] = torch.from_numpy(found[1]).to(head.out.bias)


def _regress(
    features: Floats, targets: Numbers, voices: npt.NDArray[np.str_], weights: Floats
) -> tuple[Floats, Floats]:
    """Weights [C, R] and biases [C] of a logistic regression, its penalty chosen on voices held out."""
    from sklearn.model_selection import StratifiedGroupKFold

    # The optimum lies among the fragments: in their own span there are fewer numbers to find.
    basis = np.linalg.qr(features.T)[0] if len(features) < features.shape[1] else np.eye(features.shape[1])
    reduced = features @ basis
    losses = np.zeros(len(_STRENGTHS))
    folds = min(_FOLDS, len(set(voices.tolist())), int(np.unique(targets, return_counts=True)[1].min()))
    if folds > 1:
        for learnt, asked in StratifiedGroupKFold(folds).split(reduced, targets, voices):
            if len(np.unique(targets[learnt])) < 2:
                continue
            # Each begins where the one before ended: they lie near each other.
            model = _regression(warm_start=True)
            for number, strength in enumerate(_STRENGTHS):
                model.set_params(C=strength).fit(reduced[learnt], targets[learnt], sample_weight=weights[learnt])
                losses[number] += _loss(model, reduced[asked], targets[asked], weights[asked])
    strength = _STRENGTHS[int(losses.argmin())] if losses.any() else _STRENGTHS[len(_STRENGTHS) // 2]
    model = _regression(C=strength).fit(reduced, targets, sample_weight=weights)
    coefficients, biases = model.coef_, model.intercept_
    if len(biases) == 1:
        # Of two labels scikit-learn gives the difference.
        coefficients, biases = np.concatenate([-coefficients, coefficients]) / 2, np.array([-biases[0], biases[0]]) / 2
    return coefficients @ basis.T, biases


def _regression(**given: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=300, tol=1e-3, **given)


def _loss(model: Any, features: Floats, targets: Numbers, weights: Floats) -> float:
    """Sum of the weighted log losses; a label that the model has not learnt is worth as much as the least probable."""
    chances = np.full((len(targets), int(max(targets.max(), model.classes_.max())) + 1), 1e-6)
    chances[:, model.classes_] = model.predict_proba(features).clip(1e-6)
    return float(-(weights * np.log(chances[np.arange(len(targets)), targets])).sum())
