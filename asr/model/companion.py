"""The file beside an exported model: all that other runtimes do not know of a checkpoint, and its encoder.

One safetensors file. Its header holds the sizes and the `CheckpointInfo` as JSON; its tensors are the weights of the
heads and, where the engine is to hear by itself (`asr.inference.engines.ctranslate2`), those of the encoder.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from whisper.model import AudioEncoder, ModelDimensions, ResidualAttentionBlock, Whisper

from asr.errors import CheckpointError
from asr.files import atomic_write
from asr.model.info import Checkpoint, info_of, read_info
from asr.model.network import DialectWhisper

COMPANION = "dialect_asr.safetensors"
"""Its name in the folder of an export."""

_ENCODER, _HEADS = "encoder.", "heads."


def write_companion(checkpoint: Checkpoint, path: str | Path, *, encoder: bool) -> None:
    """Write what an exported model lacks, atomically; weights in half precision, those of heads as they are.

    Args:
        checkpoint: That was exported.
        path: The file.
        encoder: Whether the encoder's weights are to lie in it too.

    Raises:
        CheckpointError: The info holds more than plain values.
    """
    model = checkpoint.model
    tensors = {
        f"{_HEADS}{name}.{key}": tensor.detach().cpu().contiguous()
        for name, head in model.heads.items()
        for key, tensor in head.state_dict().items()
    }
    if encoder:
        for key, tensor in model.whisper.encoder.state_dict().items():
            tensors[_ENCODER + key] = tensor.detach().to("cpu", torch.float16).contiguous()
    header = {
        "dims": json.dumps(asdict(model.whisper.dims)),
        "info": json.dumps(info_of(model, checkpoint.info, path)),
    }
    with atomic_write(path, "wb") as handle:
        handle.write(save(tensors, header))


def read_companion(path: str | Path, whisper: Whisper | None = None) -> Checkpoint:
    """Read what an exported model lacks.

    Args:
        path: The file.
        whisper: The model that was exported; without it, the encoder is taken from the file, and there is no decoder,
            because another runtime has it.

    Returns:
        A checkpoint in evaluation mode, on the CPU in float32.

    Raises:
        CheckpointError: The file is missing, damaged, of a newer format, or does not fit the model.
    """
    path = Path(path)
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        info = read_info(json.loads(header["info"]), path)
        if whisper is None:
            whisper = _encoder_alone(json.loads(header["dims"]), tensors)
        model = DialectWhisper(whisper, info.window, info.margin, info.tail)
        model.set_heads(info.heads)
        for name in info.heads:
            model.head(name).load_state_dict(_part(tensors, f"{_HEADS}{name}."))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror or error}); export the checkpoint again"
        ) from None
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is damaged or does not belong to the model beside it ({first}); export the checkpoint again"
        ) from None
    return Checkpoint(model.eval(), info)


def _encoder_alone(dims: dict[str, int], tensors: dict[str, Tensor]) -> Whisper:
    """A Whisper that states its sizes, but of which there is only the encoder."""
    sizes = ModelDimensions(**dims)
    whisper = Whisper(replace(sizes, n_audio_layer=0, n_text_layer=0, n_vocab=1))
    whisper.encoder = AudioEncoder(sizes.n_mels, sizes.n_audio_ctx, sizes.n_audio_state, sizes.n_audio_head, 0)
    # No time for random weights. All of the encoder made like that would load torch's compiler, which takes longer.
    with torch.device("meta"):
        whisper.encoder.blocks.extend(
            ResidualAttentionBlock(sizes.n_audio_state, sizes.n_audio_head) for _ in range(sizes.n_audio_layer)
        )
    state = {key: tensor.float() for key, tensor in _part(tensors, _ENCODER).items()}
    whisper.encoder.load_state_dict(state, assign=True)
    whisper.dims = sizes
    return whisper


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
