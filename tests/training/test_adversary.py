"""The reversed gradient in closed form, and that a head unlearns the room and keeps the dialect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from asr.data.labels import IGNORED
from asr.errors import ConfigError
from asr.fragment import Consent, Fragment, write_manifest
from asr.model.heads import Head, HeadSpec
from asr.training.adversary import PACE, Adversary, corpora_of, reverse_gradient, strength_at
from asr.training.heads import HeadOptions
from asr.training.start import begin

LAYERS, WIDTH, FRAMES = 2, 8, 6
bare = Fragment(id="a", audio="/a.wav", text="a", language="en")


def test_a_reversed_gradient_is_the_plain_one_times_minus_the_strength() -> None:
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.equal(reverse_gradient(x, 0.7), x)
    (plain,) = torch.autograd.grad(x.sin().square().sum(), x)
    (reversed_,) = torch.autograd.grad(reverse_gradient(x, 0.7).sin().square().sum(), x)
    assert torch.allclose(plain, torch.sin(2 * x), rtol=1e-12)
    assert torch.allclose(reversed_, -0.7 * torch.sin(2 * x), rtol=1e-12)


def test_the_strength_rises_from_nothing_as_a_tanh() -> None:
    # 2 / (1 + exp(-2 y)) - 1 is tanh y.
    assert strength_at(0.0) == 0
    for progress in (0.1, 0.5, 1.0):
        assert strength_at(progress) == pytest.approx(math.tanh(5 * progress))


def test_the_classifier_itself_learns_at_full_strength() -> None:
    torch.manual_seed(0)
    adversary, targets = Adversary(("a", "b"), 2, 4), torch.tensor([0, 1, 1])
    represented = torch.randn(3, 4, requires_grad=True)
    found = []
    for strength in (0.0, 2.0, 6.0):
        loss = functional.cross_entropy(adversary(represented, torch.tensor([0, 1, IGNORED]), strength), targets)
        found.append(torch.autograd.grad(loss, [*adversary.parameters(), represented]))
    for none, two, six in zip(*(gradients[:-1] for gradients in found), strict=True):
        assert torch.equal(none, two) and torch.equal(two, six)
    assert not found[0][-1].any()
    assert found[1][-1].any() and torch.allclose(found[2][-1], 3 * found[1][-1])


def test_a_fragment_of_no_known_corpus_has_no_target() -> None:
    fragments = [bare.replace(corpus=corpus) for corpus in ("b", None, "a", "c")]
    assert Adversary(("a", "b"), 2, 4).targets(fragments).tolist() == [1, IGNORED, 0, IGNORED]


def toy(count: int, seed: int) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Layers, dialects and corpora: each shifts every frame in a direction of its own, independently of the other."""
    generator = torch.Generator().manual_seed(seed)
    dialects, corpora = torch.randint(0, 2, (2, count), generator=generator)
    cues = functional.one_hot(dialects, WIDTH) + functional.one_hot(2 + corpora, WIDTH)
    layers = [cues[:, None] + 0.5 * torch.randn(count, FRAMES, WIDTH, generator=generator) for _ in range(LAYERS)]
    return layers, dialects, corpora


def learnt(strength: float) -> Head:
    torch.manual_seed(0)
    head = Head(HeadSpec(("x", "y"), bottleneck=8), LAYERS, WIDTH).train()
    adversary = Adversary(("a", "b"), 2, 8)
    rate, steps, size = 3e-3, 1200, 256
    optimizer = torch.optim.AdamW(
        [{"params": [*head.parameters()], "lr": rate}, {"params": [*adversary.parameters()], "lr": PACE * rate}]
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [rate, PACE * rate], total_steps=steps)
    layers, dialects, corpora = toy(256, seed=1)
    with torch.no_grad():
        pooled = head.pooled(layers, torch.full((256,), FRAMES), torch.zeros(256, 0)).numpy()
    begin(head, pooled, dialects.numpy(), ["en"] * 256, ["v"] * 256, [1.0, 1.0])
    for step in range(steps):
        rows = torch.randint(0, 256, (size,))
        represented = head.represented(
            [layer[rows] for layer in layers], torch.full((size,), FRAMES), torch.zeros(size, 0)
        )
        loss = functional.cross_entropy(head.scores(represented, ["en"] * size, [None] * size), dialects[rows])
        told = adversary(represented, dialects[rows], strength * strength_at(step / steps))
        (loss + functional.cross_entropy(told, corpora[rows])).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return head.eval()


def accuracy(head: Head, asked: str) -> float:
    """How well a fresh classifier, fitted on other fragments, tells dialect or corpus by what the head represents."""
    known, held_out = toy(512, seed=2), toy(512, seed=3)
    with torch.inference_mode():
        x, y = (
            head.represented(part[0], torch.full((512,), FRAMES), torch.zeros(512, 0)).numpy()
            for part in (known, held_out)
        )
    column = ("dialect", "corpus").index(asked) + 1
    return float(LogisticRegression(max_iter=1000).fit(x, known[column].numpy()).score(y, held_out[column].numpy()))  # type: ignore[union-attr]


def test_the_room_is_unlearnt_and_the_dialect_is_kept() -> None:
    # Five seeds gave 0.53 to 0.58 for the corpus: two players that learn against each other must be given time and
    # strength, or the order of a sum decides who wins.
    without, against = learnt(0.0), learnt(3.0)
    assert accuracy(without, "corpus") > 0.75
    assert accuracy(against, "corpus") < 0.65
    assert accuracy(against, "dialect") >= accuracy(without, "dialect") - 0.05


def written(path: Path, corpora: Sequence[str | None], dialect: str = "en-GB") -> Path:
    given = {"dialect": dialect, "consent": Consent(id="made-up", purposes=("training",))}
    write_manifest([bare.replace(id=str(n), corpus=corpus, **given) for n, corpus in enumerate(corpora)], path)
    return path


def test_corpora_are_those_of_all_manifests(tmp_path: Path) -> None:
    one, two = written(tmp_path / "a.jsonl", ["b", None]), written(tmp_path / "b.jsonl", ["a", "b"])
    assert corpora_of([one, two], HeadOptions(dialect=1.0, adversary=0.5)) == ("a", "b")
    assert corpora_of(["missing.jsonl"], HeadOptions(dialect=1.0)) == ()


def test_what_an_adversary_cannot_do_without(tmp_path: Path) -> None:
    one = written(tmp_path / "a.jsonl", ["a", "a", None])
    with pytest.raises(ConfigError, match=r"name 1 kinds of 'corpus', and two are needed"):
        corpora_of([one], HeadOptions(dialect=1.0, adversary=0.5))
    other = written(tmp_path / "b.jsonl", ["b"], "en-IN")
    with pytest.raises(ConfigError, match=r"no dialect in data\.train occurs in two of its 2 corpora"):
        corpora_of([one, other], HeadOptions(dialect=1.0, adversary=0.5))
    with pytest.raises(ConfigError, match=r"heads\.adversary is 0\.5, .* heads\.dialect is 0"):
        corpora_of([one], HeadOptions(tune=1.0, adversary=0.5))
