"""The file for whisper.cpp: its sizes and tensors; that whisper.cpp hears the same with it is `test_runtimes`'s."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from whisper.audio import mel_filters

from asr.export.ggml import GGML_MODEL, write_ggml
from asr.export.vocabulary import vocabulary_of
from asr.model.checkpoint import Checkpoint
from asr.model.companion import COMPANION, read_companion

Make = Callable[..., Checkpoint]


@pytest.mark.parametrize("n_vocab, n_mels, text", [(51864, 80, 50256), (51865, 80, 50257), (51866, 128, 50257)])
def test_the_file_is_read_to_its_last_byte(make: Make, tmp_path: Path, n_vocab: int, n_mels: int, text: int) -> None:
    checkpoint = make(n_vocab, n_mels)
    write_ggml(checkpoint, tmp_path)
    data, at = (tmp_path / GGML_MODEL).read_bytes(), 0

    def take(form: str) -> tuple[int, ...]:
        nonlocal at
        at += struct.calcsize(f"<{form}")
        return struct.unpack_from(f"<{form}", data, at - struct.calcsize(f"<{form}"))

    def array(kind: type, shape: tuple[int, ...]) -> np.ndarray:
        nonlocal at
        count = int(np.prod(shape))
        at += count * np.dtype(kind).itemsize
        return np.frombuffer(data, kind, count, at - count * np.dtype(kind).itemsize).reshape(shape)

    assert data[:4] == b"lmgg" and take("I") == (0x67676D6C,)
    mels, *between, vocab, context, width, heads, layers = astuple(checkpoint.model.whisper.dims)
    assert take("11i") == (vocab, *between, context, width, heads, layers, mels, 1)
    np.testing.assert_array_equal(array(np.float32, take("2i")), mel_filters("cpu", n_mels).numpy())
    assert take("i") == (text,)
    encoding = vocabulary_of(checkpoint.model.whisper).tokenizer.encoding
    for number in range(text):
        (length,) = take("i")
        token = data[at : at + length]
        at += length
        assert token == encoding.decode_single_token_bytes(number)
    state = checkpoint.model.whisper.state_dict()
    for name, tensor in state.items():
        rank, length, kind = take("3i")
        shape = take(f"{rank}i")[::-1]
        spelt = data[at : at + length]
        at += length
        assert spelt == name.encode()
        found = torch.from_numpy(array(np.float16 if kind else np.float32, shape).astype(np.float32))
        assert torch.equal(found.view(tensor.shape), tensor)
        assert kind == (tensor.dim() > 1 and "positional" not in name)
    assert at == len(data)


def test_heads_lie_beside_it(make: Make, tmp_path: Path) -> None:
    checkpoint = make()
    write_ggml(checkpoint, tmp_path)
    read = read_companion(tmp_path / COMPANION, checkpoint.model.whisper)
    assert read.model.head("dialect").spec == checkpoint.model.head("dialect").spec
