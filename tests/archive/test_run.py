"""Kills at any moment, changes between runs, and threads: the file is what it would have been."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.archive.blocks import Block
from asr.archive.output import Output
from asr.archive.run import LocalRunner, transcribe_archive
from asr.archive.tally import Tally
from asr.archive.work import Mark, Settings, Worker
from asr.cli.jobs import find_sources
from asr.errors import ConfigError


def run(inputs: list[Path], output: Path, settings: Settings) -> Tally:
    with Output(output) as lines:
        return transcribe_archive(
            partial(find_sources, inputs), lines, settings, LocalRunner(settings), lambda items, tally: None
        )


def test_any_number_of_kills_changes_nothing(archive: Path, settings: Settings, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    transcribe = [sys.executable, "-m", "asr", "transcribe", archive, "--model", settings.model, "--device", "cpu"]
    transcribe += ["--batch-seconds", "0.5", "--output"]
    # In a process of its own too: what ran in this one before can change a last digit.
    assert subprocess.run([*transcribe, whole], stderr=subprocess.DEVNULL, check=False).returncode == 1
    command = [*transcribe, killed]
    chance = random.Random(0)
    sizes = []
    for _ in range(3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        before = killed.stat().st_size if killed.exists() else 0
        while process.poll() is None and (killed.stat().st_size if killed.exists() else 0) <= before:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
        sizes.append(killed.stat().st_size)
    assert 0 < sizes[0] < whole.stat().st_size
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 1
    assert killed.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("killed.jsonl.*"))


def test_a_kill_between_any_two_writes_changes_nothing(
    archive: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a run in which lines of an earlier one are put aside and taken over."""
    old, whole, killed = (tmp_path / f"{name}.jsonl" for name in ("old", "whole", "killed"))
    run([archive], old, settings)
    lines = archive.read_text().splitlines()
    archive.write_text("\n".join([lines[5], *lines[:5], *lines[8:]]) + "\n")
    shutil.copy(old, whole)
    run([archive], whole, settings)
    assert whole.read_bytes() != old.read_bytes()
    shutil.copy(old, killed)

    class Killed(BaseException):
        pass

    for moment in range(1, 100):
        left = [moment]

        def dying(real, *arguments, left=left, **options):  # type: ignore[no-untyped-def]
            left[0] -= 1
            if not left[0]:
                raise Killed
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            for target, name in ((os, "fsync"), (Path, "unlink"), (Path, "replace")):
                real = getattr(target, name)
                patch.setattr(target, name, lambda *a, real=real, dying=dying, **k: dying(real, *a, **k))
            try:
                run([archive], killed, settings)
                break
            except Killed:
                pass
    assert moment > 5
    run([archive], killed, settings)
    assert killed.read_bytes() == whole.read_bytes()


def test_threads_change_nothing_and_batches_do(archive: Path, settings: Settings, tmp_path: Path) -> None:
    for name, own in {
        "one": replace(settings, workers=1),
        "four": replace(settings, workers=4),
        "big": replace(settings, batch_seconds=4),
    }.items():
        run([archive], tmp_path / f"{name}.jsonl", own)
    one, four, big = ((tmp_path / f"{name}.jsonl").read_bytes() for name in ("one", "four", "big"))
    assert one == four
    # Else the blocks of the other tests would prove nothing.
    assert one != big


def test_only_what_changed_is_done_again(
    archive: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.jsonl"
    first = run([archive], out, settings)
    assert (first.transcribed, first.kept, dict(first.failures)) == (24, 0, {"audio": 1, "manifest": 1})
    heard: list[str] = []
    lines = Worker.lines

    def watched(self: Worker, block: Block, known: list[Mark | None]) -> Iterator[tuple[int, bytes | None]]:
        for place, line in lines(self, block, known):
            if line is not None:
                heard.append(json.loads(line)["id"])
            yield place, line

    monkeypatch.setattr(Worker, "lines", watched)
    before = out.read_bytes()
    assert run([archive], out, settings).kept == 24 and not heard and out.read_bytes() == before
    soundfile.write(archive.parent / "audio/3.wav", 0.1 * np.random.default_rng(9).standard_normal(9000), 16000)
    shutil.copy(archive.parent / "audio/1.wav", archive.parent / "gone.wav")
    rows = [json.loads(row) for row in archive.read_text().splitlines()[:-1]]
    rows[9]["dialect"] = "fr-CA"
    rows[20], rows[21] = rows[21], rows[20]
    rows.append({**rows[0], "id": "new"})
    archive.write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    last = run([archive], out, settings)
    assert sorted(heard) == ["f3", "f8", "gone", "new"] and (last.transcribed, last.kept, last.failed) == (4, 21, 0)
    found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [line["id"] for line in found] == [row["id"] for row in rows[1:]]
    heard.clear()
    # Moved elsewhere, nothing changed but the path.
    shutil.copytree(archive.parent / "audio", tmp_path / "moved/audio")
    shutil.copy(archive.parent / "gone.wav", tmp_path / "moved/gone.wav")
    shutil.copy(archive, tmp_path / "moved/archive.jsonl")
    run([tmp_path / "moved/archive.jsonl"], out, settings)
    assert not heard
    assert all(str(tmp_path / "moved") in json.loads(line)["audio"] for line in out.read_text("utf-8").splitlines())


def test_a_file_of_other_items_is_kept(archive: Path, settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "x.jsonl"
    run([archive.parent / "audio"], out, settings)
    before = out.read_bytes()
    with pytest.raises(ConfigError, match="none of these items"):
        run([archive], out, settings)
    assert out.read_bytes() == before
