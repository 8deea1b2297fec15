"""Exports heard by the runtimes that they were made for, as these come, with what could differ set alike.

Everywhere the same search: one temperature, no times, no prompt, no earlier text, no output thrown away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asr.audio import SAMPLE_RATE
from asr.errors import AsrError
from asr.export.vocabulary import missing

Samples = npt.NDArray[np.float32]
# Samples float32 [N] at 16 kHz, at most 30 s, and Whisper's code of their language, to a text.
Hear = Callable[[Samples, str], str]

MAX_TOKENS = 224
"""Whisper's own limit of a text, half the text context."""

# whisper.cpp says nothing of what is shorter than a tenth of a second, and of what has no whole frame.
_SHORTEST = SAMPLE_RATE // 5


def faster_whisper(folder: Path, *, threads: int, beam_size: int = 1, max_tokens: int = MAX_TOKENS) -> Hear:
    """Load a CTranslate2 folder, computing as it is stored, and hear with faster-whisper.

    Raises:
        MissingExtraError: It is not installed.
        AsrError: It cannot load the folder.
    """
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise missing("faster-whisper", "hear the export") from error
    model = _loaded(lambda: WhisperModel(str(folder), device="cpu", cpu_threads=threads), folder, "faster-whisper")

    # What starts a transcript; CTranslate2 gives its decoder half of the whole length, or what that leaves of it.
    prompt = 4 if model.model.is_multilingual else 2

    def hear(samples: Samples, language: str) -> str:
        segments, _ = model.transcribe(
            samples,
            language=language,
            beam_size=beam_size,
            best_of=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
            max_new_tokens=max(2 * max_tokens - prompt, max_tokens),
        )
        return "".join(segment.text for segment in segments).strip()

    return hear


def transformers(folder: Path, *, beam_size: int = 1, max_tokens: int = MAX_TOKENS) -> Hear:
    """Load a Hugging Face folder, and hear with transformers.

    Raises:
        MissingExtraError: It is not installed.
        AsrError: It cannot load the folder.
    """
    try:
        from transformers import WhisperForConditionalGeneration, WhisperProcessor
    except ImportError as error:
        raise missing("transformers", "hear the export") from error
    import torch

    processor = _loaded(lambda: WhisperProcessor.from_pretrained(folder), folder, "transformers")
    model = _loaded(lambda: WhisperForConditionalGeneration.from_pretrained(folder), folder, "transformers")
    spoken = {"task": "transcribe"} if model.generation_config.is_multilingual else {}
    # It says by a warning what it does anyway: the tokens of this file are those that it would choose.
    logging.getLogger("transformers").setLevel(logging.ERROR)

    @torch.inference_mode()
    def hear(samples: Samples, language: str) -> str:
        features = processor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        tokens = model.generate(
            features,
            num_beams=beam_size,
            do_sample=False,
            max_new_tokens=max_tokens,
            **(spoken | {"language": language} if spoken else {}),
        )
        text: str = processor.batch_decode(tokens, skip_special_tokens=True)[0]
        return text.strip()

    return hear


def whisper_cpp(file: Path, *, threads: int, beam_size: int = 1, max_tokens: int = MAX_TOKENS) -> Hear:
    """Load a ggml file, and hear with whisper.cpp (pywhispercpp).

    Raises:
        MissingExtraError: It is not installed.
        AsrError: It cannot load the file.
    """
    try:
        from pywhispercpp.model import Model
    except ImportError as error:
        raise missing("pywhispercpp", "hear the export") from error
    logging.getLogger("pywhispercpp").setLevel(logging.WARNING)
    options: dict[str, Any] = {
        "n_threads": threads,
        "print_progress": False,
        "no_timestamps": True,
        "no_context": True,
        "single_segment": True,
        "suppress_blank": True,
        "suppress_nst": True,
        "temperature": 0.0,
        "temperature_inc": 0.0,
        "no_speech_thold": 1.0,
        "max_tokens": max_tokens - 1,  # it stops after one more
        "greedy": {"best_of": 1},
        "beam_search": {"beam_size": beam_size, "patience": -1.0},
    }
    # Of what it cannot load, it gives a model that ends the process when it is asked.
    if not file.is_file() or file.open("rb").read(4) != b"lmgg":
        raise AsrError(f"whisper.cpp cannot load {file.name}: it is no ggml file; export the checkpoint again")
    model = _loaded(
        lambda: Model(
            str(file), params_sampling_strategy=int(beam_size > 1), redirect_whispercpp_logs_to=None, **options
        ),
        file,
        "whisper.cpp",
    )

    def hear(samples: Samples, language: str) -> str:
        padded = np.pad(samples, (0, max(0, _SHORTEST - len(samples))))
        return " ".join(segment.text for segment in model.transcribe(padded, language=language)).strip()

    return hear


def openai_whisper(file: Path, *, beam_size: int = 1, max_tokens: int = MAX_TOKENS) -> Hear:
    """Load a ``.pt``, and hear with openai-whisper.

    Raises:
        AsrError: It cannot load the file.
    """
    import whisper

    model = _loaded(lambda: whisper.load_model(str(file), device="cpu"), file, "openai-whisper")

    def hear(samples: Samples, language: str) -> str:
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(samples), model.dims.n_mels)
        options = whisper.DecodingOptions(
            language=language,
            beam_size=beam_size if beam_size > 1 else None,
            without_timestamps=True,
            fp16=False,
            sample_len=max_tokens,
        )
        text: str = whisper.decode(model, mel, options).text
        return text

    return hear


def _loaded(load: Callable[[], Any], path: Path, runtime: str) -> Any:
    try:
        return load()
    except Exception as error:  # each raises what it likes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AsrError(f"{runtime} cannot load {path.name}: {reason}; export the checkpoint again") from error
