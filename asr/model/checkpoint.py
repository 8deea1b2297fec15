"""The checkpoint file: what stock Whisper loads, plus what this project needs to go on from it.

A checkpoint is one ``.pt`` with ``dims`` and ``model_state_dict``, so that ``whisper.load_model(path)`` takes it, and
an entry of our own, `CheckpointInfo`, made of plain types only, so that ``weights_only=True`` can read it.
"""

from __future__ import annotations

import errno
import pickle
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from whisper.model import ModelDimensions, Whisper

from asr.errors import CheckpointError
from asr.files import atomic_write
from asr.model.adapt import merge_adapters
from asr.model.network import DialectWhisper, Window

FORMAT_VERSION = 1
_ENTRY = "dialect_asr"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself.

    Attributes:
        base_model: Name of the base model it was adapted from.
        window: The window it was trained for.
        margin: Seconds of silence after a fragment in a tight window.
        dialects: Dialect tag to the language it was trained under.
        training_config: The resolved training configuration.
        metrics: Figures measured when it was saved.
        manifests: SHA-256 of every training manifest, by its name in the configuration.
        alignment_heads: (layer, head) pairs used for word times, or empty when unknown.
        format_version: Version of this entry.
    """

    base_model: str
    window: Window = "padded"
    margin: float = 0.5
    dialects: dict[str, str] = field(default_factory=dict)
    training_config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    alignment_heads: list[list[int]] = field(default_factory=list)
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: the model, ready to run, and what the file says about it."""

    model: DialectWhisper
    info: CheckpointInfo


def save_checkpoint(model: DialectWhisper, info: CheckpointInfo, path: str | Path) -> None:
    """Write a checkpoint atomically, in half precision as openai's own files; adapters are merged first.

    Merging changes ``model`` in place: pass a copy when training goes on.

    Raises:
        CheckpointError: If the disk is full; an older file at ``path`` stays as it was.
    """
    merge_adapters(model)
    weights = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in model.whisper.state_dict().items()
        if name != "alignment_heads"
    }
    heads = model.whisper.alignment_heads.to_dense().nonzero().tolist()
    entry = {**asdict(info), "window": model.window, "margin": model.margin, "alignment_heads": heads}
    payload = {"dims": asdict(model.whisper.dims), "model_state_dict": weights, _ENTRY: entry}
    try:
        with atomic_write(path, "wb") as handle:
            torch.save(payload, handle)
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "write" not in str(error):
            raise
        full = isinstance(error, RuntimeError) or error.errno == errno.ENOSPC
        what = "the disk is full" if full else str(error)
        raise CheckpointError(
            f"cannot save the checkpoint {path}: {what}; free some space or choose another folder "
            "(the checkpoint that was there before is untouched)"
        ) from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's raw content with ``weights_only=True``.

    Raises:
        CheckpointError: If the file is missing, cut short, or no Whisper checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; give the path of a .pt file, or train one first")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: it is cut short, damaged, or holds more than plain tensors "
            f"({reason}); copy or save it again"
        ) from error
    if not isinstance(payload, dict) or not {"dims", "model_state_dict"} <= payload.keys():
        raise CheckpointError(f"{path} is no Whisper checkpoint: it has no 'dims' and 'model_state_dict'")
    return payload


def checkpoint_info(payload: dict[str, Any], path: str | Path) -> CheckpointInfo:
    """What a checkpoint's content says about itself; a stock openai file is a padded base model.

    Raises:
        CheckpointError: If the file was written by a newer format version.
    """
    entry = payload.get(_ENTRY)
    if entry is None:
        return CheckpointInfo(base_model=Path(path).stem)
    version = entry.get("format_version", 0)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, this version of the package reads up to {FORMAT_VERSION}; "
            "upgrade dialect-asr"
        )
    known = {item.name for item in fields(CheckpointInfo)}
    return CheckpointInfo(**{key: value for key, value in entry.items() if key in known})


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Load a checkpoint written by `save_checkpoint`, or a stock openai ``.pt`` file.

    Args:
        path: The ``.pt`` file.
        device: Where the weights go, in float32.

    Raises:
        CheckpointError: If the file is missing, cut short, of a newer format, or its weights do not fit its sizes.
    """
    payload = read_checkpoint(path)
    info = checkpoint_info(payload, path)
    try:
        whisper = Whisper(ModelDimensions(**payload["dims"]))
        whisper.load_state_dict(payload["model_state_dict"], strict=True)
    except (TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"the weights in {path} do not fit the sizes it names: {reason}") from error
    if info.alignment_heads:
        mask = torch.zeros(whisper.dims.n_text_layer, whisper.dims.n_text_head, dtype=torch.bool)
        layers, heads = zip(*info.alignment_heads, strict=True)
        mask[list(layers), list(heads)] = True
        whisper.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
    model = DialectWhisper(whisper, info.window, info.margin).to(device)
    return Checkpoint(model.eval(), info)
