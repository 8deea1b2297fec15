"""Where heads begin: against scikit-learn's own regression, and on voices that were not heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from whisper.model import Whisper

from asr.model.heads import Head, HeadSpec
from asr.model.network import DialectWhisper
from asr.training.heads import HeadOptions, head_labels
from asr.training.start import begin, start_heads

LAYERS, WIDTH = 3, 8


def cloud(count: int, labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Pooled features around a centre per label, far from 0 and of unlike spread, and the voices."""
    random = np.random.default_rng(seed)
    targets = np.arange(count) % labels
    centres = np.random.default_rng(9).normal(size=(labels, 2 * WIDTH))
    spread = np.geomspace(0.1, 10, 2 * WIDTH)
    pooled = (5 + centres[targets] + random.normal(size=(count, 2 * WIDTH))) * spread
    return pooled.astype(np.float32), targets, [f"v{number // labels % 10}" for number in range(count)]


def chances(head: Head, pooled: np.ndarray, languages: list[str]) -> np.ndarray:
    standard = (torch.from_numpy(pooled) - head.center) * head.scale
    return head.probabilities(head.scores(standard, languages, [None] * len(pooled))).detach().numpy()


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("count", [18, 120])  # fewer fragments than features, and more
def test_a_head_begins_where_a_regression_ends(labels: int, count: int) -> None:
    pooled, targets, voices = cloud(count, labels)
    names = ("a", "b", "c")[:labels]
    head = Head(HeadSpec(names), LAYERS, WIDTH).eval()
    begin(head, pooled, targets, ["en"] * count, voices, [1.0] * labels)
    standard = (pooled - pooled.mean(0)) / pooled.std(0)
    standard[:, WIDTH:] /= 4
    # One of the penalties that are tried gives just these answers.
    twins = [
        LogisticRegression(C=strength, max_iter=1000, tol=1e-6).fit(standard, targets).predict_proba(standard)
        for strength in (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    ]
    assert min(np.abs(chances(head, pooled, ["en"] * count) - twin).max() for twin in twins) < 0.01
    asked, truth, _ = cloud(300, labels, seed=1)
    assert (chances(head, asked, ["en"] * 300).argmax(1) == truth).mean() > 0.8


def test_dialects_are_regressed_per_language() -> None:
    pooled, targets, voices = cloud(120, 3)
    spec = HeadSpec(("fr-BE", "fr-CA", "en-GB"), languages=("fr", "fr", "en"))
    head = Head(spec, LAYERS, WIDTH).eval()
    languages = [spec.languages[target] for target in targets]
    begin(head, pooled, targets, languages, voices, [1.0] * 3)
    assert not head.out.weight[2].any(), "of one dialect there is nothing to tell"
    found = chances(head, pooled, languages)
    assert (found.argmax(1) == targets).mean() > 0.95
    assert (found[targets == 2] == [0, 0, 1]).all()


def test_noise_is_not_learnt_by_heart() -> None:
    random = np.random.default_rng(0)
    pooled = random.normal(size=(60, 2 * WIDTH)).astype(np.float32)
    head = Head(HeadSpec(("a", "b")), LAYERS, WIDTH).eval()
    begin(head, pooled, np.arange(60) % 2, ["en"] * 60, [f"v{row // 6}" for row in range(60)], [1.0, 1.0])
    assert np.abs(chances(head, pooled, ["en"] * 60) - 0.5).max() < 0.3


def test_a_contour_counts_more_than_its_places() -> None:
    pooled, targets, voices = cloud(40, 2)
    wide = np.concatenate([pooled, pooled[:, :WIDTH], pooled[:, :4]], axis=1)
    head = Head(HeadSpec(("a", "b"), contour=4), LAYERS, WIDTH)
    begin(head, wide, targets, ["en"] * 40, voices, [1.0, 1.0])
    assert torch.allclose(head.scale[-4:], 2 * head.scale[:4])
    assert torch.allclose(head.scale[2 * WIDTH : -4], head.scale[:WIDTH])


def test_a_bottleneck_gets_the_scale_alone() -> None:
    pooled, targets, voices = cloud(40, 2)
    head = Head(HeadSpec(("a", "b"), bottleneck=4), LAYERS, WIDTH)
    before = head.out.weight.clone()
    begin(head, pooled, targets, ["en"] * 40, voices, [1.0, 1.0])
    assert torch.equal(head.out.weight, before)
    assert np.allclose(head.center.numpy(), pooled.mean(0), rtol=1e-4)


def test_the_heads_of_a_model_begin_with_its_fragments(tiny_whisper: Whisper, voices: Path) -> None:
    model = DialectWhisper(tiny_whisper, "tight").train()
    learnt = head_labels([voices], HeadOptions(intonation=1.0, least=1))
    model.set_heads({name: labels.spec for name, labels in learnt.items()})
    start_heads(model, [voices], learnt)
    head = model.head("intonation")
    assert model.training and head.training
    assert head.center.any() and head.out.weight.any()
    kept = head.out.weight.clone()
    start_heads(model, [voices], {})
    assert torch.equal(head.out.weight, kept)


def test_of_many_fragments_some_are_heard_and_none_without_a_label(
    tiny_whisper: Whisper, voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asr.training.start as module

    begun, loaded = [], []
    monkeypatch.setattr(module, "_MOST", 8)
    monkeypatch.setattr(module, "begin", lambda head, pooled, targets, *rest: begun.append(len(targets)))
    real = module.each_once

    def counted(*given: object) -> object:
        for batch in real(*given):
            loaded.extend(batch.fragments)
            yield batch

    monkeypatch.setattr(module, "each_once", counted)
    model = DialectWhisper(tiny_whisper, "tight")
    learnt = head_labels([voices], HeadOptions(intonation=1.0, least=1))
    model.set_heads({name: labels.spec for name, labels in learnt.items()})
    start_heads(model, [voices], learnt)
    # 23 of the 24 have a label: every third.
    assert begun == [7] and len(loaded) == 7
    assert all(fragment.intonation for fragment in loaded)
