"""Whole runs on the CPU with a tiny model: what is left on disk, and that going on equals never having stopped."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
import whisper

from asr.data.batch import Batch, BatchLoader
from asr.data.stream import Draw
from asr.errors import AudioError, CheckpointError, ConfigError, ManifestError
from asr.fragment import read_manifest, write_manifest
from asr.model.checkpoint import load_checkpoint
from asr.training.checkpoints import STATE_VERSION, TrainingStopped
from asr.training.heads import HeadOptions
from asr.training.run import DataOptions, TrainerOptions, with_precision, workers_for
from asr.training.task import TranscriptionTask
from asr.weights.openai import HEADS_ENTRY, OWN_ENTRY

Run = Callable[..., Path]


def state(folder: Path) -> dict[str, Any]:
    """What a run goes on from; nothing in it but plain types and tensors."""
    read: dict[str, Any] = torch.load(folder / "checkpoints" / "last.state", weights_only=True)
    return read


def log(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    clocks = ("time", "train/wait_seconds")
    return [{key: value for key, value in row.items() if key not in clocks} for row in rows]


def assert_same(one: Any, two: Any) -> None:
    """Equal bit for bit, however deep."""
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    else:
        assert one == two


def assert_same_end(one: Path, two: Path) -> None:
    ends = [state(folder) for folder in (one, two)]
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "FragmentData", "global_step"):
        assert_same(ends[0][part], ends[1][part])


@contextlib.contextmanager
def signalled(step: int, number: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """Send a signal while a given step runs."""
    original = TranscriptionTask.training_step
    sent = False

    def step_and_signal(self: TranscriptionTask, batch: Any, index: int) -> torch.Tensor:
        nonlocal sent
        if self.global_step == step - 1 and not sent:
            sent = True  # a step of several batches comes here for each of them
            os.kill(os.getpid(), number)
        return original(self, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TranscriptionTask, "training_step", step_and_signal)
        yield


def test_a_run_leaves_checkpoints_that_stock_whisper_loads(run: Run, dev: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    best = run(folder, dev=dev, max_steps=3, validate_every=1, keep_best=2, monitor="dev/loss")
    files = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert files == ["last.pt", "last.state", "step-000002.pt", "step-000003.pt"]
    assert best.name == "step-000003.pt"
    info = load_checkpoint(best).info
    assert info.window == "tight"
    assert info.metrics.keys() == {
        "dev/loss", "dev/wer", "dev/wer_worst", "dev/wer/fr-CA", "dev/wer/en-GB", "step"
    }  # fmt: skip
    assert info.metrics["step"] == 3
    assert whisper.load_model(str(best)).dims.n_audio_state == 16
    rows = log(folder)
    assert [row["step"] for row in rows if "train/loss" in row] == [0, 1, 2]
    # The rate rises over two steps, and falls to zero after the last.
    assert [row["lr-AdamW/pg1"] for row in rows if "lr-AdamW/pg1" in row] == pytest.approx([5e-4, 1e-3, 1e-3])
    assert len([row for row in rows if "dev/wer_worst" in row]) == 3
    assert list((folder / "tensorboard").iterdir())


def test_a_run_shorter_than_the_way_to_a_validation_ends_with_one(run: Run, dev: Path, tmp_path: Path) -> None:
    best = run(tmp_path / "run", dev=dev, max_steps=2, validate_every=100, save_every=100)
    assert load_checkpoint(best).info.metrics["step"] == 2 and "dev/wer_worst" in load_checkpoint(best).info.metrics


def test_bf16_learns_what_float32_learns(run: Run, tmp_path: Path) -> None:
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        run(tmp_path / precision, max_steps=12, lr=2e-2, precision=precision)
        losses[precision] = [row["train/loss"] for row in log(tmp_path / precision) if "train/loss" in row]
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.03)
    assert losses["bf16-mixed"][-1] < 0.8 * losses["bf16-mixed"][0]


@pytest.mark.parametrize("has", [(), ("_is_amx_tile_supported",), ("_is_avx512_bf16_supported",)])
def test_the_precision_that_the_device_is_fast_in(monkeypatch: pytest.MonkeyPatch, has: tuple[str, ...]) -> None:
    for asked in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, asked, lambda asked=asked: asked in has)
    assert with_precision(TrainerOptions(accelerator="cpu")).precision == ("bf16-mixed" if has else "32-true")
    assert with_precision(TrainerOptions(accelerator="cpu", precision="16-mixed")).precision == "16-mixed"


def test_the_time_waited_for_data_is_logged(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = BatchLoader.__getitem__

    def slowly(self: BatchLoader, draw: Draw) -> Batch:
        time.sleep(0.2)
        return load(self, draw)

    monkeypatch.setattr(BatchLoader, "__getitem__", slowly)
    run(tmp_path / "run", max_steps=4, log_every=2)
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    waited = [row["train/wait_seconds"] for row in map(json.loads, lines) if "train/wait_seconds" in row]
    # Two batches a line, each waited for.
    assert len(waited) == 2 and min(waited) >= 0.4


def test_training_learns(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "run", max_steps=12, lr=2e-2)
    losses = [row["train/loss"] for row in log(tmp_path / "run") if "train/loss" in row]
    assert losses[-1] < 0.8 * losses[0]


def test_resumed_equals_uninterrupted(run: Run, dev: Path, tmp_path: Path) -> None:
    options = {"dev": dev, "max_steps": 4, "validate_every": 2, "accumulate": 2, "save_every": 1, "keep_best": 9}
    run(tmp_path / "whole", **options)
    # In the middle of a pass, at a step that a validation follows, and after the first step.
    for step in (3, 2, 1):
        folder = tmp_path / f"stopped{step}"
        stopped = pytest.raises(TrainingStopped, match=f"stopped at step {step}; .*resume={folder}$")
        number = signal.SIGTERM if step == 3 else signal.SIGINT
        with signalled(step, number), stopped as caught:
            run(folder, **options)
        assert caught.value.signal == number
        assert state(folder)["global_step"] == step
        run(folder, resume=True, **options)
        assert_same_end(tmp_path / "whole", folder)
        assert log(folder) == log(tmp_path / "whole")
        names = [sorted(path.name for path in (tmp_path / f / "checkpoints").iterdir()) for f in ("whole", folder)]
        assert names[0] == names[1]


def test_a_run_that_is_killed_goes_on_from_its_last_state(run: Run, dev: Path, tmp_path: Path) -> None:
    options = {"dev": dev, "max_steps": 4, "validate_every": 2, "keep_best": 9}
    run(tmp_path / "whole", **options)

    def dies(self: TranscriptionTask, batch: Any, index: int) -> torch.Tensor:
        if self.global_step == 3:
            raise MemoryError
        return original(self, batch, index)

    original = TranscriptionTask.training_step
    with pytest.MonkeyPatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(TranscriptionTask, "training_step", dies)
        run(tmp_path / "killed", **options)
    assert state(tmp_path / "killed")["global_step"] == 2  # saved after the validation
    run(tmp_path / "killed", resume=True, **options)
    assert_same_end(tmp_path / "whole", tmp_path / "killed")
    before, after = ([row for row in log(tmp_path / name) if "dev/wer" in row] for name in ("whole", "killed"))
    assert before == after


def test_patience_counts_on_where_a_run_was_killed(run: Run, dev: Path, tmp_path: Path) -> None:
    options = {"dev": dev, "max_steps": 50, "validate_every": 1, "patience": 3, "lr": 1e-12}
    run(tmp_path / "whole", **options)

    def dies(self: TranscriptionTask, batch: Any, index: int) -> torch.Tensor:
        if self.global_step == 2:
            raise MemoryError
        return original(self, batch, index)

    original = TranscriptionTask.training_step
    with pytest.MonkeyPatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(TranscriptionTask, "training_step", dies)
        run(tmp_path / "killed", **options)
    run(tmp_path / "killed", resume=True, **options)
    assert state(tmp_path / "killed")["global_step"] == state(tmp_path / "whole")["global_step"] == 4
    assert log(tmp_path / "killed") == log(tmp_path / "whole")


def test_lora_resumes_too_and_is_merged_on_save(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "whole", mode="lora", max_steps=3)
    with signalled(2, signal.SIGTERM), pytest.raises(TrainingStopped) as caught:
        run(tmp_path / "parts", mode="lora", max_steps=3)
    assert caught.value.signal == signal.SIGTERM
    best = run(tmp_path / "parts", mode="lora", max_steps=3, resume=True)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    assert [name for name in state(tmp_path / "parts")["state_dict"] if "lora" in name]
    assert not [name for name in load_checkpoint(best).model.state_dict() if "lora" in name]


@pytest.fixture
def two_corpora(corpus: Path) -> Path:
    """The corpus as if both of its dialects came from two rooms; of some fragments nobody knows which."""
    rooms = ("here", "here", "there", "there", None, None)
    fragments = [fragment.replace(corpus=rooms[n % 6]) for n, fragment in enumerate(read_manifest(corpus))]
    write_manifest(fragments, corpus.with_name("rooms.jsonl"))
    return corpus.with_name("rooms.jsonl")


def test_an_adversary_resumes_too_and_stays_out_of_the_checkpoint(run: Run, two_corpora: Path, tmp_path: Path) -> None:
    options = {"train_on": two_corpora, "heads": HeadOptions(dialect=1.0, adversary=1.0), "max_steps": 3}
    run(tmp_path / "whole", **options)
    with signalled(2), pytest.raises(TrainingStopped):
        run(tmp_path / "parts", **options)
    best = run(tmp_path / "parts", resume=True, **options)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    assert log(tmp_path / "parts") == log(tmp_path / "whole")
    rows = [row for row in log(tmp_path / "whole") if "train/loss" in row]
    assert max(row["train/adversary_loss"] for row in rows) > 0
    assert all(0 <= row["train/adversary_accuracy"] <= 100 for row in rows)
    assert [name for name in state(tmp_path / "parts")["state_dict"] if name.startswith("adversary.")]
    saved = torch.load(best, weights_only=True)
    assert set(saved) == {"dims", "model_state_dict", OWN_ENTRY, HEADS_ENTRY}
    head = load_checkpoint(best).model.head("dialect")
    assert set(saved[HEADS_ENTRY]) == {"dialect"} and set(saved[HEADS_ENTRY]["dialect"]) == set(head.state_dict())
    assert head.spec.bottleneck == head.out.in_features > 0


def test_a_finished_run_resumed_stays_as_it_is(run: Run, dev: Path, tmp_path: Path) -> None:
    best = run(tmp_path / "run", dev=dev, validate_every=2)
    before = {path.name: path.read_bytes() for path in best.parent.glob("*.pt")}
    assert run(tmp_path / "run", dev=dev, validate_every=2, resume=True) == best
    assert {path.name: path.read_bytes() for path in best.parent.glob("*.pt")} == before


def test_a_state_of_an_older_version_is_refused(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder)
    path = folder / "checkpoints" / "last.state"
    saved = torch.load(path, weights_only=True)
    torch.save(saved | {"state_version": STATE_VERSION - 1}, path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="because fragments come in another order; go on with the package that"):
        run(folder, resume=True, max_steps=4)
    assert path.read_bytes() == before


def test_development_fragments_that_changed_are_refused(run: Run, dev: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", dev=dev, validate_every=1)
    write_manifest(list(read_manifest(dev))[1:], dev)
    with pytest.raises(ManifestError, match=r"not the one that this run began with.*dev\.jsonl"):
        run(tmp_path / "run", dev=dev, validate_every=1, max_steps=4, resume=True)


def test_signals_are_given_back(run: Run, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with signalled(1), pytest.raises(TrainingStopped):
        run(tmp_path / "run")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_that_was_held_back_is_heard(run: Run, tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        with signalled(1, signal.SIGTERM), pytest.raises(TrainingStopped):
            run(tmp_path / "run")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_second_signal_stops_at_once(run: Run, tmp_path: Path) -> None:
    with signalled(1), signalled(1), pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_clock_that_jumps_changes_nothing(
    run: Run, dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"dev": dev, "max_steps": 4, "validate_every": 2, "save_every": 1, "keep_best": 9}
    run(tmp_path / "steady", **options)
    now, jumps = time.time, cycle((0.0, 1e7, -1e9))  # a third of a year ahead, and thirty years back
    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    with signalled(3), pytest.raises(TrainingStopped):
        run(tmp_path / "jumping", **options)
    run(tmp_path / "jumping", resume=True, **options)
    noted = [json.loads(line)["time"] for line in (tmp_path / "jumping" / "log.jsonl").read_text().splitlines()]
    assert max(noted) - min(noted) > 1e6
    assert_same_end(tmp_path / "steady", tmp_path / "jumping")
    assert log(tmp_path / "jumping") == log(tmp_path / "steady")


def test_workers_change_nothing(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "none", max_steps=3)
    run(tmp_path / "two", max_steps=3, workers=2)
    assert_same_end(tmp_path / "none", tmp_path / "two")


@pytest.mark.parametrize(
    ("accelerator", "gpus", "cores", "workers"),
    [("cpu", 1, 64, 1), ("auto", 0, 64, 1), ("auto", 1, 16, 8), ("gpu", 4, 16, 3), ("gpu", 8, 8, 1)],
)
def test_as_many_workers_as_there_are_cores_for(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, gpus: int, cores: int, workers: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    trainer = TrainerOptions(accelerator=accelerator, devices=max(1, gpus))
    assert workers_for(DataOptions(("made-up",)), trainer) == workers
    assert workers_for(DataOptions(("made-up",), workers=0), trainer) == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_recordings_that_cannot_be_read_are_a_sentence(run: Run, corpus: Path, tmp_path: Path, workers: int) -> None:
    shutil.rmtree(tmp_path / "audio")
    with pytest.raises(AudioError, match=r"^no recording of data\.train can be read, and nothing was learnt; run `asr"):
        run(tmp_path / "few", workers=workers)
    with pytest.raises(AudioError, match=r"^1\d of the 1\d fragments drawn .* data\.unreadable allows 5 %; run `asr"):
        run(tmp_path / "many", workers=workers, max_steps=9)


def test_accumulated_batches_make_one_step(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "run", accumulate=2)
    assert state(tmp_path / "run")["global_step"] == 2
    assert state(tmp_path / "run")["FragmentData"]["batch"] == 4


def test_early_stop(run: Run, dev: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", dev=dev, max_steps=50, validate_every=1, patience=2, lr=1e-12)
    assert len([row for row in log(tmp_path / "run") if "dev/wer_worst" in row]) == 3
    assert (tmp_path / "run" / "checkpoints" / "last.pt").exists()
    # Neither does it forget that it has ended, if it is killed right after and goes on.
    before = state(tmp_path / "run"), log(tmp_path / "run")
    run(tmp_path / "run", dev=dev, max_steps=50, validate_every=1, patience=2, lr=1e-12, resume=True)
    assert state(tmp_path / "run")["global_step"] == before[0]["global_step"] == 3
    assert log(tmp_path / "run") == before[1]
    with pytest.raises(ConfigError, match=r"no data\.dev on which to see an improvement"):
        run(tmp_path / "none", patience=2)


def test_a_metric_that_is_not_measured(run: Run, dev: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"trainer.monitor is 'dev/wer/de-AT', which data.dev does not give; it gives"
    ):
        run(tmp_path / "run", dev=dev, validate_every=1, monitor="dev/wer/de-AT")
    assert (tmp_path / "run" / "checkpoints" / "last.pt").exists()


def test_what_a_run_cannot_begin_with(run: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"fsdp divides no loss scale; take trainer\.precision=bf16-mixed"):
        run(tmp_path / "run", strategy="fsdp", precision="16-mixed")
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match=r"no GPU on this machine; train without one"):
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(torch.backends.mps, "is_available", lambda: False)
        run(tmp_path / "run", accelerator="gpu")
    with pytest.raises(ManifestError, match="no such manifest"):
        run(tmp_path / "run", train_on=tmp_path / "gone.jsonl")
    # A language that only larger vocabularies know.
    foreign = [fragment.replace(language="yue", dialect=None) for fragment in read_manifest(corpus)]
    write_manifest(foreign, tmp_path / "foreign.jsonl")
    with pytest.raises(ManifestError, match="no fragment in it can be used"):
        run(tmp_path / "run", train_on=tmp_path / "foreign.jsonl")
    with pytest.raises(CheckpointError, match=r"there is no state to resume from at .*last\.state"):
        run(tmp_path / "run", resume=True)


TWO_PROCESSES = """
import os, sys, torch
from pathlib import Path
from asr.data.augment import Augment, AugmentOptions
from asr.data.batch import BatchOptions
from asr.model.adapt import adapt
from asr.model.checkpoint import CheckpointInfo, load_checkpoint
from asr.training.adversary import corpora_of
from asr.training.heads import HeadOptions, head_labels
from asr.training.run import DataOptions, TrainerOptions, train
from asr.training.optim import OptimOptions

folder, checkpoint, corpus, dev = map(Path, sys.argv[1:])
torch.set_num_threads(1)
model = load_checkpoint(checkpoint).model
model.window = "tight"
heads = HeadOptions(dialect=1.0, adversary=1.0)
learnt = head_labels([corpus], heads)
torch.manual_seed(0)
model.set_heads({name: labels.spec for name, labels in learnt.items()})
train(
    model, CheckpointInfo("tiny"), folder,
    data=DataOptions((str(corpus),), dev=(str(dev),), batch_seconds=2.0, workers=0),
    batch=BatchOptions(), augment=Augment(AugmentOptions()), optim=OptimOptions(lr=1e-3, warmup_steps=1),
    trainer=TrainerOptions(
        max_steps=2, validate_every=2, log_every=1, accelerator="cpu", devices=2, strategy="ddp", monitor="dev/loss"
    ),
    seed=0, heads=heads, head_weights={name: labels.weights for name, labels in learnt.items()},
    corpora=corpora_of([corpus], heads),
)
torch.save(model.state_dict(), folder / f"rank{os.environ.get('LOCAL_RANK', 0)}.pt")
"""


def test_two_processes_learn_the_same(tiny_checkpoint: Path, two_corpora: Path, dev: Path, tmp_path: Path) -> None:
    # One development fragment for two processes: one of them has nothing to measure, and must not be waited for.
    write_manifest(list(read_manifest(dev))[:1], dev)
    (tmp_path / "two.py").write_text(textwrap.dedent(TWO_PROCESSES))
    arguments = [str(path) for path in (tmp_path / "run", tiny_checkpoint, two_corpora, dev)]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "two.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    one, two = (torch.load(tmp_path / "run" / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    start = load_checkpoint(tiny_checkpoint).model.state_dict()
    assert_same(one, two)
    assert all(weight.isfinite().all() for weight in one.values())
    assert not torch.equal(one["whisper.decoder.ln.weight"], start["whisper.decoder.ln.weight"])
    # The heads, too: of some fragments no corpus is known, and a process that has only such ones is not waited for.
    assert [name for name in one if name.startswith("heads.dialect.bottleneck")]
    assert state(tmp_path / "run")["FragmentData"]["batch"] == 2
    assert load_checkpoint(tmp_path / "run/checkpoints/last.pt").info.metrics.keys() >= {"dev/loss", "dev/wer/en-GB"}
