"""Makes the probabilities of a model's heads hold, on fragments that it has not learnt from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track

from asr.data.batch import Batch, BatchLoader, BatchOptions
from asr.data.labels import IGNORED, Labeller
from asr.data.stream import Draw, UsableFragments, sequential_batches
from asr.errors import ConfigError
from asr.metrics import macro_f1
from asr.metrics.calibration import calibration_error, coverage_at_risk, fit_temperature, threshold_at_risk
from asr.model.features import count_states
from asr.model.heads import HEAD_NAMES, Head, HeadName
from asr.model.network import DialectWhisper

_BATCH_SECONDS = 240.0


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
    """

    name: HeadName
    fragments: int
    f1: float
    error_before: float
    error: float
    temperature: float
    threshold: float
    coverage: float


def calibrate(model: DialectWhisper, manifests: Sequence[str | Path], risk: float) -> list[Calibration]:
    """Give every head of a model, in place, the temperature and threshold that its answers on some fragments ask for.

    Args:
        model: With heads.
        manifests: Fragments that no head has learnt from, of other speakers; those without a label do not count.
        risk: Share of the answers that may be wrong; what is less sure is "unknown".

    Raises:
        ConfigError: The model has no head, or no fragment has a label that one of them knows.
    """
    heads = {name: model.head(name) for name in HEAD_NAMES if name in model.heads}
    if not heads:
        raise ConfigError("the checkpoint has no head to calibrate; train one with experiment=heads")
    scores: dict[HeadName, list[npt.NDArray[np.float32]]] = {name: [] for name in heads}
    targets: dict[HeadName, list[int]] = {name: [] for name in heads}
    for batch in track(_batches(model, manifests), "listening", console=Console(stderr=True)):
        with torch.inference_mode():
            batch = batch.to(model.device)
            encoded = model.encode(*model.features(batch.audio, model.window_samples(batch.num_samples)))
            languages = [fragment.language for fragment in batch.fragments]
            dialects = [fragment.dialect for fragment in batch.fragments]
            for name, head in heads.items():
                labels = [getattr(fragment, name) for fragment in batch.fragments]
                wanted = head.targets(labels, languages, IGNORED)
                found = head(encoded.layers, count_states(batch.num_samples), languages, dialects).cpu()
                scores[name] += list(found[wanted != IGNORED].numpy())
                targets[name] += wanted[wanted != IGNORED].tolist()
    unlabelled = [name for name, labels in targets.items() if not labels]
    if unlabelled:
        known = ", ".join(heads[unlabelled[0]].spec.labels)
        raise ConfigError(
            f"no fragment has a label that the head {unlabelled[0]!r} knows ({known}); give a manifest with such labels"
        )
    return [
        _calibrate(name, head, np.stack(scores[name]), np.array(targets[name]), risk) for name, head in heads.items()
    ]


def _batches(model: DialectWhisper, manifests: Sequence[str | Path]) -> Iterator[Batch]:
    labeller = Labeller(model.whisper)
    loader = BatchLoader(labeller, BatchOptions(margin=(0.0, 0.0), timestamps=0.0, speeds=(1.0,)))
    fragments = (item for manifest in manifests for item in UsableFragments(manifest, labeller.languages))
    for cuts in sequential_batches(fragments, _BATCH_SECONDS):
        yield loader[Draw(tuple(cut.custom["fragment"] for cut in cuts), None, 0)]


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
