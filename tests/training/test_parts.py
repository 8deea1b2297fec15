"""A device whose memory does not suffice, made up: the step is the same in parts, on the way there and back."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from whisper.model import Whisper

from asr.data.batch import Batch, BatchLoader, BatchOptions
from asr.data.examples import Example
from asr.data.labels import Labeller
from asr.data.stream import Draw
from asr.errors import TrainingError
from asr.fragment import read_manifest
from asr.model.network import DialectWhisper, Encoded
from asr.training.heads import HeadOptions, head_labels
from asr.training.optim import OptimOptions
from asr.training.parts import Parts, with_way_back
from asr.training.task import TranscriptionTask


class _Heavy(torch.autograd.Function):
    """Passes through, and on the way back needs memory for as many rows as there are."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, rows: int) -> Tensor:
        ctx.rows = rows
        return states.view_as(states)

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, None]:
        if len(given) > ctx.rows:
            raise torch.OutOfMemoryError("no memory on the way back")
        return given, None


def small_device(monkeypatch: pytest.MonkeyPatch, there: int = 99, back: int = 99) -> list[int]:
    """Let the encoder take so many rows at most; return the rows that it was given."""
    encode, given = DialectWhisper.encode, []

    def limited(self: DialectWhisper, mel: Tensor, num_frames: Tensor) -> Encoded:
        given.append(len(mel))
        if self.training and len(mel) > there:
            raise torch.OutOfMemoryError("no memory on the way there")
        encoded = encode(self, mel, num_frames)
        return replace(encoded, states=_Heavy.apply(encoded.states, back)) if self.training else encoded

    monkeypatch.setattr(DialectWhisper, "encode", limited)
    return given


@pytest.fixture
def batch(tiny_whisper: Whisper, corpus: Path) -> Batch:
    fragments = tuple(read_manifest(corpus))[:5]
    loader = BatchLoader(Labeller(tiny_whisper), BatchOptions(contours=True))
    return loader[Draw(tuple(Example((one,)) for one in fragments), None, seed=7)]


def learn(whisper: Whisper, corpus: Path, batch: Batch, precision: str = "32-true") -> tuple[dict[str, Tensor], Any]:
    """Gradients of text and a head, and what was logged."""
    model = DialectWhisper(copy.deepcopy(whisper), "tight")
    torch.manual_seed(0)
    learnt = head_labels([corpus], HeadOptions(dialect=0.5))
    model.set_heads({name: labels.spec for name, labels in learnt.items()})
    weights = {name: labels.weights for name, labels in learnt.items()}
    task = TranscriptionTask(model, OptimOptions(), None, 10, HeadOptions(dialect=0.5), weights)
    task.train()
    plugin = SimpleNamespace(scaler=SimpleNamespace(get_scale=lambda: 1024.0))
    task._trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=1, accumulate_grad_batches=1, precision_plugin=plugin
    )
    logged: dict[str, float] = {}
    task.log = lambda name, value, **_: logged.update({name: float(value)})  # type: ignore[method-assign, assignment]
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "32-true"):
        loss = task.training_step(batch, 0)
    (3.0 * loss).backward()
    return {name: one.grad for name, one in task.named_parameters() if one.grad is not None}, (logged, task.parts)


@pytest.mark.parametrize(("there", "back", "parts"), [(2, 99, 4), (99, 2, 4), (3, 1, 5), (4, 4, 2)])
def test_the_gradient_is_the_same_in_parts(
    tiny_whisper: Whisper,
    corpus: Path,
    batch: Batch,
    monkeypatch: pytest.MonkeyPatch,
    there: int,
    back: int,
    parts: int,
) -> None:
    expected, (losses, _) = learn(tiny_whisper, corpus, batch)
    small_device(monkeypatch, there, back)
    found, (told, divided) = learn(tiny_whisper, corpus, batch)
    assert divided.of(batch) == parts
    assert told == pytest.approx(losses, rel=1e-5)
    assert found.keys() == expected.keys() and len(found) > 40
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_parts_are_computed_in_the_same_precision(
    tiny_whisper: Whisper, corpus: Path, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, _ = learn(tiny_whisper, corpus, batch)
    expected, _ = learn(tiny_whisper, corpus, batch, "bf16")
    small_device(monkeypatch, back=2)
    found, _ = learn(tiny_whisper, corpus, batch, "bf16")
    name = "model.whisper.encoder.blocks.0.mlp.0.weight"
    rounding = float((expected[name] - exact[name]).norm())
    assert 0 < float((found[name] - expected[name]).norm()) < 2 * rounding
    assert float((found[name] - exact[name]).norm()) > 0.2 * rounding


def test_a_run_backs_off_and_goes_on_so(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def losses(folder: Path) -> list[float]:
        rows = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
        return [row["train/loss"] for row in rows if "train/loss" in row]

    run(tmp_path / "whole", max_steps=3, accumulate=2)
    given = small_device(monkeypatch, there=1)
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "parts", max_steps=3, accumulate=2)
    assert max(given) > 1
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)
    said = [line for line in caplog.messages if "memory does not suffice" in line]
    assert said and len(said) == len(set(said)), "each division is told once"
    state = torch.load(tmp_path / "parts/checkpoints/last.state", weights_only=True)
    (parts,) = state["parts"]
    assert parts and max(parts.values()) > 1


def test_dropout_in_parts_resumes_bit_for_bit(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_device(monkeypatch, there=1)
    options = {"mode": "lora", "save_every": 1}
    run(tmp_path / "whole", max_steps=4, **options)
    run(tmp_path / "parts", max_steps=2, **options)
    given = small_device(monkeypatch)  # a larger device: the run stays the same
    run(tmp_path / "parts", max_steps=4, resume=True, **options)
    assert max(given) == 1
    ends = [torch.load(tmp_path / name / "checkpoints/last.state", weights_only=True) for name in ("whole", "parts")]
    assert ends[0]["global_step"] == ends[1]["global_step"] == 4
    for name, tensor in ends[0]["state_dict"].items():
        assert torch.equal(tensor, ends[1]["state_dict"][name]), name


def test_no_memory_for_one_fragment_is_a_sentence(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_device(monkeypatch, there=0)
    with pytest.raises(TrainingError, match="too little memory for a fragment of 1 s alone; take"):
        run(tmp_path / "run")


def test_batches_of_other_lengths_are_divided_by_themselves(batch: Batch) -> None:
    parts = Parts()
    longer = replace(batch, audio=torch.zeros(5, 16000 * 9))
    parts.divide(longer)
    parts.divide(longer)
    assert (parts.of(longer), parts.of(batch)) == (4, 1)
    assert parts.rows(batch) == [slice(0, 5)]
    assert [one.audio.shape[0] for one in map(longer.select, parts.rows(longer))] == [2, 2, 1]
    assert parts.of(longer.select(slice(0, 1))) == 1
    again = Parts()
    again.load_state_dict(parts.state_dict())
    assert again.of(longer) == 4


def test_a_way_back_gives_what_it_is_given() -> None:
    layer = torch.nn.Linear(2, 1)
    seen = []

    def gradients(given: Tensor) -> list[Tensor | None]:
        seen.append(float(given))
        return [given * torch.ones(1, 2), None]

    value = with_way_back(torch.tensor(5.0), list(layer.parameters()), gradients)
    assert value.item() == 5 and not seen
    (value / 4).backward()
    assert seen == [0.25] and layer.bias.grad is None
    assert layer.weight.grad is not None and layer.weight.grad.tolist() == [[0.25, 0.25]]
