"""The checkpoint file: what stock Whisper loads, plus what this project needs to go on from it.

A checkpoint is one ``.pt`` with ``dims`` and ``model_state_dict``, so that ``whisper.load_model(path)`` takes it, and
an entry of our own, `CheckpointInfo`, made of plain types only, so that ``weights_only=True`` can read it.
"""

from __future__ import annotations

import copy
import errno
import zipfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import whisper
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from asr.errors import CheckpointError, WeightsError
from asr.files import atomic_write
from asr.model.adapt import has_adapters, merge_adapters
from asr.model.heads import HeadSpec
from asr.model.network import DialectWhisper, Window
from asr.weights import load_base_model
from asr.weights.openai import HEADS_ENTRY, OWN_ENTRY, read_openai
from asr.weights.state import build_model

FORMAT_VERSION = 1


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself; window, margin and alignment heads are always those of the saved model.

    Attributes:
        base_model: Name of the base model it was adapted from.
        window: The window it was trained for.
        margin: Seconds of silence after a fragment in a tight window.
        dialects: Dialect tag to the language it was trained under.
        tags: Dialects that the decoder was told in training, and can be told since.
        training_config: The resolved training configuration.
        metrics: Figures measured when it was saved.
        manifests: SHA-256 of every training manifest, by its name in the configuration.
        alignment_heads: (layer, head) pairs used for word times; filled in when it is saved.
        heads: What each head answers; filled in when it is saved.
        format_version: Version of this entry.
    """

    base_model: str
    window: Window = "padded"
    margin: float = 0.5
    dialects: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    training_config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    alignment_heads: list[list[int]] = field(default_factory=list)
    heads: dict[str, HeadSpec] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


_INFO = TypeAdapter(CheckpointInfo)


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: the model, ready to run, and what the file says about it."""

    model: DialectWhisper
    info: CheckpointInfo


def save_checkpoint(model: DialectWhisper, info: CheckpointInfo, path: str | Path) -> None:
    """Write a checkpoint atomically, in half precision as openai's own files, adapters merged into the weights.

    ``model`` stays as it is, so that training can go on.

    Raises:
        CheckpointError: If a weight is not finite, ``info`` holds more than plain values, or the file cannot be
            written; an older file at ``path`` stays as it was.
    """
    if has_adapters(model):
        model = copy.deepcopy(model)
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


def info_of(model: DialectWhisper, info: CheckpointInfo, path: str | Path) -> dict[str, Any]:
    """Return what a file is to say about itself, as plain types.

    Args:
        model: Whose window, margin, alignment heads and heads count.
        info: All else.
        path: Of the file, for messages.

    Raises:
        CheckpointError: ``info`` holds more than plain values.
    """
    heads = model.whisper.alignment_heads.to_dense().nonzero().tolist()
    specs = {name: model.head(name).spec for name in model.heads}
    info = replace(info, window=model.window, margin=model.margin, alignment_heads=heads, heads=specs)
    try:
        entry: dict[str, Any] = _INFO.dump_python(info, mode="json")
    except PydanticSerializationError as error:
        raise CheckpointError(
            f"cannot save the checkpoint {path}: its metrics or training configuration hold more than numbers, texts, "
            f"lists and dictionaries ({error}); convert them first"
        ) from error
    return entry


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
            such as ``base``, an openai ``.pt``, a Hugging Face folder, a CTranslate2 folder.
        device: Where the weights go, in float32.

    Returns:
        The model in evaluation mode, and what the file says about itself; for a base model only its name.

    Raises:
        CheckpointError: If a file is missing, cut short, of a newer format, or its weights do not fit its sizes.
        WeightsError: If a named base model is found nowhere, or a folder holds none.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name in whisper.available_models():
        model, info = DialectWhisper(load_base_model(name)), CheckpointInfo(base_model=name)
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
    model = DialectWhisper(network, info.window, info.margin)
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


def read_info(entry: object, path: Path) -> CheckpointInfo:
    """Check what a file says about itself.

    Raises:
        CheckpointError: It is of a newer format, or was not written by this package.
    """
    version = entry.get("format_version") if isinstance(entry, dict) else None
    if isinstance(version, int) and version < 1:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, which no version of this package has written; save it again"
        )
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, this version of the package reads up to {FORMAT_VERSION}; "
            "upgrade dialect-asr"
        )
    try:
        return _INFO.validate_python(entry)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (OWN_ENTRY, *first["loc"])))
        raise CheckpointError(
            f"{path} was not saved by this package, or was changed: {where}: {first['msg']}; save the checkpoint again"
        ) from None
