"""The checkpoint file: what stock Whisper loads, plus what this project needs to go on from it.

A checkpoint is one ``.pt`` with ``dims`` and ``model_state_dict``, so that ``whisper.load_model(path)`` takes it, and
an entry of our own, `CheckpointInfo`, made of plain types only, so that ``weights_only=True`` can read it.
"""

from __future__ import annotations

import copy
import errno
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import whisper
from torch import nn

from asr.errors import CheckpointError, WeightsError
from asr.files import atomic_write
from asr.model.adapt import has_adapters, merge_adapters
from asr.model.companion import COMPANION, read_companion
from asr.model.info import Checkpoint, CheckpointInfo, info_of, read_info
from asr.model.network import DialectWhisper
from asr.sums import check_model
from asr.weights import load_base_model
from asr.weights.openai import HEADS_ENTRY, OWN_ENTRY, read_openai
from asr.weights.state import build_model

__all__ = ["Checkpoint", "CheckpointInfo", "load_checkpoint", "save_checkpoint", "write_torch"]


def save_checkpoint(model: DialectWhisper, info: CheckpointInfo, path: str | Path) -> None:
    """Write a checkpoint atomically, in half precision as openai's own files, adapters merged into the weights.

    ``model`` stays as it is, so that training can go on.

    Raises:
        CheckpointError: If a weight is not finite, ``info`` holds more than plain values, or the file cannot be
            written; an older file at ``path`` stays as it was.
    """
    if has_adapters(model):
        # Copied in the computer's memory: that of a GPU may not hold the weights twice.
        own = {
            id(one): nn.Parameter(one.detach().to("cpu", copy=True), one.requires_grad) for one in model.parameters()
        }
        model = copy.deepcopy(model, own).cpu()
        merge_adapters(model)
    weights = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in model.whisper.state_dict().items()
    }
    head_weights = {
        name: {key: tensor.detach().cpu().contiguous() for key, tensor in head.state_dict().items()}
        for name, head in model.heads.items()
    }
    weighed = [weights, *head_weights.values()]
    broken = [name for table in weighed for name, tensor in table.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"cannot save the checkpoint {path}: {len(broken)} of its {sum(map(len, weighed))} tensors hold values "
            f"that are not finite in half precision, {broken[0]} for one; the training diverged: go on from an earlier "
            "checkpoint with a lower learning rate"
        )
    payload = {
        "dims": asdict(model.whisper.dims),
        "model_state_dict": weights,
        OWN_ENTRY: info_of(model, info, path),
    }
    if head_weights:
        payload[HEADS_ENTRY] = head_weights
    write_torch(payload, path)


def write_torch(payload: dict[str, Any], path: str | Path) -> None:
    """Write with ``torch.save``, whole or not at all.

    Raises:
        CheckpointError: If the disk is full or the folder cannot be written; an older file at ``path`` stays as it was.
    """
    try:
        with atomic_write(path, "wb") as handle:
            torch.save(payload, handle)
    except (OSError, RuntimeError) as error:
        # torch's writer trips over the file that it could not write to the end, and hides the reason behind that.
        reason = error.__context__ if isinstance(error, RuntimeError) else error
        if not isinstance(reason, OSError):
            raise
        full = reason.errno in (errno.ENOSPC, errno.EDQUOT)
        raise CheckpointError(
            f"cannot save {path}: {'the disk is full' if full else reason.strerror}; free some space or choose another "
            "folder (an older file of that name is untouched)"
        ) from error


def load_checkpoint(name_or_path: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Load a checkpoint of this project, or a base model, which runs padded.

    Args:
        name_or_path: A ``.pt`` written by `save_checkpoint`, or anything `asr.weights.load_base_model` takes: a name
            such as ``base``, an openai ``.pt``, a Hugging Face folder, a CTranslate2 folder. A folder that `asr export`
            made has its heads, its window and all else again.
        device: Where the weights go, in float32.

    Returns:
        The model in evaluation mode, and what the file says about itself; for a base model only its name.

    Raises:
        CheckpointError: If a file is missing, cut short, of a newer format, or its weights do not fit its sizes.
        WeightsError: If a named base model is found nowhere, or a folder holds none.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name not in whisper.available_models() and path.is_dir():
        check_model(path)
    if name in whisper.available_models():
        model, info = DialectWhisper(load_base_model(name)), CheckpointInfo(base_model=name)
    elif (path / COMPANION).is_file():
        exported = read_companion(path / COMPANION, load_base_model(path))
        model, info = exported.model, exported.info
    elif path.is_dir():
        model, info = DialectWhisper(load_base_model(path)), CheckpointInfo(base_model=path.resolve().name)
    else:
        model, info = _load_file(path)
    return Checkpoint(model.to(device).eval(), info)


def _load_file(path: Path) -> tuple[DialectWhisper, CheckpointInfo]:
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint '{path}': it is no file or folder, and no base model, whose names are "
            + ", ".join(whisper.available_models())
        )
    try:
        weights = read_openai(path)
        info = CheckpointInfo(base_model=path.stem) if weights.own is None else read_info(weights.own, path)
        network = build_model(weights, path)
        # Files of others may hold no checksums; ours do, and torch does not look at them.
        if weights.own is not None and not _is_undamaged(path):
            raise WeightsError(f"{path} is damaged: its content does not have the checksums that it was saved with")
    except WeightsError as error:
        raise CheckpointError(f"{error}; copy or save the checkpoint again") from error
    if weights.own is None:
        return DialectWhisper(network), info
    model = DialectWhisper(network, info.window, info.margin, info.tail)
    model.set_heads(info.heads)
    try:
        for name in info.heads:
            model.head(name).load_state_dict(weights.heads[name])  # type: ignore[index]  # unchecked so far
    except (KeyError, TypeError, RuntimeError, AttributeError):
        raise CheckpointError(
            f"{path} was not saved by this package, or was changed: the weights of its head {name!r} are missing or of "
            "other sizes; save the checkpoint again"
        ) from None
    return model, info


def _is_undamaged(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # as for a damaged pickle, the kind depends on the byte that was hit
        return False
