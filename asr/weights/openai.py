"""openai-whisper's ``.pt`` files, and this project's checkpoints, which are a superset of them."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from whisper.model import ModelDimensions

from asr.errors import WeightsError
from asr.weights.state import Weights

OWN_ENTRY = "dialect_asr"
"""The entry that this project's checkpoints have beside openai's: plain values."""

HEADS_ENTRY = "dialect_asr_heads"
"""The weights of their heads, by the head's name."""


def read_openai(path: Path) -> Weights:
    """Read ``dims``, ``model_state_dict`` and our own entry without running any code the file may carry.

    Raises:
        WeightsError: If it is cut short, no torch file, or not a Whisper model.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # torch's own text advises to switch the protection off.
        raise WeightsError(
            f"{path} is no readable weights file: it is damaged, was not saved by torch, or holds more than plain "
            "tensors and values (code, for one, which is never run)"
        ) from None
    except Exception as error:
        # What a damaged pickle raises depends on the byte that was hit: IndexError, TypeError, AttributeError, ...
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
    own = checkpoint.get(OWN_ENTRY)
    heads = own.get("alignment_heads") if isinstance(own, dict) else None
    return Weights(dims, checkpoint["model_state_dict"], heads or None, own, checkpoint.get(HEADS_ENTRY))
