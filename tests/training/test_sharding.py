"""Divided weights in one process: what is put together again is what was, and no part hides what is not finite."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from whisper.model import Whisper

from asr.model.network import DialectWhisper
from asr.training.sharding import Whole, is_finite, shard


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


class Task(nn.Module):
    def __init__(self, model: DialectWhisper) -> None:
        super().__init__()
        self.model = model

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        mel, frames = torch.ones(1, 80, 20), torch.tensor([20])
        hidden = self.model.decode(tokens, self.model.encode(mel, frames))
        return self.model.logits(hidden).square().mean()


def test_the_whole_of_what_was_divided(group: None, tiny_whisper: Whisper) -> None:
    plain = Task(DialectWhisper(copy.deepcopy(tiny_whisper), "tight"))
    divided = Task(DialectWhisper(copy.deepcopy(tiny_whisper), "tight"))
    whole = Whole(divided.model)
    shard(divided, init_device_mesh("cpu", (1,)), ("step",))
    assert all(isinstance(parameter, DTensor) for parameter in divided.parameters())
    tokens = torch.tensor([[1, 2, 3]])
    for task in (plain, divided):
        task.step(tokens).backward()
        torch.optim.SGD(task.parameters(), lr=0.1).step()
    gradients = [parameter.grad for parameter in plain.parameters() if parameter.grad is not None]
    expected = torch.cat([gradient.double().flatten() for gradient in gradients]).norm()
    learning = [parameter for parameter in divided.parameters() if parameter.grad is not None]
    parts = [parameter.grad for parameter in learning if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(parts)
    assert isinstance(norm, DTensor) and is_finite(norm)
    assert float(norm.full_tensor()) == pytest.approx(float(expected), rel=1e-4)
    # As the task shortens them.
    torch.nn.utils.clip_grads_with_norm_(learning, float(expected) / 2, norm)
    for part, gradient in zip(parts, gradients, strict=True):
        assert isinstance(part, DTensor)
        torch.testing.assert_close(part.full_tensor(), gradient / 2, rtol=1e-3, atol=1e-6)
    parts[0].to_local().view(-1)[0] = torch.inf  # type: ignore[attr-defined]
    assert not is_finite(torch.nn.utils.get_total_norm(parts))
    found = whole.gathered(divided.model).state_dict()
    for name, weight in plain.model.state_dict().items():
        torch.testing.assert_close(found[name], weight)
    assert not torch.equal(found["whisper.decoder.ln.weight"], tiny_whisper.decoder.ln.weight)
