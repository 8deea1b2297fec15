"""Ray, for more than one machine: worker processes that load the model once each, and whose death loses nothing.

Without ``RAY_ADDRESS`` a Ray of this machine alone is started, which listens on loopback, keeps its files in a private
folder that is removed at the end, and reports to nobody. With it the run joins that cluster, whose machines must find
recordings and model under the same paths.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from asr.archive.blocks import Item, Source
from asr.archive.run import Made, Task
from asr.archive.work import Mark, Settings, Worker
from asr.errors import AsrError, ConfigError, ManifestError, MissingExtraError
from asr.fragment import Fragment

# How often a block is begun again whose worker has died: it may be the block that kills it.
_RETRIES = 3
# Cores of a worker without a GPU, where there are as many.
_CORES = 4
_LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Counters that nobody reads.
    # It warns of how Ray Data itself makes its workers.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_enable_metrics_collection": "0",
    # Its name is history: with 0, addresses are loopback, on Linux too.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


class RayRunner:
    """Ray Data: blocks go to worker processes, and come back in order.

    Args:
        settings: How.
        processes: Number of workers; by default one for each GPU, or for every four cores where there is none.
    """

    def __init__(self, settings: Settings, processes: int | None = None) -> None:
        self._settings = settings
        self._processes = processes

    def start(self) -> float:
        """Load the model here, so that wrong settings are said before any process starts; see `Runner.start`.

        Raises:
            MissingExtraError: Ray is not installed.
            AsrError: As of `Settings.load`.
        """
        _ray()
        return Worker(replace(self._settings, device="cpu")).window

    def run(self, tasks: Iterable[Task], progress: Callable[[int], None]) -> Generator[Made, None, None]:
        """See `Runner.run`.

        Raises:
            AsrError: A worker could not load the model, or died several times over the same block.
        """
        ray = _ray()
        folder = None
        if not (joined := ray.is_initialized()):
            if os.environ.get("RAY_ADDRESS"):
                ray.init(log_to_driver=False, logging_level=logging.ERROR)
            else:
                folder = tempfile.mkdtemp(prefix="asr-ray-")
                ray.init(
                    address="local",
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    num_cpus=self._processes,
                    _temp_dir=folder,
                )
        try:
            for row in self._rows(ray, tasks):
                if row["fault"]:
                    raise AsrError(row["fault"])
                block, _ = _unpacked(row["task"])
                lines = [None if line is None else line.encode() for line in json.loads(row["lines"])]
                yield block, lines
                progress(len(block))
        except ray.exceptions.RayError as error:
            raise AsrError(
                f"a worker died {_RETRIES + 1} times over the same block, or Ray lost it ({type(error).__name__}); "
                "what is written stays: see whether memory is short, choose a smaller batch_seconds, and run it again"
            ) from error
        finally:
            if not joined:
                ray.shutdown()
            if folder is not None:
                _remove(folder)

    def _rows(self, ray: Any, tasks: Iterable[Task]) -> Iterable[dict[str, Any]]:
        import pyarrow

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        have = ray.cluster_resources()
        cpus, gpus = int(have.get("CPU", 1)), int(have.get("GPU", 0))
        processes = self._processes or gpus or max(1, cpus // _CORES)
        if gpus and processes > gpus and self._settings.device != "cpu":
            raise ConfigError(
                f"{processes} processes need a GPU each, and there are {gpus}; choose fewer, or device cpu"
            )
        on_gpu = bool(gpus) and self._settings.device != "cpu"
        # In Ray's store, which moves to disk what does not fit: the driver keeps references alone.
        blocks = [ray.put(pyarrow.table({"task": [_packed(task)]})) for task in tasks]
        if not blocks:
            return
        made = ray.data.from_arrow_refs(blocks).map_batches(
            _Actor,
            batch_size=1,
            fn_constructor_args=(asdict(self._settings), str(Path.cwd())),
            compute=ray.data.ActorPoolStrategy(size=processes),
            num_cpus=1 if on_gpu else max(1, cpus // processes),
            num_gpus=1 if on_gpu else None,
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )
        yield from made.iter_rows()


class _Actor:
    """A worker process: the model, loaded once."""

    def __init__(self, settings: dict[str, Any], folder: str) -> None:
        # Paths are as the user gave them.
        os.chdir(folder)
        self._fault = ""
        try:
            self._worker = Worker(Settings(**settings))
        except AsrError as error:
            self._fault = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Do a block; an error that a user can act on is handed back, because a traceback would hide it."""
        (task,) = batch["task"]
        lines: list[str | None] = []
        fault = self._fault
        if not fault:
            block, known = _unpacked(task)
            lines = [None] * len(block)
            try:
                for place, line in self._worker.lines(block, known):
                    lines[place] = None if line is None else line.decode()
            except AsrError as error:
                fault = str(error)
        return {"task": [task], "lines": [json.dumps(lines)], "fault": [fault]}


def _packed(task: Task) -> str:
    """A block in plain types."""
    items = [
        [_plain(item.source), item.seconds, None if mark is None else [mark.audio, mark.request]]
        for item, mark in zip(*task, strict=True)
    ]
    return json.dumps(items)


def _plain(source: Source) -> dict[str, Any]:
    if isinstance(source, ManifestError):
        return {"error": str(source)}
    return {"fragment": source.to_dict()} if isinstance(source, Fragment) else {"path": source}


def _unpacked(task: str) -> Task:
    items = json.loads(task)
    block = [Item(_source(plain), seconds) for plain, seconds, _ in items]
    return block, [None if mark is None else Mark(*mark) for _, _, mark in items]


def _source(plain: dict[str, Any]) -> Source:
    if "error" in plain:
        return ManifestError(plain["error"])
    return Fragment.from_dict(plain["fragment"]) if "fragment" in plain else str(plain["path"])


def _remove(folder: str) -> None:
    """Remove the folder of a Ray that was shut down, whose processes may still be writing their last lines."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):  # noqa: PTH110
            return
        time.sleep(0.1)


def _ray() -> Any:
    if not os.environ.get("RAY_ADDRESS"):
        os.environ.update(_LOCAL)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("to run on Ray, install the extra: pip install 'dialect-asr[ray]'") from error
    return ray
