"""Speech recognition that learns dialects from annotated voice fragments.

What a user calls is importable from here, and loaded when it is first asked for: ``import asr`` loads no torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr.fragment import Fragment, read_manifest
    from asr.inference.transcriber import Transcriber
    from asr.model.checkpoint import load_checkpoint
    from asr.transcript import Transcript

# Since 1.29 onnxruntime, which tracks pitch and detects speech here, sends its maker events and a device's id unless it
# is told not to before it is loaded. Nothing of a machine that hears people's voices goes anywhere.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# The same of MLflow, to which a training may log.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# On a processor torch keeps what oneDNN has prepared for a shape, megabytes each, of the last 1 024 shapes, and oneDNN
# does so once more. Hardly two batches of speech have one shape, so that a process would grow with each.
os.environ.setdefault("LRU_CACHE_CAPACITY", "256")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")

__all__ = ["Fragment", "Transcriber", "Transcript", "load_checkpoint", "read_manifest"]

_HOMES = {
    "Fragment": "asr.fragment",
    "Transcriber": "asr.inference.transcriber",
    "Transcript": "asr.transcript",
    "load_checkpoint": "asr.model.checkpoint",
    "read_manifest": "asr.fragment",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'asr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
