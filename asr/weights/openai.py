"""openai-whisper's ``.pt`` files, and this project's checkpoints, which are a superset of them."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from whisper.model import ModelDimensions

from asr.errors import WeightsError
from asr.weights.state import Weights


def read_openai(path: Path) -> Weights:
    """Read ``dims`` and ``model_state_dict`` without running any code the file may carry.

    Raises:
        WeightsError: If it is cut short, no torch file, or not a Whisper model.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} is no readable weights file (cut short, or not saved by torch): {reason}") from None
    if not isinstance(checkpoint, dict) or not {"dims", "model_state_dict"} <= checkpoint.keys():
        raise WeightsError(
            f"{path} is no Whisper model: a file with the entries 'dims' and 'model_state_dict' was expected"
        )
    try:
        dims = ModelDimensions(**checkpoint["dims"])
    except TypeError:
        raise WeightsError(f"{path} is no Whisper model: its entry 'dims' has other sizes") from None
    own = checkpoint.get("dialect_asr")
    heads = own.get("alignment_heads") if isinstance(own, dict) else None
    return Weights(dims, checkpoint["model_state_dict"], heads or None)
