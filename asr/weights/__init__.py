"""Base models: from a name (cache, installed packages, download) or a path (openai, Hugging Face, CTranslate2).

    from asr.weights import load_base_model
    model = load_base_model("base")

Every named source is checked by SHA-256. Weights are converted without loss; the model runs in float32.
"""

from __future__ import annotations

from pathlib import Path

import whisper
from whisper.model import Whisper

from asr.errors import WeightsError
from asr.weights.ctranslate2 import read_ctranslate2
from asr.weights.huggingface import read_huggingface
from asr.weights.openai import read_openai
from asr.weights.sources import default_cache_dir, find_weights
from asr.weights.state import Weights, build_model

__all__ = ["default_cache_dir", "load_base_model"]


def load_base_model(name_or_path: str | Path, *, device: str = "cpu", cache_dir: str | Path | None = None) -> Whisper:
    """Load a base model in float32, ready for word times (its alignment heads are set).

    Args:
        name_or_path: A name such as ``base`` or ``tiny.en`` (a name wins over a path of the same spelling), an openai
            ``.pt`` or a checkpoint of this project, a Hugging Face Whisper folder, or a CTranslate2 folder.
        device: Where the model goes.
        cache_dir: Where named models are kept; by default the folder of the ``whisper`` command.

    Returns:
        The model, in evaluation mode.

    Raises:
        WeightsError: If nothing usable was found; the message lists everything tried and what to do.
    """
    name = str(name_or_path)
    if name in whisper.available_models():
        cache = default_cache_dir() if cache_dir is None else Path(cache_dir)
        weights, source = find_weights(name, cache)
        model = build_model(weights, source)
        model.set_alignment_heads(whisper._ALIGNMENT_HEADS[name])
    else:
        model = build_model(_read_path(Path(name).expanduser()), name)
    return model.to(device).eval()


def _read_path(path: Path) -> Weights:
    """Read weights from a file or folder; what is in it decides the format."""
    if path.is_file():
        return read_openai(path)
    if (path / "model.bin").is_file():
        return read_ctranslate2(path)
    if (path / "config.json").is_file():
        return read_huggingface(path)
    if path.is_dir():
        raise WeightsError(
            f"{path} is a folder without weights: expected config.json with model.safetensors (Hugging Face) "
            "or model.bin (CTranslate2)"
        )
    raise WeightsError(
        f"no base model '{path}': it is no file or folder, and no name; names are "
        + ", ".join(whisper.available_models())
    )
