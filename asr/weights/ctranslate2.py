"""CTranslate2's ``model.bin``: its reader, and its tensors under openai-whisper's names.

The file: u32 format, string spec, u32 revision, u32 count, then per tensor a string name, u8 rank, u32 sizes, u8 type,
u32 bytes and the data; then u32 count and pairs of strings, the aliases. A string is u16 length, bytes, a zero byte.
Little-endian throughout.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from asr.errors import WeightsError
from asr.weights.state import Weights, dims_of

_FORMATS = (5, 6)
_DTYPES = {
    0: torch.float32,
    1: torch.int8,
    2: torch.int16,
    3: torch.int32,
    4: torch.float16,
    5: torch.bfloat16,
}
_NORMS = {"gamma": "weight", "beta": "bias"}


def read_ctranslate2(folder: Path) -> Weights:
    """Read a Whisper model from a CTranslate2 folder (``model.bin``, ``config.json``).

    Raises:
        WeightsError: If a file is missing, cut short, of another kind of model, or quantised to integers.
    """
    path = folder / "model.bin"
    try:
        with path.open("rb") as handle:
            # A private copy-on-write map: torch wants writable memory, the file stays as it is.
            buffer = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)
        config = json.loads((folder / "config.json").read_bytes()) if (folder / "config.json").is_file() else {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder} is no readable CTranslate2 model: {error}") from None
    weights = parse_model_bin(buffer, path)
    return Weights(weights.dims, weights.state, config.get("alignment_heads"))


def parse_model_bin(buffer: mmap.mmap | bytearray, source: object) -> Weights:
    """Convert the content of a ``model.bin``; the tensors share the buffer's memory.

    Args:
        buffer: The whole file.
        source: Where it comes from, for messages.

    Raises:
        WeightsError: If it is cut short, of another kind of model, or quantised to integers.
    """
    try:
        tensors = _Reader(buffer, source).tensors()
        if any(name.endswith("/weight_scale") for name in tensors):
            raise WeightsError(f"{source} is quantised to integers; convert it again with float16 or float32")
        state = dict(_openai_names(tensors))
        heads = int(tensors["encoder/num_heads"]), int(tensors["decoder/num_heads"])
    except (struct.error, ValueError, RuntimeError, KeyError):
        raise WeightsError(f"{source} is cut short or no CTranslate2 model of Whisper") from None
    output = tensors.get("decoder/projection/weight")
    if output is not None and not torch.equal(output, state["decoder.token_embedding.weight"]):
        raise WeightsError(f"{source} has an output layer of its own; Whisper's is its token embedding")
    return Weights(dims_of(state, *heads, source), state)


class _Reader:
    """Walks through a ``model.bin``."""

    def __init__(self, buffer: mmap.mmap | bytearray, source: object) -> None:
        self.buffer = buffer
        self.source = source
        self.position = 0

    def number(self, code: str) -> int:
        value: int = struct.unpack_from(f"<{code}", self.buffer, self.position)[0]
        self.position += struct.calcsize(code)
        return value

    def string(self) -> str:
        length = self.number("H")
        start, self.position = self.position, self.position + length
        return self.buffer[start : start + length].rstrip(b"\0").decode("utf-8")

    def tensor(self) -> Tensor:
        shape = [self.number("I") for _ in range(self.number("B"))]
        dtype = _DTYPES[self.number("B")]
        size = self.number("I")
        flat = torch.frombuffer(self.buffer, dtype=dtype, count=size // dtype.itemsize, offset=self.position)
        self.position += size
        return flat.reshape(shape)

    def tensors(self) -> dict[str, Tensor]:
        version = self.number("I")
        if version not in _FORMATS:
            raise WeightsError(f"{self.source} is no CTranslate2 model, or of format {version}; known are {_FORMATS}")
        spec = self.string()
        if spec != "WhisperSpec":
            raise WeightsError(f"{self.source} is no Whisper model but a {spec!r}")
        self.number("I")
        tensors = {self.string(): self.tensor() for _ in range(self.number("I"))}
        # Of equal tensors only one is stored: the output layer, but also a bias that happens to be like another.
        tensors.update({self.string(): tensors[self.string()] for _ in range(self.number("I"))})
        return tensors


def _openai_names(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield every weight under openai-whisper's name; settings such as ``pre_norm`` fall away."""
    for name, tensor in tensors.items():
        side, _, rest = name.partition("/")
        if rest.startswith("layer_norm/"):
            yield f"{side}.{'ln_post' if side == 'encoder' else 'ln'}.{_NORMS[rest[11:]]}", tensor
        elif rest.startswith("layer_"):
            block, _, inner = rest.partition("/")
            yield from ((f"{side}.blocks.{block[6:]}.{part}", value) for part, value in _block(inner, tensor))
        elif rest == "position_encodings/encodings":
            yield f"{side}.positional_embedding", tensor
        elif rest == "embeddings/weight":
            yield f"{side}.token_embedding.weight", tensor
        elif rest.startswith("conv"):
            yield f"{side}.{rest.replace('/', '.')}", tensor


def _block(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield one tensor of a layer, split where CTranslate2 stacks projections."""
    module, layer, kind = name.split("/")
    if module == "ffn":
        target = {"layer_norm": "mlp_ln", "linear_0": "mlp.0", "linear_1": "mlp.2"}[layer]
        yield f"{target}.{_NORMS.get(kind, kind)}", tensor
        return
    attention = {"self_attention": "attn", "attention": "cross_attn"}[module]
    if layer == "layer_norm":
        yield f"{attention}_ln.{_NORMS[kind]}", tensor
        return
    stacked = {
        ("attn", "linear_0"): ("query", "key", "value"),
        ("attn", "linear_1"): ("out",),
        ("cross_attn", "linear_0"): ("query",),
        ("cross_attn", "linear_1"): ("key", "value"),
        ("cross_attn", "linear_2"): ("out",),
    }[attention, layer]
    for part, value in zip(stacked, tensor.chunk(len(stacked)), strict=True):
        # The key has no bias in Whisper: it would add the same to all scores of a query, which the softmax removes.
        if (part, kind) != ("key", "bias"):
            yield f"{attention}.{part}.{kind}", value
