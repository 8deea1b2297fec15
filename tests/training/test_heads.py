"""What heads learn: labels found in manifests, their weights, and that a frozen Whisper stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional
from whisper.model import Whisper

from asr.build import run_training
from asr.config import AdapterConfig, AugmentConfig, DataConfig, ModelConfig, TrainConfig
from asr.data.batch import Batch, BatchLoader, BatchOptions
from asr.data.examples import Example
from asr.data.labels import Labeller
from asr.data.stream import Draw
from asr.errors import ConfigError
from asr.fragment import Consent, Fragment, read_manifest, write_manifest
from asr.model.adapt import AdaptMode
from asr.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from asr.model.features import count_states
from asr.model.heads import HeadSpec
from asr.model.network import DialectWhisper
from asr.training.heads import HeadOptions, head_labels, label_weights
from asr.training.optim import OptimOptions
from asr.training.run import TrainerOptions
from asr.training.task import TranscriptionTask


def manifest(path: Path, *rows: tuple[str, str, str | None], copies: int = 1) -> Path:
    write_manifest(
        [
            Fragment(
                id=f"{number}-{copy}",
                audio="a.wav",
                text="x",
                language=language,
                dialect=dialect,
                intonation=kind,
                consent=Consent(id="made-up", purposes=("training",)),
            )
            for number, (language, dialect, kind) in enumerate(rows)
            for copy in range(copies)
        ],
        path,
    )
    return path


def test_labels_are_those_of_all_manifests_with_their_languages(tmp_path: Path) -> None:
    one = manifest(tmp_path / "a.jsonl", ("fr", "fr-CA", None), ("en", "en-GB", "question"), copies=3)
    two = manifest(tmp_path / "b.jsonl", ("fr", "fr-FR", "statement"), ("en", "en-GB", "statement"), copies=3)
    found = head_labels([one, two], HeadOptions(dialect=1.0, intonation=0.5, least=3))
    assert found["dialect"].spec.labels == ("en-GB", "fr-CA", "fr-FR")
    assert found["dialect"].spec.languages == ("en", "fr", "fr")
    assert found["intonation"].spec.labels == ("question", "statement")
    assert found["intonation"].spec.dialects == ("en-GB", "fr-FR")
    assert found["intonation"].spec.heard == ("en", "fr")
    rare = manifest(tmp_path / "c.jsonl", ("de", "de-AT", "question"), copies=2)
    assert head_labels([one, two, rare], HeadOptions(intonation=0.5, least=3))["intonation"].spec.heard == ("en", "fr")
    assert "tune" not in found


def test_weights_are_scikit_learns_balanced_ones_or_half_way_to_them(tmp_path: Path) -> None:
    one = manifest(tmp_path / "a.jsonl", *[("en", "en-GB", None)] * 6, *[("en", "en-IN", None)] * 2)
    tags = ["en-GB"] * 6 + ["en-IN"] * 2
    balanced = compute_class_weight("balanced", classes=np.array(["en-GB", "en-IN"]), y=tags)
    assert head_labels([one], HeadOptions(dialect=1.0, least=1))["dialect"].weights == pytest.approx(tuple(balanced))
    found = np.array(label_weights("tune", [6, 2]))
    # Half way, as ratios: the square root. And no fragment counts more on average than without.
    assert found[1] / found[0] == pytest.approx((balanced[1] / balanced[0]) ** 0.5)
    assert (found @ [6, 2]) / 8 == pytest.approx(1)


def test_a_head_with_nothing_to_tell_apart_is_refused(tmp_path: Path) -> None:
    one = manifest(tmp_path / "a.jsonl", *[("en", "en-GB", None)] * 6, ("en", "en-IN", None))
    with pytest.raises(ConfigError, match=r"heads\.dialect .* 1 kinds"):
        head_labels([one], HeadOptions(dialect=1.0))


def test_no_manifest_is_read_without_a_head() -> None:
    assert head_labels(["missing.jsonl"], HeadOptions()) == {}


def config(tiny_checkpoint: Path, voices: Path, run: Path, mode: AdaptMode, steps: int) -> TrainConfig:
    return TrainConfig(
        ModelConfig(str(tiny_checkpoint)),
        DataConfig((str(voices),), dev=(str(voices),), batch_seconds=6.0, workers=0),
        str(run),
        adapter=AdapterConfig(mode),
        augment=AugmentConfig(time_masks=0, frequency_masks=0, noise=0.0, speeds=(1.0,)),
        optim=OptimOptions(warmup_steps=2),
        trainer=TrainerOptions(max_steps=steps, validate_every=steps, monitor="dev/heads_loss", accelerator="cpu"),
        heads=HeadOptions(intonation=1.0, lr=2e-2),
    )


def test_a_head_learns_on_a_whisper_that_stays_as_it_is(tiny_checkpoint: Path, voices: Path, tmp_path: Path) -> None:
    best = run_training(config(tiny_checkpoint, voices, tmp_path / "run", "heads_only", 40))
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text("utf-8").splitlines()]
    (f1,) = [row["dev/f1/intonation"] for row in rows if "dev/f1/intonation" in row]
    assert f1 > 90
    assert not any("dev/wer" in row for row in rows), "no text is learnt, so none is decoded"
    before, after = (load_checkpoint(path).model.whisper.state_dict() for path in (tiny_checkpoint, best))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_another_head_stays_as_it_is(tiny_whisper: Whisper, voices: Path, tmp_path: Path) -> None:
    model = DialectWhisper(tiny_whisper, "tight")
    model.set_heads({"tune": HeadSpec(("fall", "rise"))})
    kept = {name: tensor.clone() for name, tensor in model.head("tune").state_dict().items()}
    save_checkpoint(model, CheckpointInfo("tiny"), tmp_path / "with.pt")
    best = run_training(config(tmp_path / "with.pt", voices, tmp_path / "run", "full", 2))
    learnt = load_checkpoint(best).model
    assert sorted(learnt.heads) == ["intonation", "tune"]
    assert all(torch.equal(kept[name], tensor) for name, tensor in learnt.head("tune").state_dict().items())


def load(voices: Path, whisper: Whisper, rows: slice) -> Batch:
    fragments = tuple(read_manifest(voices))[rows]
    return BatchLoader(Labeller(whisper), BatchOptions(speeds=(1.0,)))[
        Draw(tuple(Example((item,)) for item in fragments), None, 3)
    ]


def attach(task: TranscriptionTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it run as in one process, without a log."""
    monkeypatch.setattr(task, "log", lambda *_, **__: None)
    monkeypatch.setattr(task, "_trainer", SimpleNamespace(world_size=1))


def test_the_joint_loss_is_the_texts_plus_each_heads_by_weight(
    tiny_whisper: Whisper, voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = DialectWhisper(tiny_whisper, "tight").eval()
    model.set_heads({"intonation": HeadSpec(("question", "statement"))})
    model.eval()
    batch = load(voices, tiny_whisper, slice(0, 5))
    alone = TranscriptionTask(model, OptimOptions(), None, 10)
    weights = (1.5, 0.5)
    joint = TranscriptionTask(model, OptimOptions(), None, 10, HeadOptions(intonation=0.3), {"intonation": weights})
    for task in (alone, joint):
        attach(task, monkeypatch)
    window = batch.num_samples + batch.margin
    audio = functional.pad(batch.audio, (0, int(window.max()) - batch.audio.shape[1]))
    with torch.no_grad():
        encoded = model.encode(*model.features(audio, window))
        frames = count_states(batch.num_samples)
        scores = model.head("intonation")(encoded.normal, frames, ["en"] * 5, [None] * 5, batch.contours)
        logs = scores.log_softmax(-1)
        # The first has no label; then statement, question, statement, question.
        expected = -sum(weights[kind] * logs[row, kind] for row, kind in ((1, 1), (2, 0), (3, 1), (4, 0))) / 4
        difference = joint.training_step(batch, 0) - alone.training_step(batch, 0)
    assert float(difference) == pytest.approx(0.3 * float(expected), rel=1e-3)


def test_a_batch_without_a_label_teaches_the_heads_nothing(
    tiny_whisper: Whisper, voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = DialectWhisper(tiny_whisper, "tight")
    model.set_heads({"intonation": HeadSpec(("question", "statement"))})
    task = TranscriptionTask(model, OptimOptions(), None, 10, HeadOptions(intonation=1.0), {"intonation": (1.0, 1.0)})
    attach(task, monkeypatch)
    task.training_step(load(voices, tiny_whisper, slice(0, 1)), 0).backward()
    gradients = [parameter.grad for parameter in model.heads.parameters()]
    # They are there, as DDP asks for, and all zero.
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
