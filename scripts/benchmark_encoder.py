"""Whose encoder should feed CTranslate2's decoder: python scripts/benchmark_encoder.py EXPORT MANIFEST.

The same batches, each of one window's length, are heard by turns by torch (in float32, and as the engine does it), by
CTranslate2 and by ONNX Runtime (in float32, and with its weights in int8), all with as many threads, and written by
the same decoder. Prints seconds and the WER of what is written. The middle layers, which heads hear, are given by all
but CTranslate2. ONNX Runtime's graph is made here, which needs: pip install onnx.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from asr import Fragment, read_manifest
from asr.audio import SAMPLE_RATE, load_audio
from asr.inference.batches import BATCH_SECONDS, Pool
from asr.inference.decoding import DecodeOptions
from asr.inference.engines.ctranslate2 import CTranslate2Engine
from asr.metrics import ErrorCounts, nearest_errors
from asr.model.companion import COMPANION, read_companion
from asr.model.network import Encoded
from asr.text import get_normalizer

# A mel spectrogram [B, F, T] gives states [B, E, D].
Encode = Callable[[Tensor], Tensor]


class Graph(nn.Module):
    """Whisper's encoder as a graph with all layers: what the heads hear, and last what the decoder reads."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, mel: Tensor) -> tuple[Tensor, ...]:
        """States of every layer, [B, E, D]."""
        encoder = self.encoder
        x = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        layers = [x + encoder.positional_embedding[: x.shape[1]]]
        for block in encoder.blocks:
            layers.append(block(layers[-1]))
        return (*layers, encoder.ln_post(layers[-1]))


def encoders(folder: Path, engine: CTranslate2Engine, threads: int, work: Path) -> dict[str, Encode]:
    """Each encoder by its name."""
    try:
        from onnxruntime.quantization import quantize_dynamic
    except ImportError:
        sys.exit("ONNX Runtime's graph is made with onnx, which is missing: pip install onnx")
    plain = read_companion(folder / COMPANION).model.eval()
    graph, small = work / "encoder.onnx", work / "encoder.int8.onnx"
    mel = torch.zeros(2, plain.whisper.dims.n_mels, 300)
    torch.onnx.export(
        Graph(plain.whisper.encoder).eval(),
        (mel,),
        str(graph),
        input_names=["mel"],
        dynamic_axes={"mel": {0: "batch", 2: "frames"}},
        dynamo=False,
        opset_version=17,
    )
    quantize_dynamic(graph, small)
    own = ctranslate2.models.Whisper(str(folder), device="cpu", inter_threads=1, intra_threads=threads)

    def torch_plain(mel: Tensor) -> Tensor:
        return plain.encode(mel, torch.full((len(mel),), mel.shape[2])).states

    def torch_engine(mel: Tensor) -> Tensor:
        with engine.hearing():
            return engine.model.encode(mel, torch.full((len(mel),), mel.shape[2])).states

    def in_ctranslate2(mel: Tensor) -> Tensor:
        found = own.encode(ctranslate2.StorageView.from_array(mel.numpy()), to_cpu=True)
        return torch.from_numpy(np.array(found, dtype=np.float32))

    def in_onnxruntime(path: Path) -> Encode:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda mel: torch.from_numpy(session.run(None, {"mel": mel.numpy()})[-1])

    return {
        "torch, float32": torch_plain,
        "torch, as the engine": torch_engine,
        "CTranslate2": in_ctranslate2,
        "ONNX Runtime, float32": in_onnxruntime(graph),
        "ONNX Runtime, int8": in_onnxruntime(small),
    }


def batches(engine: CTranslate2Engine, fragments: list[Fragment]) -> list[tuple[list[Fragment], Tensor]]:
    """Fragments with one window each, and their features."""
    most = round(BATCH_SECONDS * SAMPLE_RATE)
    pool: Pool[tuple[Fragment, np.ndarray]] = Pool(most, most, equal=True)
    for one in fragments:
        samples = load_audio(one.audio, one.start, one.duration)
        pool.add((one, samples), engine.window_samples(len(samples)))
    found = []
    while pool:
        drawn = pool.draw()
        window = engine.window_samples(len(drawn[0][1]))
        audio = torch.zeros(len(drawn), window)
        for row, (_, samples) in zip(audio, drawn, strict=True):
            row[: len(samples)] = torch.from_numpy(samples)
        mel, _ = engine.model.features(audio, torch.full((len(drawn),), window))
        found.append(([one for one, _ in drawn], mel))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="what `asr export --to ctranslate2` made")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--fragments", type=int, default=240)
    given = parser.parse_args()
    threads = torch.get_num_threads()
    engine = CTranslate2Engine(given.export, torch.device("cpu"))
    seconds: dict[str, float] = {}
    errors: dict[str, ErrorCounts] = {}
    with tempfile.TemporaryDirectory() as work, torch.inference_mode():
        hearing = encoders(given.export, engine, threads, Path(work))
        heard = batches(engine, list(islice(read_manifest(given.manifest), given.fragments)))
        for encode in hearing.values():
            encode(heard[0][1])  # the first one loads libraries
        for rows, mel in track(heard, console=Console(stderr=True)):
            for name, encode in hearing.items():
                began = time.perf_counter()
                states = encode(mel)
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began
                encoded = Encoded(states.float(), torch.full((len(rows),), states.shape[1]), None)
                for one, written in zip(rows, engine.decode(encoded, rows[0].language, DecodeOptions()), strict=True):
                    normalize = get_normalizer(one.language, one.dialect)
                    words, _ = nearest_errors(normalize(one.text), normalize.renderings(written.text))
                    errors[name] = errors.get(name, ErrorCounts()) + words
    print(f"{sum(len(rows) for rows, _ in heard)} fragments in {len(heard)} batches, {threads} threads\n")
    print("| encoder | seconds | WER % |")
    print("|---|---:|---:|")
    for name, took in seconds.items():
        print(f"| {name} | {took:.2f} | {100 * (errors[name].rate or 0.0):.2f} |")


if __name__ == "__main__":
    main()
