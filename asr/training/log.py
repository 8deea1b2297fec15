"""A log of figures that any tool reads: one JSON line per step that was logged."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from asr.files import atomic_write


class JsonLinesLogger(Logger):
    """Appends to a file, so that a resumed run goes on in it.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "jsonl"

    @property
    def version(self) -> str:
        """There is one log in a run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the run's folder holds the configuration."""

    @rank_zero_only
    def forget(self, step: int) -> None:
        """Take back what was logged of steps that were never saved: from ``step`` on; rows without a step stay."""
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return
        kept = [line for line in lines if line.endswith(b"\n") and _before(line, step)]
        if kept != lines:
            with atomic_write(self.path, "wb") as handle:
                handle.writelines(kept)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one line: step, time in seconds since 1970, and the figures."""
        row = {"step": step, "time": round(time.time(), 1)} | {name: float(value) for name, value in metrics.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")


def _before(line: bytes, step: int) -> bool:
    logged = json.loads(line)["step"]
    return logged is None or logged < step
