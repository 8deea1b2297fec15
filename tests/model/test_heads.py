"""Heads: against a frame-by-frame twin, and free of what else is in the batch."""

from __future__ import annotations

import math

import pytest
import torch
from whisper.model import Whisper

from asr.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from asr.model.features import count_states
from asr.model.heads import Head, HeadSpec
from asr.model.network import DialectWhisper, Encoded

LAYERS, WIDTH = 3, 8
DIALECTS = HeadSpec(("en-GB", "fr-CA", "fr-FR"), languages=("en", "fr", "fr"))


def states(frames: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, frames, WIDTH, generator=generator) for _ in range(LAYERS)]


def unheard(batch: int) -> torch.Tensor:
    """No pitch, as of heads that do not ask for it."""
    return torch.full((batch, 20), math.nan)


def stirred(head: Head) -> Head:
    """Every weight random, so that each takes part."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    return head.eval()


def test_pooling_is_what_a_loop_over_frames_gives() -> None:
    head = stirred(Head(HeadSpec(("a", "b"), contour=4), LAYERS, WIDTH))
    layers = states(10)
    weights = [math.exp(w) for w in head.mix.tolist()]
    frames = []
    for frame in range(7):
        mixed = torch.zeros(WIDTH)
        for weight, layer in zip(weights, layers, strict=True):
            state = layer[0, frame]
            spread = ((state - state.mean()).square().mean() + 1e-5).sqrt()
            mixed += weight / sum(weights) * (state - state.mean()) / spread
        frames.append(mixed)
    attention = [math.exp(float(head.attention(frame).detach())) for frame in frames]
    share = [weight / sum(attention) for weight in attention]
    mean = sum(s * frame for s, frame in zip(share, frames, strict=True))
    spread = sum(s * (frame - mean).square() for s, frame in zip(share, frames, strict=True))
    # Of 7 frames the last 30 % are 3, rounded up.
    expected = [mean, spread.clamp_min(1e-6).sqrt(), sum(frames[4:]) / 3]
    heard = Encoded(layers[-1], torch.tensor([7]), None, layers=tuple(layers))
    found = head.pooled(heard.normal, torch.tensor([7]), unheard(1))[0]
    assert torch.allclose(found[: 3 * WIDTH], torch.cat(expected), atol=1e-4)


def test_a_contour_is_heard_by_a_head_that_asks_for_one() -> None:
    layers, frames, contour = states(5), torch.tensor([5]), torch.arange(4.0)[None]
    deaf, hears = (Head(HeadSpec(("a", "b"), contour=places), LAYERS, WIDTH) for places in (0, 4))
    assert torch.equal(deaf.pooled(layers, frames, contour), hears.pooled(layers, frames, contour)[:, : 2 * WIDTH])
    assert hears.pooled(layers, frames, contour)[0, 3 * WIDTH :].tolist() == [0, 1, 2, 3]
    assert hears.pooled(layers, frames, contour * math.nan)[0, 3 * WIDTH :].tolist() == [0] * 4


def test_what_is_pooled_is_put_on_one_scale() -> None:
    head = stirred(Head(HeadSpec(("a", "b")), LAYERS, WIDTH))
    plain = head.represented(states(5), torch.tensor([5]), unheard(1))
    head.center.fill_(0.5)
    head.scale.fill_(2.0)
    assert torch.allclose(head.represented(states(5), torch.tensor([5]), unheard(1)), 2 * (plain - 0.5), atol=1e-5)


def test_padding_and_neighbours_change_nothing() -> None:
    head = stirred(Head(HeadSpec(("a", "b")), LAYERS, WIDTH))
    short, long = states(6), states(20, seed=1)
    batch = [
        torch.cat([torch.nn.functional.pad(a, (0, 0, 0, 14), value=9.0), b]) for a, b in zip(short, long, strict=True)
    ]
    together = head(batch, torch.tensor([6, 20]), ["en", "en"], [None, None], unheard(2))
    assert torch.allclose(together[0], head(short, torch.tensor([6]), ["en"], [None], unheard(1))[0], atol=1e-5)
    assert torch.allclose(together[1], head(long, torch.tensor([20]), ["en"], [None], unheard(1))[0], atol=1e-5)


def test_a_dialect_is_one_of_the_fragments_language() -> None:
    head = stirred(Head(DIALECTS, LAYERS, WIDTH))
    layers = [torch.cat([layer] * 3) for layer in states(5)]
    scores = head(layers, torch.tensor([5, 5, 5]), ["fr", "en", "de"], [None] * 3, unheard(3))
    chances = head.probabilities(scores).detach()
    assert chances[0, 0] == 0 and float(chances[0, 1:].sum()) == pytest.approx(1)
    assert chances[1].tolist() == [1, 0, 0]
    assert chances[2].tolist() == [0, 0, 0], "of a language without dialects nothing is known"


def test_temperature_softens_and_keeps_the_order() -> None:
    scores = torch.tensor([[2.0, 1.0, -1.0]])
    sharp = Head(HeadSpec(("a", "b", "c")), LAYERS, WIDTH).probabilities(scores)
    soft = Head(HeadSpec(("a", "b", "c"), temperature=4.0), LAYERS, WIDTH).probabilities(scores)
    assert torch.allclose(soft, (scores / 4).softmax(-1))
    assert soft.argmax() == sharp.argmax() and soft.max() < sharp.max()


def test_each_dialect_has_its_own_bias_and_an_unknown_one_has_none() -> None:
    head = Head(HeadSpec(("question", "statement"), dialects=("en-GB", "sv-SE")), LAYERS, WIDTH).eval()
    with torch.no_grad():
        head.by_dialect.weight[2] = torch.tensor([-3.0, 3.0])
    layers = [torch.cat([layer] * 3) for layer in states(5)]
    scores = head(layers, torch.tensor([5, 5, 5]), ["sv"] * 3, [None, "sv-SE", "fr-CA"], unheard(3))
    assert torch.equal(scores[0], scores[2])
    assert torch.allclose(scores[1] - scores[0], torch.tensor([-3.0, 3.0]))


def test_labels_that_a_head_does_not_know_are_ignored() -> None:
    head = Head(DIALECTS, LAYERS, WIDTH)
    languages = ["fr", "fr", "de", "en", "en"]
    # A French dialect under English could only be missed, and would make the loss enormous.
    assert head.targets(["fr-FR", None, "de-AT", "en-GB", "fr-CA"], languages, -100).tolist() == [
        2,
        -100,
        -100,
        0,
        -100,
    ]
    free = Head(HeadSpec(("question", "statement")), LAYERS, WIDTH)
    assert free.targets(["statement", None, "question"], ["en", "fr", "de"], -100).tolist() == [1, -100, 0]


def test_a_language_for_every_label_or_none() -> None:
    with pytest.raises(ValueError, match="2 labels, but 1 languages"):
        HeadSpec(("a", "b"), languages=("en",))


def test_heads_travel_with_the_checkpoint_and_stock_whisper_does_not_mind(tiny_whisper: Whisper, tmp_path) -> None:
    import whisper

    model = DialectWhisper(tiny_whisper, "tight")
    model.set_heads({"dialect": DIALECTS})
    stirred(model.head("dialect"))
    save_checkpoint(model, CheckpointInfo(base_model="tiny-random"), tmp_path / "a.pt")
    loaded = load_checkpoint(tmp_path / "a.pt").model
    assert loaded.head("dialect").spec == DIALECTS
    audio, lengths = torch.randn(2, 16000) * 0.1, torch.tensor([16000, 9000])
    answers = []
    for network in (model.eval(), loaded):
        with torch.inference_mode():
            encoded = network.encode(*network.features(audio, network.window_samples(lengths)))
            head = network.head("dialect")
            answers.append(head(encoded.normal, count_states(lengths), ["fr", "en"], [None] * 2, unheard(2)))
    assert torch.allclose(*answers, atol=1e-4)
    whisper.load_model(str(tmp_path / "a.pt"), device="cpu")


def test_no_layer_is_kept_without_a_head(tiny_whisper: Whisper) -> None:
    model = DialectWhisper(tiny_whisper, "tight")
    encoded = model.encode(*model.features(torch.zeros(1, 8000), torch.tensor([8000])))
    assert encoded.layers == ()
