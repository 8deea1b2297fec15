"""A checkpoint as a file of whisper.cpp.

The file, little-endian: u32 magic, 11 i32 sizes; the mel filters: i32 rows and columns, float32; the text tokens: i32
count, then of each i32 length and its bytes; then of each tensor i32 rank, length of its name, type (0 float32, 1
float16), its i32 sizes from the last to the first, its name, its data. What whisper.cpp calculates with in float32
(vectors, position embeddings) is stored so, all else in half precision.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

import torch
from torch import Tensor
from whisper.audio import mel_filters

from asr.export.vocabulary import vocabulary_of
from asr.model.checkpoint import Checkpoint
from asr.model.companion import COMPANION, write_companion

GGML_MODEL = "ggml-model.bin"
"""Name of the file in the folder of an export."""

_MAGIC = 0x67676D6C
_FLOAT32, _FLOAT16 = 0, 1
_MOSTLY_FLOAT16 = 1


def write_ggml(checkpoint: Checkpoint, folder: Path) -> None:
    """Fill a folder: the file for whisper.cpp, and beside it what whisper.cpp does not know.

    Args:
        checkpoint: What is exported.
        folder: An empty folder.

    Raises:
        CheckpointError: Its vocabulary is not Whisper's.
    """
    model = checkpoint.model.whisper
    dims, tokens = model.dims, vocabulary_of(model).tokens
    filters = mel_filters("cpu", dims.n_mels)
    with (folder / GGML_MODEL).open("wb") as file:
        file.write(
            struct.pack(
                "<I11i",
                _MAGIC,
                dims.n_vocab,
                dims.n_audio_ctx,
                dims.n_audio_state,
                dims.n_audio_head,
                dims.n_audio_layer,
                dims.n_text_ctx,
                dims.n_text_state,
                dims.n_text_head,
                dims.n_text_layer,
                dims.n_mels,
                _MOSTLY_FLOAT16,
            )
        )
        file.write(struct.pack("<2i", *filters.shape))
        file.write(_bytes(filters.float()))
        file.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            file.write(struct.pack("<i", len(token)) + token)
        for name, tensor in model.state_dict().items():
            _write(file, name, tensor.detach().cpu())
    write_companion(checkpoint, folder / COMPANION, encoder=False)


def _write(file: IO[bytes], name: str, tensor: Tensor) -> None:
    whole = tensor.dim() == 1 or name.endswith("positional_embedding")
    if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
        tensor = tensor[:, None]
    tensor = tensor.to(torch.float32 if whole else torch.float16)
    spelt = name.encode()
    file.write(struct.pack("<3i", tensor.dim(), len(spelt), _FLOAT32 if whole else _FLOAT16))
    file.write(struct.pack(f"<{tensor.dim()}i", *reversed(tensor.shape)))
    file.write(spelt)
    file.write(_bytes(tensor))


def _bytes(tensor: Tensor) -> bytes:
    array = tensor.contiguous().numpy()
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
