"""An export from beginning to end: written, heard, compared, and only then there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from asr.errors import AsrError
from asr.export.check import Comparison, compare
from asr.export.ctranslate2 import write_ctranslate2
from asr.export.ggml import GGML_MODEL, write_ggml
from asr.export.huggingface import write_huggingface
from asr.export.runtimes import MAX_TOKENS, Hear, faster_whisper, openai_whisper, transformers, whisper_cpp
from asr.export.targets import TOLERANCE, Quantization, Target
from asr.files import atomic_folder
from asr.fragment import Fragment
from asr.inference.decoding import DecodeOptions
from asr.inference.transcriber import Transcriber
from asr.model.checkpoint import Checkpoint, save_checkpoint
from asr.sums import sha256_of, write_sums

OPENAI_MODEL = "model.pt"
"""Name of the file in the folder of an export for openai-whisper."""

_OWN = "the engine ctranslate2"

RUNTIMES: dict[Target, tuple[str, ...]] = {
    "ctranslate2": ("faster-whisper", _OWN),
    "huggingface": ("transformers",),
    "ggml": ("whisper.cpp",),
    "openai": ("openai-whisper",),
}
"""What hears an export, one after the other."""


def export(
    checkpoint: Checkpoint,
    target: Target,
    output: str | Path,
    fragments: Iterable[Fragment] | None,
    *,
    quantization: Quantization = "int8",
    tolerance: float = TOLERANCE,
    max_tokens: int = MAX_TOKENS,
    heard: Callable[[], object] = lambda: None,
) -> tuple[Comparison, ...]:
    """Write a checkpoint for another runtime, let that one hear it, and keep it only if it hears the same.

    Args:
        checkpoint: What is exported, on the CPU.
        target: For which runtime.
        output: The folder to make.
        fragments: What both hear; None does not check.
        quantization: Of the weights, for CTranslate2.
        tolerance: Most of a word's share by which the WER may differ, either way: 0.02 is two points.
        max_tokens: Most tokens of one fragment.
        heard: Called after every fragment that one of the runtimes has heard.

    Returns:
        How each of `RUNTIMES` heard it; empty where nothing was checked.

    Raises:
        AsrError: ``output`` holds something, a fragment cannot be heard, or the export differs by more than
            ``tolerance``; nothing is there then.
        MissingExtraError: A package that writes or hears it is missing.
    """
    with atomic_folder(output) as folder:
        _write(checkpoint, target, folder, quantization)
        write_sums(folder, {file.name: sha256_of(file) for file in sorted(folder.iterdir())})
        if fragments is None:
            return ()
        chosen, found = list(fragments), []
        for runtime in RUNTIMES[target]:
            comparison = compare(
                checkpoint,
                _open(runtime, folder, max_tokens),
                chosen,
                runtime=runtime,
                own_window=runtime == _OWN,
                max_tokens=max_tokens,
                heard=heard,
            )
            if abs(comparison.difference) > tolerance:
                raise AsrError(
                    f"the export is refused, it differs by more than {100 * tolerance:g} points: {comparison}; check "
                    "with more fragments, choose a finer quantization (float32), or allow more (--tolerance)"
                )
            found.append(comparison)
    return tuple(found)


def _write(checkpoint: Checkpoint, target: Target, folder: Path, quantization: Quantization) -> None:
    if target == "ctranslate2":
        write_ctranslate2(checkpoint, folder, quantization)
    elif target == "huggingface":
        write_huggingface(checkpoint, folder)
    elif target == "ggml":
        write_ggml(checkpoint, folder)
    else:
        save_checkpoint(checkpoint.model, checkpoint.info, folder / OPENAI_MODEL)


def _open(runtime: str, folder: Path, max_tokens: int) -> Hear:
    threads = torch.get_num_threads()
    if runtime == "faster-whisper":
        return faster_whisper(folder, threads=threads, max_tokens=max_tokens)
    if runtime == "transformers":
        return transformers(folder, max_tokens=max_tokens)
    if runtime == "whisper.cpp":
        return whisper_cpp(folder / GGML_MODEL, threads=threads, max_tokens=max_tokens)
    if runtime == "openai-whisper":
        return openai_whisper(folder / OPENAI_MODEL, max_tokens=max_tokens)
    transcriber = Transcriber(folder, device="cpu", options=DecodeOptions(tag="never", max_tokens=max_tokens))
    return lambda samples, language: transcriber.transcribe(samples, language=language).text
