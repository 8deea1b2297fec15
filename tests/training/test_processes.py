"""Real runs of ``scripts/train.py`` in processes of their own: killed, stopped, two at a time, and left alone by one."""

from __future__ import annotations

import json
import os
import random
import resource
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.fragment import read_manifest, write_manifest
from asr.model.checkpoint import load_checkpoint
from asr.model.heads import HeadSpec
from asr.training.task import TranscriptionTask

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
# Processes that begin with all imports done: a run takes a second instead of ten.
READY = get_context("forkserver")
READY.set_forkserver_preload(["asr.build", "asr.config", "hydra", "lightning.pytorch", "whisper.tokenizer"])
OPTIONS = (
    "trainer=cpu", "trainer.threads=1", "trainer.log_every=1", "trainer.validate_every=3", "trainer.save_every=2",
    "trainer.max_steps=9", "trainer.accumulate=2", "trainer.keep_best=2", "trainer.monitor=dev/loss",
    "data.batch_seconds=2", "data.workers=0", "optim.lr=1e-3", "optim.warmup_steps=2", "adapter=lora",
)  # fmt: skip


def _script(arguments: tuple[str, ...], folder: Path, environment: dict[str, str], limit: int | None) -> None:
    """The body of a process: the script as it is typed, its output in a file."""
    os.chdir(folder)
    os.environ.update(environment)
    output = os.open(environment["OUTPUT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = [str(SCRIPT), *arguments]
    torch.set_num_threads(1)
    runpy.run_path(str(SCRIPT), run_name="__main__")


class Script:
    """``scripts/train.py`` in some processes, as torchrun starts them when there are several."""

    def __init__(self, folder: Path, *arguments: str, processes: int = 1, limit: int | None = None) -> None:
        self.outputs = [folder / f"output{number}.txt" for number in range(processes)]
        names = ("ASR_RECORD", "ASR_TOMBSTONES", "ASR_USER")
        common = {name: os.environ[name] for name in names} | {"OMP_NUM_THREADS": "1"}
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


Case = Callable[..., list[str]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all the runs, with the environment that they share."""
    return tmp_path_factory.mktemp("lab")


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
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


def assert_same(one: Any, two: Any, place: str = "") -> None:
    """Equal bit for bit, however deep."""
    assert type(one) is type(two), place
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
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "FragmentData", "global_step", "fragments"):
        assert_same(ends[0][part], ends[1][part], part)
    kept = [{name: own for name, own in end["callbacks"].items() if "Tqdm" not in name} for end in ends]
    assert_same(kept[0], kept[1], "callbacks")
    assert log(one) == log(two)
    files = [sorted(path.name for path in (folder / "checkpoints").iterdir()) for folder in (one, two)]
    assert files[0] == files[1]


def killed_again_and_again(folder: Path, given: list[str], seed: int, processes: int = 1) -> int:
    """Run to the end, killed with -9 at random moments on the way; give the number of kills."""
    chance = random.Random(seed)
    kills = 0
    for _ in range(30):
        more = [f"resume={folder}"] if (folder / "checkpoints/last.state").exists() else [*given, f"run={folder}"]
        before = len(log(folder)) if (folder / "log.jsonl").exists() else 0
        script = Script(folder.parent, *more, processes=processes)
        # Lines of the log come four a step or so; a kill falls before, in or after what they tell.
        until, patience = before + chance.randint(1, 8), time.monotonic() + 60
        wait = chance.uniform(0, 0.05)
        while script.processes[0].is_alive() and time.monotonic() < patience:
            if kills < 3 and (folder / "log.jsonl").exists() and len(log(folder)) >= until:
                time.sleep(wait)
                for process in script.processes:
                    process.kill()
                kills += 1
                break
            time.sleep(0.005)
        codes = script.ends()
        if codes == [0] * processes:
            return kills
        assert set(codes) == {-signal.SIGKILL}, script.said
    raise AssertionError("it never came to its end")


def test_killed_at_random_moments_equals_never_killed(given: list[str], tmp_path: Path) -> None:
    given += ["trainer.patience=9", "heads=dialect", "heads.least=2"]
    whole = Script(tmp_path, *given, "run=whole")
    assert whole.ends() == [0], whole.said
    assert killed_again_and_again(tmp_path / "killed", given, seed=1) >= 2
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_two_processes_killed_equal_two_never_killed(given: list[str], tmp_path: Path) -> None:
    given += ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    whole = Script(tmp_path, *given, "run=whole", processes=2)
    assert whole.ends() == [0, 0], whole.said
    assert killed_again_and_again(tmp_path / "killed", given, seed=2, processes=2) >= 2
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
