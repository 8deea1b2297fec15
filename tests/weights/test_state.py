"""Weights that make no model, and the model of those that do."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from whisper.model import Whisper

from asr.errors import WeightsError
from asr.weights.state import Weights, build_model, dims_of, weights_sha256


@pytest.fixture
def state(tiny: Whisper) -> dict[str, Tensor]:
    return dict(tiny.state_dict())


def test_sizes_are_seen_in_the_tensors(tiny: Whisper, state: dict[str, Tensor]) -> None:
    assert dims_of(state, tiny.dims.n_audio_head, tiny.dims.n_text_head, "here") == tiny.dims


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type_becomes_float32(dtype: torch.dtype, tiny: Whisper, state: dict[str, Tensor]) -> None:
    stored = {name: tensor.to(dtype) for name, tensor in state.items()}
    model = build_model(Weights(tiny.dims, stored), "here")
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, stored[name].float())


def test_no_random_numbers_are_drawn_for_weights_that_are_loaded(tiny: Whisper, state: dict[str, Tensor]) -> None:
    before = torch.get_rng_state()
    build_model(Weights(tiny.dims, state), "here")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.nn.Linear(2, 2).weight.any()  # elsewhere they are


def test_sizes_that_the_tensors_do_not_have(tiny: Whisper, state: dict[str, Tensor]) -> None:
    # Were the sizes believed, this would ask for terabytes.
    with pytest.raises(WeightsError, match=r"here contradicts itself.*n_vocab 1000000000000 but 300"):
        build_model(Weights(replace(tiny.dims, n_vocab=10**12), state), "here")


@pytest.mark.parametrize("heads", [0, 5])
def test_a_width_that_does_not_split_into_heads(heads: int, tiny: Whisper, state: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=f"width 32 cannot be split into {heads} heads"):
        build_model(Weights(replace(tiny.dims, n_text_head=heads), state), "here")


def test_a_missing_tensor_is_named(tiny: Whisper, state: dict[str, Tensor]) -> None:
    del state["decoder.ln.weight"]
    with pytest.raises(WeightsError, match=r"here is no complete Whisper model: .*Missing key.*decoder\.ln\.weight"):
        build_model(Weights(tiny.dims, state), "here")


def test_alignment_heads(tiny: Whisper, state: dict[str, Tensor]) -> None:
    model = build_model(Weights(tiny.dims, state, [[0, 3], [2, 1]]), "here")
    assert model.alignment_heads.is_sparse
    assert model.alignment_heads.indices().T.tolist() == [[0, 3], [2, 1]]


@pytest.mark.parametrize("heads", [[[3, 0]], [[0, 4]], [[-1, 0]], [[0]], [7], [["a", "b"]]])
def test_alignment_heads_that_are_not_there(heads: list[list[int]], tiny: Whisper, state: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="that its decoder of 3 layers with 4 heads does not have"):
        build_model(Weights(tiny.dims, state, heads), "here")


def test_the_hash_of_weights_is_that_of_their_names_shapes_and_half_precise_values() -> None:
    layer = torch.nn.Linear(3, 2)
    expected = hashlib.sha256()
    for name, shape in (("bias", "[2]"), ("weight", "[2, 3]")):
        values = layer.state_dict()[name].numpy().astype("float16").tobytes()
        expected.update(f"{name} {shape}\n".encode() + values)
    assert weights_sha256(layer) == expected.hexdigest() == weights_sha256(copy.deepcopy(layer).half())
    turned = torch.nn.Linear(3, 2)
    turned.load_state_dict({"weight": layer.weight.detach().T.contiguous().T, "bias": layer.bias})
    assert weights_sha256(turned) == expected.hexdigest()
    with torch.no_grad():
        turned.weight[0, 0] += 1
    assert weights_sha256(turned) != expected.hexdigest()
