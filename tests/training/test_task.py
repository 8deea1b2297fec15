"""The loss against one written by hand, word error rates against jiwer, and what learns."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jiwer
import pytest
import torch
from torch import Tensor
from whisper.model import Whisper

import asr.training.task
from asr import Transcriber, read_manifest
from asr.data.augment import Augment, AugmentOptions
from asr.data.batch import Batch, BatchLoader, BatchOptions
from asr.data.examples import Example
from asr.data.labels import IGNORED, Labeller
from asr.data.stream import Draw
from asr.inference.decoding import DecodeOptions
from asr.model.adapt import LoraOptions, adapt, trainable_parameters
from asr.model.checkpoint import Checkpoint, CheckpointInfo
from asr.model.network import DialectWhisper
from asr.text import get_normalizer
from asr.training.counts import Counts
from asr.training.optim import OptimOptions
from asr.training.task import TranscriptionTask


@pytest.fixture
def model(tiny_whisper: Whisper) -> DialectWhisper:
    return DialectWhisper(tiny_whisper, "tight", margin=0.2)


def make(
    model: DialectWhisper, monkeypatch: pytest.MonkeyPatch, augment: Augment | None = None, **options: Any
) -> tuple[TranscriptionTask, dict[str, float]]:
    """A task as in a run of one process, and what it logs."""
    task = TranscriptionTask(model, OptimOptions(**{"label_smoothing": 0.0} | options), augment, max_steps=10)
    logged: dict[str, float] = {}
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.update({name: float(value)}))
    monkeypatch.setattr(task, "_trainer", SimpleNamespace(world_size=1, precision="32-true"))
    return task, logged


def load(corpus: Path, whisper: Whisper, rows: slice = slice(None), **options: Any) -> Batch:
    fragments = tuple(read_manifest(corpus))[rows]
    given = {"speeds": (1.0,), "timestamps": 0.3} | options
    return BatchLoader(Labeller(whisper), BatchOptions(**given))[
        Draw(tuple(Example((item,)) for item in fragments), None, 3)
    ]


@torch.no_grad()
def by_hand(model: DialectWhisper, batch: Batch, smoothing: float) -> float:
    """The loss, one fragment at a time, by the stock decoder, over the whole vocabulary at every position."""
    losses = []
    for row, length in enumerate(batch.num_samples.tolist()):
        window = torch.tensor([length + int(batch.margin[row])])
        encoded = model.encode(*model.features(batch.audio[row : row + 1, :length], window))
        assert encoded.tail is not None and encoded.bias is not None
        follows = encoded.bias[0, 0, 0, encoded.states.shape[1] :] == 0
        states = torch.cat((encoded.states, encoded.tail[:, follows]), 1)
        scores = model.whisper.decoder(batch.tokens[row : row + 1], states)[0]
        logs = scores.double() - scores.double().logsumexp(dim=-1, keepdim=True)
        for position, target in enumerate(batch.targets[row].tolist()):
            if target != IGNORED:
                losses.append(-(1 - smoothing) * logs[position, target] - smoothing * logs[position].mean())
    return float(torch.stack(losses).mean())


def test_the_loss_asks_for_nothing_of_the_dialect_that_is_told(
    model: DialectWhisper, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, told = (load(corpus, model.whisper, slice(0, 4), tags=share) for share in (0.0, 1.0))
    assert told.tokens.shape[1] > plain.tokens.shape[1]
    assert (told.targets != IGNORED).sum() == (plain.targets != IGNORED).sum()
    task, _ = make(model, monkeypatch)
    losses = [float(task.training_step(batch, 0).detach()) for batch in (plain, told)]
    assert losses[1] == pytest.approx(by_hand(model, told, 0.0), rel=1e-5)
    assert losses[1] != pytest.approx(losses[0], rel=1e-3)  # it is heard, though


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_cross_entropy_of_what_is_asked(
    model: DialectWhisper, corpus: Path, monkeypatch: pytest.MonkeyPatch, smoothing: float
) -> None:
    batch = load(corpus, model.whisper, slice(0, 4))
    task, logged = make(model, monkeypatch, label_smoothing=smoothing)
    loss = task.training_step(batch, 0)
    with torch.no_grad():
        assert float(loss.detach()) == pytest.approx(by_hand(model, batch, smoothing), rel=1e-5)
    assert logged["train/loss"] == float(loss.detach())
    loss.backward()
    assert all(parameter.grad is not None for parameter in trainable_parameters(model))


def test_ignored_positions_do_not_count(model: DialectWhisper, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = load(corpus, model.whisper, slice(0, 3))
    task, _ = make(model, monkeypatch)
    whole = float(task.training_step(batch, 0).detach())
    # What pads the shorter labels is as good as not there.
    wider = copy.copy(batch)
    wider.tokens = torch.nn.functional.pad(batch.tokens, (0, 5), value=123)
    wider.targets = torch.nn.functional.pad(batch.targets, (0, 5), value=IGNORED)
    assert float(task.training_step(wider, 0).detach()) == pytest.approx(whole, rel=1e-6)
    # Losses of single positions add up to the whole.
    asked = (batch.targets != IGNORED).nonzero().tolist()
    total = 0.0
    for row, position in asked:
        one = copy.copy(batch)
        one.targets = torch.full_like(batch.targets, IGNORED)
        one.targets[row, position] = batch.targets[row, position]
        total += float(task.training_step(one, 0).detach())
    assert total / len(asked) == pytest.approx(whole, rel=1e-5)


def test_chance_comes_from_the_batch_alone(
    model: DialectWhisper, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapt(model, "lora", LoraOptions(rank=2, dropout=0.5))
    model.train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # which begin at zero, where dropout changes nothing
                parameter.normal_()
    task, _ = make(model, monkeypatch, augment=Augment(AugmentOptions(noise=1.0)))
    batch = load(corpus, model.whisper, slice(0, 3), speeds=(1.1,))
    torch.manual_seed(1)
    first = task.training_step(batch, 0).item()
    torch.manual_seed(2)
    assert task.training_step(batch, 1).item() == first
    batch.seed += 1
    assert task.training_step(batch, 0).item() != first


def test_augmentation_is_for_training(model: DialectWhisper, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = load(corpus, model.whisper, slice(0, 2))
    plain, _ = make(model, monkeypatch)
    noisy, logged = make(model, monkeypatch, augment=Augment(AugmentOptions(noise=1.0)))
    assert plain.training_step(batch, 0).item() != noisy.training_step(batch, 0).item()
    losses = []
    for task in (plain, noisy):
        task.on_validation_epoch_start()
        with torch.no_grad():
            task.validation_step(batch, 0)
        task.on_validation_epoch_end()
        losses.append(logged.get("dev/loss"))
    batch.margin = torch.full_like(batch.margin, 3200)  # the model's own margin
    assert losses[1] == pytest.approx(by_hand(model, batch, 0.0), rel=1e-5)


def test_the_learning_rate_follows_the_schedule(model: DialectWhisper, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = make(model, monkeypatch, warmup_steps=4, lr=2e-4)
    configured = task.configure_optimizers()
    assert configured["lr_scheduler"]["interval"] == "step"
    for step in range(12):
        assert configured["optimizer"].param_groups[0]["lr"] == 2e-4 * task.optim.lr_share(step, task.max_steps)
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()


@pytest.mark.parametrize("mode", ["full", "decoder_only", "lora"])
def test_what_learns_and_what_of_it_decays(model: DialectWhisper, monkeypatch: pytest.MonkeyPatch, mode: Any) -> None:
    adapt(model, mode)
    task, _ = make(model, monkeypatch, weight_decay=0.3)
    groups = task.configure_optimizers()["optimizer"].param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying, free = ([names[id(parameter)] for parameter in group["params"]] for group in groups)
    assert sorted(decaying + free) == sorted(name for name, p in model.named_parameters() if p.requires_grad)
    assert all(name.endswith("bias") or "ln" in name for name in free)
    assert not [name for name in decaying if name.endswith("bias") or "ln" in name.split(".")[-2]]
    assert bool(free) == (mode != "lora")


@pytest.mark.parametrize("clip_norm", [0.0, 1.0, 100.0])
def test_a_gradient_is_as_long_as_it_may_be(
    model: DialectWhisper, monkeypatch: pytest.MonkeyPatch, clip_norm: float
) -> None:
    task, _ = make(model, monkeypatch, clip_norm=clip_norm)
    first, second = task.model.whisper.decoder.ln.weight, task.model.whisper.decoder.ln.bias
    first.grad, second.grad = torch.full_like(first, 3.0), torch.full_like(second, -4.0)
    length = 5 * math.sqrt(len(first))
    task.configure_gradient_clipping(task.configure_optimizers()["optimizer"])
    share = min(1.0, clip_norm / length) if clip_norm else 1.0
    assert first.grad.unique().tolist() == pytest.approx([3 * share], rel=1e-5)
    assert second.grad.unique().tolist() == pytest.approx([-4 * share], rel=1e-5)


def says(monkeypatch: pytest.MonkeyPatch, outputs: dict[str, str], batch: Batch) -> None:
    """Let decoding give these texts, by fragment id."""
    remaining: dict[str, Iterator[str]] = {
        language: iter([outputs[item.id] for item in batch.fragments if item.language == language])
        for language in {item.language for item in batch.fragments}
    }

    def decode(model: object, encoded: Any, language: str, options: object) -> list[SimpleNamespace]:
        return [SimpleNamespace(text=next(remaining[language])) for _ in range(len(encoded.states))]

    monkeypatch.setattr(asr.training.task, "decode", decode)


OUTPUTS = {f"f{number}": f"Sentence, numbers {number}!" if number % 4 else "" for number in range(12)}


def measure(task: TranscriptionTask, batch: Batch) -> None:
    task.on_validation_epoch_start()
    with torch.no_grad():
        task.validation_step(batch, 0)
    task.on_validation_epoch_end()


def rate(batch: Batch, dialect: str | None = None) -> float:
    """jiwer's, in percent, over normalised text."""
    pairs = [
        (get_normalizer(item.language, item.dialect)(item.text), get_normalizer(item.language)(OUTPUTS[item.id]))
        for item in batch.fragments
        if dialect in (None, item.dialect)
    ]
    return 100 * jiwer.wer([a for a, _ in pairs], [b for _, b in pairs])


def test_word_error_rates_are_those_of_jiwer(
    model: DialectWhisper, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = load(corpus, model.whisper)
    task, logged = make(model, monkeypatch)
    says(monkeypatch, OUTPUTS, batch)
    measure(task, batch)
    assert logged["dev/wer"] == pytest.approx(rate(batch))
    dialects = {name: rate(batch, name) for name in ("en-GB", "fr-CA")}
    assert {name: logged[f"dev/wer/{name}"] for name in dialects} == pytest.approx(dialects)
    assert dialects["en-GB"] != dialects["fr-CA"]
    # Nobody has 100 words; then all count.
    assert logged["dev/wer_worst"] == pytest.approx(max(dialects.values()))


def test_silence_alone_has_a_loss_and_no_rate(
    model: DialectWhisper, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tuple(fragment.replace(text="") for fragment in read_manifest(corpus))[:2]
    batch = BatchLoader(Labeller(model.whisper), BatchOptions())[
        Draw(tuple(Example((item,)) for item in silent), None, 0)
    ]
    task, logged = make(model, monkeypatch)
    measure(task, batch)
    assert logged.keys() == {"dev/loss"}


def test_processes_add_up(model: DialectWhisper, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, logged = make(model, monkeypatch)
    batches = [load(corpus, model.whisper, slice(0, 5)), load(corpus, model.whisper, slice(5, 12))]
    whole.on_validation_epoch_start()
    parts = [Counts()]  # a process that had nothing to hear
    for batch in batches:
        part, _ = make(model, monkeypatch)
        part.on_validation_epoch_start()
        for task in (whole, part):
            says(monkeypatch, OUTPUTS, batch)
            with torch.no_grad():
                task.validation_step(batch, 0)
        parts.append(part._counts)
    whole.on_validation_epoch_end()
    several, gathered = make(model, monkeypatch)
    monkeypatch.setattr(Counts, "gathered", lambda part, world_size: parts)
    several.on_validation_epoch_end()
    assert gathered == pytest.approx(logged)
    # The loss is a mean over tokens, not over batches.
    losses = [by_hand(model, with_margin(batch), 0.0) for batch in batches]
    tokens = [int((batch.targets != IGNORED).sum()) for batch in batches]
    mean = sum(loss * count for loss, count in zip(losses, tokens, strict=True)) / sum(tokens)
    assert logged["dev/loss"] == pytest.approx(mean, rel=1e-5)


def with_margin(batch: Batch) -> Batch:
    batch.margin = torch.full_like(batch.margin, 3200)
    return batch


def test_what_is_scored_is_what_a_transcriber_hears(
    model: DialectWhisper, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = load(corpus, model.whisper, slice(0, 2))
    heard: list[str] = []
    real = asr.training.task.decode

    def listening(*arguments: Any) -> Any:
        results = real(*arguments)
        heard.extend(result.text for result in results)
        assert arguments[-1].max_tokens == 16 + round(16 * 0.35)
        return results

    monkeypatch.setattr(asr.training.task, "decode", listening)
    task, _ = make(model, monkeypatch)
    measure(task, batch)
    options = DecodeOptions(max_tokens=16 + round(16 * 0.35))
    transcriber = Transcriber(Checkpoint(model, CheckpointInfo("tiny")), device="cpu", options=options)
    expected = [transcriber.transcribe(fragment).text for fragment in batch.fragments]
    assert heard == expected  # en before fr, as they stand


def test_the_state_of_a_task_is_that_of_its_model(model: DialectWhisper) -> None:
    task = TranscriptionTask(model, OptimOptions(), None, 10)
    names: dict[str, Tensor] = task.state_dict()
    assert {name.removeprefix("model.") for name in names} == set(model.state_dict())
