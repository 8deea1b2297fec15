"""A mixture of low-rank updates, row by row, against models into whose weights the same updates were added."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from whisper.model import Whisper

from asr.model.mixture import LowRank, Mixture, project, stacked
from asr.model.network import DecoderCache, DialectWhisper, Encoded

# How much of which of three updates each of four fragments takes; the last one takes none.
SHARES = ({0: 1.0}, {1: 1.0}, {0: 0.25, 1: 0.5, 2: 0.125}, {})
FRAMES = (60, 41, 60, 23)


@pytest.fixture(params=[0, 60], ids=["no-tail", "tail"])
def model(tiny_whisper: Whisper, request: pytest.FixtureRequest) -> DialectWhisper:
    return DialectWhisper(tiny_whisper, "tight", tail=request.param).eval()


def update(model: DialectWhisper, seed: int, rank: int, prefix: str = "") -> dict[str, LowRank]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: LowRank(
            0.3 * torch.randn(layer.in_features, rank, generator=generator),
            0.3 * torch.randn(rank, layer.out_features, generator=generator),
        )
        for name, layer in model.whisper.named_modules()
        if isinstance(layer, nn.Linear) and name.startswith(prefix)
    }


@pytest.fixture
def updates(model: DialectWhisper) -> list[dict[str, LowRank]]:
    """Of different ranks; the last one is for the decoder alone."""
    return [update(model, 1, 2), update(model, 2, 3), update(model, 3, 5, "decoder.")]


@pytest.fixture
def mixture(model: DialectWhisper, updates: list[dict[str, LowRank]]) -> Mixture:
    layers = stacked([{model.whisper.get_submodule(name): one for name, one in update.items()} for update in updates])
    return Mixture(layers, torch.tensor([[shares.get(owner, 0.0) for owner in range(3)] for shares in SHARES]))


def merged(model: DialectWhisper, updates: list[dict[str, LowRank]], shares: Mapping[int, float]) -> DialectWhisper:
    """The outside truth: a model of its own."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for owner, share in shares.items():
            for name, one in updates[owner].items():
                model.whisper.get_submodule(name).weight.add_(share * (one.down @ one.up).T)
    return model


def sounds() -> tuple[Tensor, Tensor]:
    mel = torch.randn(4, 80, 60, generator=torch.Generator().manual_seed(0))
    for row, frames in enumerate(FRAMES):
        mel[row, :, frames:] = 0
    return mel, torch.tensor(FRAMES)


@torch.inference_mode()
def test_every_fragment_is_heard_as_by_a_model_of_its_own(
    model: DialectWhisper, updates: list[dict[str, LowRank]], mixture: Mixture
) -> None:
    mel, frames = sounds()
    before = copy.deepcopy(model.whisper.state_dict())
    tokens = torch.randint(50000, (4, 7), generator=torch.Generator().manual_seed(4))
    encoded = model.encode(mel, frames, mixture)
    hidden = model.decode(tokens, encoded)
    plain = model.decode(tokens, model.encode(mel, frames))
    for row, shares in enumerate(SHARES):
        own = merged(model, updates, shares)
        theirs = own.encode(mel[row : row + 1, :, : FRAMES[row]], frames[row : row + 1])
        states = encoded.states[row : row + 1, : theirs.states.shape[1]]
        torch.testing.assert_close(states, theirs.states, rtol=0, atol=2e-5)
        torch.testing.assert_close(hidden[row], own.decode(tokens[row : row + 1], theirs)[0], rtol=0, atol=5e-5)
        assert bool(shares) == ((hidden[row] - plain[row]).abs().max() > 0.05)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.whisper.state_dict().items())


@torch.inference_mode()
def test_with_a_cache_and_beams_it_is_the_same(model: DialectWhisper, mixture: Mixture) -> None:
    mel, frames = sounds()
    encoded = model.encode(mel, frames, mixture)
    tokens = torch.randint(50000, (4, 6), generator=torch.Generator().manual_seed(4))
    whole = model.decode(tokens, encoded).repeat_interleave(2, 0)
    beams, cache = encoded.repeat(2), DecoderCache()
    twice = tokens.repeat_interleave(2, 0)
    parts = [model.decode(part, beams, cache) for part in (twice[:, :3], twice[:, 3:4], twice[:, 4:])]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=2e-5)


@torch.inference_mode()
def test_some_rows_keep_what_is_theirs(model: DialectWhisper, mixture: Mixture) -> None:
    mel, frames = sounds()
    encoded = model.encode(mel, frames, mixture)
    tokens = torch.randint(50000, (4, 5), generator=torch.Generator().manual_seed(4))
    rows = [2, 0]
    some = model.decode(tokens[rows], encoded.select(rows))
    torch.testing.assert_close(some, model.decode(tokens, encoded)[rows], rtol=0, atol=2e-5)


@torch.inference_mode()
def test_what_only_the_decoder_takes_leaves_what_is_heard(model: DialectWhisper, mixture: Mixture) -> None:
    mel, frames = sounds()
    third = Mixture(mixture.layers, torch.tensor([[0.0, 0.0, 1.0]] * 4))
    heard, plain = model.encode(mel, frames, third), model.encode(mel, frames)
    assert torch.equal(heard.states, plain.states)
    tokens = torch.zeros(4, 3, dtype=torch.long)
    assert (model.decode(tokens, heard) - model.decode(tokens, plain)).abs().max() > 0.05


def test_layers_without_an_update_are_left_alone() -> None:
    layer, other = nn.Linear(3, 2), nn.Linear(3, 2)
    mixture = Mixture(stacked([{layer: LowRank(torch.ones(3, 1), torch.ones(1, 2))}]), torch.tensor([[0.5]]))
    x = torch.randn(1, 4, 3)
    assert torch.equal(project(other, x, mixture), other(x)) and torch.equal(project(layer, x, None), layer(x))
    torch.testing.assert_close(project(layer, x, mixture), layer(x) + 0.5 * x.sum(-1, keepdim=True))


def test_heads_are_not_asked_of_what_adapters_changed(model: DialectWhisper, mixture: Mixture) -> None:
    from asr.model.heads import HeadSpec

    model.set_heads({"dialect": HeadSpec(("en-GB", "en-IN"))})
    mel, frames = sounds()
    encoded: Encoded = model.encode(mel, frames, mixture)
    assert encoded.layers == () and len(model.encode(mel, frames).layers) == 3
