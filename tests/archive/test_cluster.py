"""Ray: the same lines as of this process, a dead worker's blocks done again, and nobody told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from asr.archive.blocks import Item
from asr.archive.cluster import _packed, _unpacked
from asr.archive.output import Output
from asr.archive.run import LocalRunner, transcribe_archive
from asr.archive.work import Mark, Settings
from asr.cli.jobs import find_sources
from asr.errors import ManifestError
from asr.fragment import Fragment

SCRIPT = Path(__file__).parents[2] / "scripts" / "transcribe.py"


def test_a_block_travels_whole() -> None:
    fragment = Fragment(id="f", audio="/a.wav", text="\u00e9", language="fr", start=1.5, custom={"k": [1]})
    block = [Item(fragment, 2.0), Item("caf\udce9.wav", 0.1), Item(ManifestError("broken", "m.jsonl", 3), 0.0)]
    known = [Mark("a", "r"), None, Mark(None, "r")]
    back, marks = _unpacked(_packed((block, known)))
    assert (back[:2], marks) == (block[:2], known)
    assert str(back[2].source) == "broken (m.jsonl:3)" and isinstance(back[2].source, ManifestError)


def descendants(root: int) -> dict[int, str]:
    """Process ids under one, with their names."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                names[int(folder.name)] = (folder / "cmdline").read_text().split("\0")[0]
            except OSError:
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {root}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: names.get(child, "") for child in found - {root}}


def listening(processes: set[int]) -> set[str]:
    """Addresses, as the kernel writes them, on which these processes listen."""
    sockets = set()
    for process in processes:
        for link in Path(f"/proc/{process}/fd").glob("*"):
            try:
                sockets.add(str(link.readlink()))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = row.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in sockets:
                found.add(cells[1].rpartition(":")[0])
    return found


# Ray starts in seconds where there is a core for it, and in minutes where there is none.
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_dead_workers_blocks_are_done_again(archive: Path, settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    # Enough of it to be at work when the worker dies.
    *good, broken = archive.read_text().splitlines(keepends=True)
    more = [line.replace('"id": "f', f'"id": "f{copy}-') for copy in range(3) for line in good if "gone" not in line]
    archive.write_text("".join([*good, *more, broken]))
    # As many threads as the workers have: on some machines their number changes a last digit.
    alone = replace(settings, threads=1)
    with Output(tmp_path / "whole.jsonl") as lines:
        transcribe_archive(
            partial(find_sources, [archive]), lines, alone, LocalRunner(alone), lambda items, tally: None
        )
    command = [sys.executable, SCRIPT, f"inputs=[{archive}]", f"checkpoint={settings.model}", "batch_seconds=0.5"]
    command += ["engine=ray", "processes=2", f"output={tmp_path / 'ray.jsonl'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    # Not under tmp_path, whose name is too long for Ray's sockets.
    folder = Path(tempfile.mkdtemp())
    environment["TMPDIR"] = str(folder)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    family, workers = {}, []
    while len(workers) < 2 or not (tmp_path / "ray.jsonl").exists() or not (tmp_path / "ray.jsonl").stat().st_size:
        assert process.poll() is None, process.communicate()[1]
        if len(workers) < 2:
            family = descendants(process.pid)
            workers = [child for child, name in family.items() if name.startswith("ray::MapWorker")]
        time.sleep(0.01)
    os.kill(workers[0], signal.SIGKILL)
    assert (tmp_path / "ray.jsonl").stat().st_size < (tmp_path / "whole.jsonl").stat().st_size
    assert listening({process.pid, *family}) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    _, stderr = process.communicate()
    assert process.returncode == 1, stderr
    assert "runner=ray" in stderr and "2 failed (1 audio, 1 manifest)" in stderr
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    # What torch puts there is its own.
    assert not list(folder.glob("asr-ray-*"))
    shutil.rmtree(folder)
    until = time.monotonic() + 60
    while left := [child for child in workers if Path(f"/proc/{child}").exists()]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


def test_ray_is_not_imported_unless_asked_for() -> None:
    code = "import asr.cli, asr.archive.cluster, sys; print(sorted({'ray', 'pyarrow', 'torch'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
