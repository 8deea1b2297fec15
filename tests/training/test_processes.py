"""Real runs of ``scripts/train.py`` in processes of their own: killed, stopped, two at a time, one of two gone."""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import re
import resource
import runpy
import signal
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import date, timedelta
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch.distributed.tensor import DTensor

import asr.model.heads
import asr.privacy.consent
from asr.data.batch import Batch
from asr.data.examples import Example
from asr.data.stream import BatchStream, Draw, Position
from asr.fragment import Consent, read_manifest, write_manifest
from asr.model.checkpoint import load_checkpoint, save_checkpoint
from asr.training.task import TranscriptionTask

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
# Processes that begin with all imports done: a run takes a second instead of ten.
READY = get_context("forkserver")
READY.set_forkserver_preload(["asr.build", "asr.config", "hydra", "lightning.pytorch", "whisper.tokenizer"])
OPTIONS = (
    "trainer=cpu", "trainer.precision=32-true", "trainer.threads=1", "trainer.log_every=1", "trainer.save_every=2",
    "trainer.validate_every=3", "trainer.max_steps=9", "trainer.accumulate=2", "trainer.monitor=dev/loss",
    "data.batch_seconds=2", "data.workers=0", "optim.lr=1e-3", "optim.warmup_steps=2", "adapter=lora",
)  # fmt: skip


# What two processes hear in a step, or one that joins it; the second time there is nothing for the second of the two.
HEARD = ((range(8), range(8, 10)), (range(3), range(0)))


def _save_gradients(folder: Path) -> None:
    """Let a run hear what `HEARD` says, and write down its gradients."""
    alone = os.environ.get("WORLD_SIZE", "1") == "1"

    def draws(self: BatchStream) -> Iterator[Draw]:
        fragments = list(self._first)
        for number, parts in enumerate(HEARD):
            rows = [row for part in parts for row in part] if alone else parts[self.rank]
            yield Draw(tuple(Example((fragments[row],)) for row in rows), Position(0, number + 1), number)

    def gradients(self: TranscriptionTask, optimizer: torch.optim.Optimizer) -> None:
        found = {name: whole(parameter.grad) for name, parameter in self.named_parameters()}
        if self.global_rank == 0:
            torch.save(found, folder / f"gradients{self.global_step}.pt")

    def whole(gradient: torch.Tensor | None) -> torch.Tensor:
        assert gradient is not None
        return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient

    asr.model.heads._DROPOUT = 0.0
    BatchStream.__iter__ = draws  # type: ignore[method-assign]
    TranscriptionTask.on_before_optimizer_step = gradients  # type: ignore[method-assign]


def _small_memory(way: str) -> None:
    """Let the first of two processes learn from two fragments at a time at most, or find so on the way back."""
    if os.environ.get("RANK") != "0":
        return
    losses = TranscriptionTask._losses

    def full(gradient: torch.Tensor | None = None) -> None:
        raise torch.OutOfMemoryError("made up")

    def limited(self: TranscriptionTask, heard: Any, batch: Batch, *more: Any) -> Any:
        large = self.training and len(batch.tokens) > 2
        if large and way == "there":
            full()
        found = losses(self, heard, batch, *more)
        if large:
            found["text"].register_hook(full)
        return found

    TranscriptionTask._losses = limited  # type: ignore[method-assign]


def _script(arguments: tuple[str, ...], folder: Path, environment: dict[str, str], limit: int | None) -> None:
    """The body of a process: the script as it is typed, its output in a file."""
    os.chdir(folder)
    os.environ.update(environment)
    output = os.open(environment["OUTPUT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if "CLOCK" in environment:
        # A clock that is set back by a day, and forward by a year, whenever it is asked.
        jumps = itertools.cycle((0.0, -86_400.0, 3e7))
        real = time.time
        time.time = lambda: real() + next(jumps)  # type: ignore[assignment]

        class Jumping(date):
            @classmethod
            def today(cls) -> date:
                return date.fromtimestamp(time.time())

        asr.privacy.consent.date = Jumping  # type: ignore[misc]
    if "SMALL" in environment:
        _small_memory(environment["SMALL"])
    if "GRADIENTS" in environment:
        _save_gradients(Path(environment["GRADIENTS"]))
    # Hydra silences every logger that is there when it starts; in a process that imports later, none of ours is.
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("asr")]:
        del logging.root.manager.loggerDict[name]
    sys.argv = [str(SCRIPT), *arguments]
    torch.set_num_threads(1)
    runpy.run_path(str(SCRIPT), run_name="__main__")


class Script:
    """``scripts/train.py`` in some processes, as torchrun starts them when there are several."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        processes: int = 1,
        limit: int | None = None,
        gradients: Path | None = None,
        clock: bool = False,
        small: str = "",
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.outputs = [folder / f"output{number}.txt" for number in range(processes)]
        names = ("ASR_RECORD", "ASR_TOMBSTONES", "ASR_USER")
        common = {name: os.environ[name] for name in names} | {"OMP_NUM_THREADS": "1"}
        common |= {"CLOCK": "jumps"} if clock else {}
        common |= {"SMALL": small} if small else {}
        common |= {} if gradients is None else {"GRADIENTS": str(gradients)}
        if processes > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
            common |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": str(processes)}
        self.processes: list[BaseProcess] = []
        for rank, output in enumerate(self.outputs):
            output.unlink(missing_ok=True)
            own = common | {"OUTPUT": str(output)}
            if processes > 1:
                own |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            process = READY.Process(target=_script, args=(arguments, folder, own, limit))
            process.start()
            self.processes.append(process)

    def ends(self, timeout: float = 120) -> list[int]:
        """Wait for the end; give the exit codes."""
        for process in self.processes:
            process.join(timeout)
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
        assert None not in codes, self.said
        return [code for code in codes if code is not None]

    @property
    def said(self) -> str:
        return "\n".join(output.read_text() for output in self.outputs if output.exists())


@pytest.fixture
def given(tiny_checkpoint: Path, corpus: Path, dev: Path) -> list[str]:
    """Overrides that train a tiny model on the made-up corpus."""
    return [f"data.train={corpus}", f"data.dev={dev}", f"model.name={tiny_checkpoint}", *OPTIONS]


def state(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = torch.load(folder / "checkpoints" / "last.state", weights_only=True)
    return read


def log(folder: Path) -> list[dict[str, float]]:
    path = folder / "log.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [{key: value for key, value in row.items() if key not in ("time", "train/wait_seconds")} for row in rows]


def assert_same(one: Any, two: Any, place: str = "") -> None:
    """Equal bit for bit, however deep."""
    # torch gives a divided optimiser's pairs back as lists.
    assert type(one) is type(two) or isinstance(one, list | tuple), place
    if isinstance(one, dict):
        assert one.keys() == two.keys(), place
        for key in one:
            assert_same(one[key], two[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), place
        for number, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{place}.{number}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), place
    else:
        assert one == two, place


def assert_same_run(one: Path, two: Path) -> None:
    """The same state (weights, optimiser, schedule, place, counts, best, patience), log and files."""
    ends = [state(folder) for folder in (one, two)]
    for part in (
        "state_dict",
        "optimizer_states",
        "lr_schedulers",
        "FragmentData",
        "global_step",
        "fragments",
        "parts",
    ):
        assert_same(ends[0][part], ends[1][part], part)
    others = ("Tqdm", "NoteFigures")  # how fast it is, and how long it took
    kept = [
        {name: own for name, own in end["callbacks"].items() if not any(other in name for other in others)}
        for end in ends
    ]
    assert_same(kept[0], kept[1], "callbacks")
    assert log(one) == log(two)
    files = [sorted(path.name for path in (folder / "checkpoints").iterdir()) for folder in (one, two)]
    assert files[0] == files[1]


def gone_on(ends: list[int], run: Path, processes: int, small: str = "") -> list[int]:
    """Go on with a run of which a process was aborted: one in twenty dies of a double free in a fork of this test.

    It is one interruption more, after which everything must be equal all the same.
    """
    if -signal.SIGABRT not in ends:
        return ends
    warnings.warn(f"a process of {run.name} was aborted", stacklevel=2)
    return Script(run.parent, f"resume={run}", processes=processes, small=small).ends()


def interrupted(
    folder: Path, given: list[str], *signals: signal.Signals, seed: int, processes: int = 1, small: str = ""
) -> None:
    """Run to the end, sent signals at random moments on the way, one in each part; at last with a clock that jumps."""
    chance = random.Random(seed)
    for number in (*signals, None):
        begun = (folder / "checkpoints/last.state").exists()
        rows = len(log(folder)) if begun else 0
        what = [f"resume={folder}"] if begun else [*given, f"run={folder}"]
        script = Script(folder.parent, *what, processes=processes, clock=number is None, small=small)
        # Lines of the log come two a step; the signal falls before, in or after what they tell.
        until, wait = rows + chance.randint(1, 7), chance.uniform(0, 0.05)
        while number is not None and not ((folder / "log.jsonl").exists() and len(log(folder)) >= until):
            time.sleep(0.005)
            assert script.processes[0].is_alive(), script.said
        if number is not None:
            time.sleep(wait)
            for process in script.processes if number == signal.SIGKILL else script.processes[-1:]:
                os.kill(process.pid or 0, number)
        code = {None: 0, signal.SIGKILL: -signal.SIGKILL}.get(number, 75)
        ends = script.ends()
        if number is None:
            ends = gone_on(ends, folder, processes, small)
        assert ends == [code] * processes, script.said
        assert code != 75 or "asr: training stopped at step " in script.said


def test_interrupted_at_random_moments_equals_left_alone(
    given: list[str], corpus: Path, dev: Path, tmp_path: Path
) -> None:
    given += ["trainer.patience=9", "heads=dialect", "heads.least=2", "trainer.max_steps=14"]
    # A clock that jumps takes no consent of today away.
    for manifest in (corpus, dev):
        own = Consent(id="today", purposes=("training",), granted=date.today(), expires=date.today() + timedelta(800))
        write_manifest([item.replace(consent=own) for item in read_manifest(manifest)], manifest)
    whole = Script(tmp_path / "alone", *given, "run=run")
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1)
    interrupted(tmp_path / "parts", given, *signals, seed=1)
    assert whole.ends() == [0], whole.said
    assert_same_run(tmp_path / "alone/run", tmp_path / "parts")
    times = [json.loads(line)["time"] for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    assert times != sorted(times)


@pytest.mark.parametrize(
    ("strategy", "signals", "small"),
    [
        ("ddp", (signal.SIGKILL, signal.SIGTERM), ""),
        ("ddp", (signal.SIGKILL, signal.SIGKILL), "there"),
        ("fsdp", (signal.SIGKILL,), ""),
    ],
)
def test_two_processes_interrupted_equal_two_left_alone(
    given: list[str], tmp_path: Path, strategy: str, signals: tuple[signal.Signals, ...], small: str
) -> None:
    given += [f"trainer={strategy}", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    # With dropout another division would be another run.
    given += ["data.batch_seconds=5"] if small else []
    whole = Script(tmp_path / "alone", *given, "run=run", processes=2, small=small)
    interrupted(tmp_path / "parts", given, *signals, seed=2, processes=2, small=small)
    assert gone_on(whole.ends(), tmp_path / "alone/run", 2, small) == [0, 0], whole.said
    assert_same_run(tmp_path / "alone/run", tmp_path / "parts")
    first, second = state(tmp_path / "parts")["parts"]
    assert bool(first) is bool(small) and not second


def test_a_full_disk_keeps_the_older_state(given: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = [option for option in given if "adapter=" not in option]
    begun = Script(tmp_path, *given, f"run={run}", "data.dev=[]", "trainer.max_steps=2")
    assert begun.ends() == [0], begun.said
    config = (run / "config.yaml").read_text("utf-8")
    (run / "config.yaml").write_text(config.replace("max_steps: 2", "max_steps: 4"), "utf-8")
    before = {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    # Whoever is root has no quota here; a limit of the process is one of the kernel all the same.
    full = Script(tmp_path, f"resume={run}", limit=len(before["last.state"]) - 100_000)
    assert full.ends() == [1]
    assert f"asr: cannot save {run}/checkpoints/last.state: " in full.said, full.said
    assert {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()} == before
    end = Script(tmp_path, f"resume={run}")
    assert end.ends() == [0], end.said
    assert state(run)["global_step"] == 4


def test_a_manifest_that_changed_is_refused(given: list[str], corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    begun = Script(tmp_path, *given, f"run={run}", "trainer.max_steps=1")
    assert begun.ends() == [0], begun.said
    fragments = list(read_manifest(corpus))
    # Who takes consent back changes nothing for the others.
    withdrawn = fragments[0].consent.model_copy(update={"purposes": ()})  # type: ignore[union-attr]
    write_manifest([fragments[0].replace(consent=withdrawn), *fragments[1:]], corpus)
    same = Script(tmp_path, f"resume={run}")
    assert same.ends() == [0], same.said
    write_manifest(fragments[1:], corpus)
    refused = Script(tmp_path, f"resume={run}")
    assert refused.ends() == [1]
    assert refused.said.splitlines()[-1].startswith("asr: the manifest is not the one that this run began with")


def test_two_processes_validate_as_one_and_divide_weights(
    given: list[str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    given += ["trainer.max_steps=3", "trainer.patience=3", "trainer.protect=[en-GB]", "trainer.protect_limit=1e9"]
    # Other heads follow time than Whisper would suppose.
    base = load_checkpoint(tiny_checkpoint)
    heads = torch.zeros_like(base.model.whisper.alignment_heads.to_dense())
    heads[0, 1] = True
    base.model.whisper.alignment_heads = heads.to_sparse()
    save_checkpoint(base.model, base.info, tmp_path / "base.pt")
    given += [f"model.name={tmp_path}/base.pt"]
    two = ["trainer.devices=2", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    ends = {
        "ddp": Script(tmp_path, *given, "trainer=ddp", *two, "run=ddp", processes=2),
        "fsdp": Script(tmp_path, *given, "trainer=fsdp", *two, "run=fsdp", processes=2),
    }
    for script in ends.values():
        assert script.ends() == [0, 0], script.said
    ddp, fsdp = (load_checkpoint(tmp_path / name / "checkpoints/last.pt") for name in ends)
    for end in (ddp, fsdp):
        assert torch.equal(end.model.whisper.alignment_heads.to_dense(), heads)
        assert end.info.metrics["dev/harmed"] == 0
    assert fsdp.info.metrics == pytest.approx(ddp.info.metrics, rel=1e-4)
    for name, weight in ddp.model.state_dict().items():
        torch.testing.assert_close(fsdp.model.state_dict()[name], weight, atol=2e-3, rtol=1e-2)
    # Nothing is learnt in the first step of a schedule that has ended: the figures are those of the same weights.
    alone = Script(tmp_path, *given, f"model.name={tmp_path}/ddp/checkpoints/last.pt", "optim.lr=1e-20", "run=alone")
    assert alone.ends() == [0], alone.said
    figures = load_checkpoint(tmp_path / "alone/checkpoints/last.pt").info.metrics
    assert figures == pytest.approx(ddp.info.metrics, rel=2e-3)
    assert figures["dev/wer"] == ddp.info.metrics["dev/wer"]


def test_a_process_that_dies_ends_the_other_with_a_sentence(given: list[str], tmp_path: Path) -> None:
    two = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    script = Script(tmp_path, *given, *two, "trainer.max_steps=5000", "data.dev=[]", "run=run", processes=2)
    while not (tmp_path / "run/log.jsonl").exists():
        time.sleep(0.01)
        assert script.processes[0].is_alive(), script.said
    script.processes[1].kill()
    assert script.ends(timeout=60) == [69, -signal.SIGKILL]
    assert "asr: another process of this run is gone" in script.said and "Traceback" not in script.said


def test_processes_that_were_not_asked_for(given: list[str], tmp_path: Path) -> None:
    script = Script(tmp_path, *given, "run=run", processes=2)
    assert script.ends() == [1, 1]
    assert "asr: torchrun has started 2 processes, but trainer.devices times trainer.nodes is 1; give it" in script.said


@pytest.mark.parametrize(("strategy", "small"), [("ddp", ""), ("ddp", "there"), ("ddp", "back"), ("fsdp", "")])
def test_gradients_are_those_of_the_joined_batch(
    given: list[str], corpus: Path, tmp_path: Path, strategy: str, small: str
) -> None:
    # Two corpora that share dialects, and labels that are missing: every loss has targets of its own.
    fragments = [
        item.replace(corpus=("here", None, "there")[n % 3], dialect=("en-GB", "en-US", None)[n // 2 % 3], language="en")
        for n, item in enumerate(read_manifest(corpus))
    ]
    write_manifest([item.replace(text=item.text + " and on" * n) for n, item in enumerate(fragments)], corpus)
    plain = [
        *given, "heads=dialect", "heads.adversary=1", "heads.least=2", "adapter=full", "augment=none",
        "optim.lr=1e-20", "data.margin=[0.1,0.1]", "data.timestamps=0", "data.silence=0", "data.joined=0",
        "data.dev=[]", "trainer.accumulate=1", "trainer.max_steps=2", "trainer.save_every=9",
    ]  # fmt: skip
    two = [f"trainer={strategy}", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    scripts = (
        Script(tmp_path / "alone", *plain, "run=run", gradients=tmp_path / "alone"),
        Script(tmp_path / "two", *plain, *two, "run=run", processes=2, gradients=tmp_path / "two", small=small),
    )
    for script in scripts:
        assert set(script.ends()) == {0}, script.said
    assert ("are learnt in 4 parts" in scripts[1].said) is bool(small)
    first, second = state(tmp_path / "two/run")["parts"]
    assert bool(first) is bool(small) and not second, "each process divides its own batches"
    for step in range(2):
        one, other = (
            torch.load(tmp_path / name / f"gradients{step}.pt", weights_only=True) for name in ("alone", "two")
        )
        assert one.keys() == other.keys()
        assert one["adversary.layers.0.weight"].any() and one["model.whisper.decoder.ln.weight"].any()
        for name, gradient in one.items():
            # The convolutions learn from the silence that each process hears, and sums over its frames round otherwise.
            atol = 1e-4 * float(gradient.abs().max()) if ".conv" in name else 1e-6
            torch.testing.assert_close(other[name], gradient, atol=atol, rtol=1e-3, msg=lambda m, name=name: name + m)
    told = [[row for row in log(tmp_path / name / "run") if "train/loss" in row] for name in ("alone", "two")]
    assert len(told[0]) == 2
    for one, other in zip(*told, strict=True):
        assert other == pytest.approx(one, rel=1e-3), "what is told is of the joined batch"


def test_what_cannot_be_used_is_named_and_left_out(given: list[str], corpus: Path, tmp_path: Path) -> None:
    fragments = [item.replace(speaker="one") for item in read_manifest(corpus)]
    soundfile.write(tmp_path / "long.wav", np.zeros(16000 * 31), 16000)
    long = fragments[0].replace(id="long", audio=str(tmp_path / "long.wav"), duration=30.1)
    wordy = fragments[1].replace(id="wordy", text=" hello" * 443)  # six tokens are Whisper's own
    Path(fragments[3].audio).write_bytes(b"no audio")
    write_manifest([long, wordy, *fragments], corpus)
    # No batch but those of the broken recording is without anything that can be heard.
    script = Script(tmp_path, *given, "run=run", "data.batch_seconds=0.5", "data.unreadable=0.2", "data.joined=0")
    assert script.ends() == [0], script.said
    assert "(corpus.jsonl:1): fragment 'long' lasts 30.1 s, Whisper hears 30 s at a time; cut it" in script.said
    assert "(corpus.jsonl:2): the label of fragment 'wordy' has 449 tokens, Whisper has room for 448" in script.said
    assert "fragment 'f3' is left out: its recording cannot be read; run `asr validate`" in script.said
    counted = max(row.get("train/unreadable", 0) for row in log(tmp_path / "run"))
    fragments_of = state(tmp_path / "run")["fragments"]
    assert (fragments_of["drawn"], fragments_of["missed"]) == (18, counted) and counted >= 1
    assert f"{counted:.0f} of 18 fragments were left out: they cannot be read" in script.said
    for number in range(11):
        Path(fragments[number].audio).write_bytes(b"no audio")
    script = Script(tmp_path, *given, "run=broken", "data.batch_seconds=0.5", "data.dev=[]", "trainer.max_steps=99")
    assert script.ends() == [1]
    assert "fragments drawn so far have recordings that cannot be read, and data.unreadable allows 5 %" in script.said
    assert "Traceback" not in script.said


def test_a_corpus_of_one_fragment(given: list[str], dev: Path, tmp_path: Path) -> None:
    write_manifest(list(read_manifest(dev))[:1], dev)
    one = [*given, f"data.train={dev}", "trainer.max_steps=3"]
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    scripts = [
        Script(tmp_path / "one", *one, "run=run"),
        Script(tmp_path / "two", *one, *two, "run=run", processes=2),
    ]
    for script in scripts:
        assert set(script.ends()) == {0}, script.said
    # Of two processes one has nothing to hear, and changes nothing.
    alone, both = (state(tmp_path / name / "run") for name in ("one", "two"))
    assert alone["fragments"] == both["fragments"] == {"drawn": 6, "missed": 0, "heard": pytest.approx(1.8)}


def test_a_loss_that_is_no_number(given: list[str], tmp_path: Path) -> None:
    broken = ["optim.lr=1e36", "adapter=full", "trainer.save_every=1", "optim.warmup_steps=0", "data.dev=[]"]
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    scripts = [
        Script(tmp_path / "one", *given, *broken, "run=run"),
        Script(tmp_path / "two", *given, *broken, *two, "run=run", processes=2),
    ]
    for folder, script in zip(("one", "two"), scripts, strict=True):
        assert set(script.ends()) == {1}, script.said
        said = re.search(
            r"asr: the loss is not finite in step 1, with the fragments ('f\d+'(, 'f\d+')*); nothing", script.said
        )
        assert said is not None, script.said
        kept = state(tmp_path / folder / "run")
        assert kept["global_step"] == 1
        assert all(weight.isfinite().all() for weight in kept["state_dict"].values())
