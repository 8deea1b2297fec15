"""The real runtimes on tiny exports: they say what the checkpoint says."""

from __future__ import annotations

from collections.abc import Callable
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from asr.errors import AsrError
from asr.export.ctranslate2 import write_ctranslate2
from asr.export.ggml import GGML_MODEL, write_ggml
from asr.export.huggingface import write_huggingface
from asr.export.runtimes import Hear, faster_whisper, openai_whisper, transformers, whisper_cpp
from asr.inference.decoding import DecodeOptions
from asr.inference.transcriber import Transcriber
from asr.model.checkpoint import Checkpoint, save_checkpoint
from asr.model.network import DialectWhisper

Make = Callable[..., Checkpoint]

Sounds = list[npt.NDArray[np.float32]]
TOKENS = 5


def opened(runtime: str, checkpoint: Checkpoint, folder: Path) -> Hear:
    if runtime == "faster-whisper":
        write_ctranslate2(checkpoint, folder, "float32")
        return faster_whisper(folder, threads=1, max_tokens=TOKENS)
    if runtime == "transformers":
        write_huggingface(checkpoint, folder)
        return transformers(folder, max_tokens=TOKENS)
    if runtime == "whisper.cpp":
        write_ggml(checkpoint, folder)
        return whisper_cpp(folder / GGML_MODEL, threads=1, max_tokens=TOKENS)
    save_checkpoint(checkpoint.model, checkpoint.info, folder / "model.pt")
    return openai_whisper(folder / "model.pt", max_tokens=TOKENS)


@pytest.mark.parametrize("n_vocab, n_mels", [(51864, 80), (51865, 80), (51866, 128)])
@pytest.mark.parametrize("runtime", ["faster-whisper", "transformers", "whisper.cpp", "openai-whisper"])
def test_a_runtime_says_what_the_checkpoint_says(
    runtime: str, n_vocab: int, n_mels: int, make: Make, sounds: Sounds, tmp_path: Path
) -> None:
    # whisper.cpp calculates in half precision, with another GELU: of a random model it hears near ties otherwise.
    rough = runtime == "whisper.cpp"
    checkpoint = make(n_vocab, n_mels, 192, 3, focus=1) if rough else make(n_vocab, n_mels)
    hear = opened(runtime, checkpoint, tmp_path)
    padded = Checkpoint(DialectWhisper(checkpoint.model.whisper, "padded"), checkpoint.info)
    ours = Transcriber(padded, device="cpu", options=DecodeOptions(max_tokens=TOKENS), speech=None)
    language = "en" if n_vocab == 51864 else "fr"
    pairs = []
    for samples in sounds:
        # In full windows: what a runtime puts after shorter sounds is its own matter.
        samples = np.pad(samples, (0, 30 * 16000 - len(samples)))
        pairs.append((hear(samples, language), ours.transcribe(samples, language=language).text))
    if rough:
        alike = [SequenceMatcher(None, *pair).ratio() for pair in pairs]
        assert sum(alike) / len(alike) > 0.7, pairs
    else:
        assert all(theirs == own for theirs, own in pairs), pairs


@pytest.mark.parametrize(
    "load, name",
    [
        (partial(faster_whisper, threads=1), "faster-whisper"),
        (transformers, "transformers"),
        (partial(whisper_cpp, threads=1), "whisper.cpp"),
        (openai_whisper, "openai-whisper"),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence(load: Callable[[Path], Hear], name: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    if name in ("faster-whisper", "transformers"):
        path.mkdir()
    else:
        path.write_bytes(b"no model")
    with pytest.raises(AsrError, match=f"{name} cannot load .*; export the checkpoint again"):
        load(path)
