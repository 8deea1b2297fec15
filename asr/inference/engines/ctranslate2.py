"""The engine for deployment: torch hears, in half the time where the processor knows bf16, and CTranslate2 writes.

It runs the folder that `asr export --to ctranslate2` makes: a CTranslate2 model, which faster-whisper loads too, and
beside it our own file (`asr.model.companion`).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from whisper.audio import SAMPLE_RATE, TOKENS_PER_SECOND
from whisper.tokenizer import Tokenizer, get_tokenizer
from whisper.utils import compression_ratio

from asr.errors import CheckpointError, MissingExtraError
from asr.inference.bias import ExpressionBias
from asr.inference.decoding import DecodeOptions, sayable_tokens
from asr.inference.engine import Decoded, EngineName
from asr.inference.punctuation import has_words, mark_tokens, tokens_of_words
from asr.inference.words import words_of
from asr.model.companion import COMPANION, read_companion
from asr.model.features import MAX_SAMPLES
from asr.model.network import Encoded
from asr.prosody import FRAME_RATE
from asr.sums import check_model
from asr.transcript import Hypothesis, Word

_MODEL = "model.bin"
# What its wheel for Linux computes with on a GPU, whatever version of CUDA torch brings.
_CUBLAS = "libcublas.so.12"
# Windows end at half seconds.
_STEP = SAMPLE_RATE // 2


def is_export(path: Path) -> bool:
    """Whether a path is a folder that this engine runs."""
    return (path / _MODEL).is_file() and (path / COMPANION).is_file()


class CTranslate2Engine:
    """See `asr.inference.engine.Engine`.

    One copy of the weights serves all threads.

    Args:
        folder: What `asr export` made.
        device: The processor or a GPU.
        replicas: Batches at a time; by default as many as torch would take threads, or one on a GPU.
        threads: Processor threads of each; one by default, because a decoder's step is too small to be shared.

    Raises:
        MissingExtraError: CTranslate2 is not installed, or what it computes with on a GPU.
        CheckpointError: A file is missing or damaged.
    """

    name: EngineName = "ctranslate2"
    # Its decoder takes all frames of a batch for speech: fragments of a batch have one length, their window.
    masks = False
    # Its random numbers depend on the thread that asks for them.
    steered = False

    def __init__(
        self, folder: Path, device: torch.device, replicas: int | None = None, threads: int | None = None
    ) -> None:
        try:
            import ctranslate2
        except ImportError:
            raise MissingExtraError("the engine ctranslate2 needs: pip install 'dialect-asr[engine]'") from None
        if device.type == "cuda" and sys.platform == "linux":
            _load_cublas()
        check_model(folder)
        checkpoint = read_companion(folder / COMPANION)
        checkpoint.model.to(device)
        if self._bf16(device):
            # Else every batch would convert them anew.
            for layer in checkpoint.model.whisper.encoder.modules():
                if isinstance(layer, (nn.Linear, nn.Conv1d)):
                    layer.to(torch.bfloat16)
        self.model = checkpoint.model
        self.info = checkpoint.info
        self.replicas = replicas or (1 if device.type == "cuda" else torch.get_num_threads())
        self.threads = threads or 1
        self._views = ctranslate2.StorageView
        # It gives the thread that loads it as few threads as its own; torch's share them.
        before = torch.get_num_threads()
        try:
            self._decoder = ctranslate2.models.Whisper(
                str(folder),
                device=device.type,
                device_index=device.index or 0,
                inter_threads=self.replicas,
                intra_threads=self.threads,
            )
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{folder} is no complete CTranslate2 model ({error}); export the checkpoint again"
            ) from None
        finally:
            torch.set_num_threads(before)
        whisper = self.model.whisper
        # A decoder of another model takes another width, or writes other tokens.
        fits = self._decoder.n_mels == whisper.dims.n_mels and self._decoder.is_multilingual == whisper.is_multilingual
        if not fits:
            raise CheckpointError(
                f"{folder / _MODEL} and {folder / COMPANION} are of different models; export the checkpoint again"
            )

    def hearing(self) -> AbstractContextManager[object]:
        """Half precision on a GPU, bf16 on a processor that multiplies in it, else float32.

        On a processor with AMX, bf16 takes a quarter of the time; where it must be emulated, it is slower.
        """
        device = self.model.device
        if device.type == "cuda":
            return torch.autocast("cuda", torch.float16)
        return torch.autocast("cpu", torch.bfloat16, enabled=self._bf16(device))

    @staticmethod
    def _bf16(device: torch.device) -> bool:
        return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))

    def window_samples(self, num_samples: int) -> int:
        """What the model was taught to hear, and silence up to the next half second, so that batches can be made."""
        window = int(self.model.window_samples(torch.tensor(num_samples)))
        return int(min(-(-window // _STEP) * _STEP, MAX_SAMPLES))

    def detect_language(self, encoded: Encoded) -> list[str]:
        """See `Engine.detect_language`."""
        if not self.model.whisper.is_multilingual:
            return ["en"] * len(encoded.states)
        found = self._decoder.detect_language(self._view(encoded))
        return [ranked[0][0][2:-2] for ranked in found]

    def decode(
        self,
        encoded: Encoded,
        language: str,
        options: DecodeOptions,
        bias: ExpressionBias | None = None,
        tag: str = "",
        marks: bool = False,
    ) -> list[Decoded]:
        """See `Engine.decode`."""
        tokenizer = self._tokenizer(language)
        prompt = self._prompt(tokenizer, options.with_tag(tag))
        # In batches of one length, what is sayable depends on nothing but the fragment.
        most = sayable_tokens(self.model, encoded.states.shape[1] / FRAME_RATE, language)
        most = min(options.max_tokens or most, most)
        beams = options.beam_size or 1
        results = self._decoder.generate(
            self._view(encoded),
            [prompt] * len(encoded.states),
            beam_size=beams,
            num_hypotheses=options.n_best,
            max_length=_max_length(most, prompt),
            return_scores=True,
            return_no_speech_prob=True,
            # A beam search keeps no scores of its steps.
            return_logits_vocab=marks and beams == 1,
            suppress_tokens=list(_suppressed(tokenizer)),
        )
        decoded = [_decoded(tokenizer, language, result, options.n_best) for result in results]
        if not marks:
            return decoded
        steps = [result.logits[0] for result in results] if beams == 1 else [[]] * len(results)
        return [
            replace(one, question_log_odds=self._question_log_odds(encoded.select([row]), tokenizer, one, own))
            if has_words(one.text)
            else one
            for row, (one, own) in enumerate(zip(decoded, steps, strict=True))
        ]

    def _question_log_odds(
        self, encoded: Encoded, tokenizer: Tokenizer, result: Decoded, steps: Sequence[object]
    ) -> float:
        """The odds after the last word, by the scores of the decoder's steps; without them, it goes there again."""
        place = tokens_of_words(tokenizer, result.tokens, result.text)
        if place >= len(steps):  # it was cut off there, or nothing was kept
            # What is given after the start of the transcript is written again, step by step.
            start = [*tokenizer.sot_sequence_including_notimestamps]
            (further,) = self._decoder.generate(
                self._view(encoded),
                [[*start, *result.tokens[:place]]],
                beam_size=1,
                max_length=_max_length(place + 1, start),
                return_logits_vocab=True,
            )
            steps = further.logits[0]
        scores = torch.from_numpy(np.array(steps[place]))
        question, statement = (scores[ids].logsumexp(-1) for ids in mark_tokens(tokenizer, result.language))
        return float(question - statement)

    def word_times(
        self, encoded: Encoded, num_frames: Sequence[int], results: Sequence[Decoded], language: str
    ) -> list[tuple[Word, ...]]:
        """See `Engine.word_times`."""
        tokenizer = self._tokenizer(language)
        spoken = [[token for token in result.tokens if token < tokenizer.eot] for result in results]
        # It counts frames of the features, of which the encoder makes one of two.
        frames = [2 * count for count in num_frames]
        found = self._decoder.align(self._view(encoded), list(tokenizer.sot_sequence), spoken, frames)
        return [
            tuple(words_of(tokenizer, text, _jumps(aligned.alignments), np.array(aligned.text_token_probs)))
            if text
            else ()
            for text, aligned in zip(spoken, found, strict=True)
        ]

    @cached_property
    def _limit(self) -> int:
        return int(self.model.whisper.dims.n_text_ctx // 2)

    def _tokenizer(self, language: str) -> Tokenizer:
        whisper = self.model.whisper
        return get_tokenizer(
            whisper.is_multilingual, num_languages=whisper.num_languages, language=language, task="transcribe"
        )

    def _prompt(self, tokenizer: Tokenizer, before: str | None) -> list[int]:
        """What the decoder begins with, as `whisper.decoding.DecodingTask` has it."""
        start = list(tokenizer.sot_sequence_including_notimestamps)
        if before is None:
            return start
        text = tokenizer.encode(" " + before.strip())
        return [tokenizer.sot_prev, *text[-(self._limit - 1) :], *start]

    def _view(self, encoded: Encoded) -> object:
        states = encoded.states
        if (encoded.num_frames != states.shape[1]).any():
            raise ValueError("fragments of a batch must have one length")
        if encoded.tail is not None and encoded.bias is not None:
            tail = encoded.tail[:, encoded.bias[0, 0, 0, states.shape[1] :] == 0]
            states = torch.cat((states, tail.expand(len(states), -1, -1)), 1)
        if states.device.type == "cpu":
            return self._views.from_array(np.ascontiguousarray(states.float().numpy()))
        return self._views.from_array(states.contiguous())


def _load_cublas() -> None:
    """Load cuBLAS, the system's or pip's: CTranslate2 looks for its name alone, and only when the first batch is there.

    Raises:
        MissingExtraError: It is found nowhere.
    """
    found = find_spec("nvidia.cublas") if find_spec("nvidia") else None
    folders = [] if found is None else list(found.submodule_search_locations or ())
    for name in (_CUBLAS, *(f"{folder}/lib/{_CUBLAS}" for folder in folders)):
        with suppress(OSError):
            ctypes.CDLL(name)
            return
    raise MissingExtraError(
        f"on a GPU the engine ctranslate2 needs {_CUBLAS}, which is found nowhere: pip install nvidia-cublas-cu12, or "
        "take the device cpu, or the checkpoint itself with the engine torch"
    )


def _suppressed(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What is never text, as `whisper.decoding.DecodingTask` has it."""
    special = (tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm)
    return tuple(sorted({*tokenizer.non_speech_tokens, *special, tokenizer.no_speech}))


def _decoded(tokenizer: Tokenizer, language: str, result: Any, n_best: int) -> Decoded:
    tokens, score = tuple(result.sequences_ids[0]), result.scores[0]
    different: dict[str, float] = {}
    for ids, mean in zip(result.sequences_ids, result.scores, strict=True):
        different.setdefault(_text_alone(tokenizer, ids), mean * len(ids))
    return Decoded(
        tokens=tokens,
        text=_text_alone(tokenizer, tokens),
        language=language,
        # Its score is a mean over the tokens; Whisper's counts the end token in the number too.
        avg_logprob=score * len(tokens) / (len(tokens) + 1),
        no_speech_prob=result.no_speech_prob,
        # Whisper's is that of all tokens.
        compression_ratio=compression_ratio(tokenizer.decode(list(tokens)).strip()),
        hypotheses=tuple(Hypothesis(*one) for one in different.items()) if n_best > 1 else (),
    )


def _text_alone(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    return str(tokenizer.decode([token for token in tokens if token < tokenizer.eot]).strip())


def _max_length(tokens: int, prompt: Sequence[int]) -> int:
    """What lets the decoder write so many tokens: half of this, or what all of the prompt but its end leaves of it."""
    return max(2 * tokens, tokens + len(prompt) - 1)


def _jumps(alignments: Sequence[tuple[int, int]]) -> np.ndarray:
    """Seconds at which each token begins, from pairs of token and frame."""
    pairs = np.array(alignments)
    begins = np.diff(pairs[:, 0], prepend=-1) > 0
    return np.asarray(pairs[begins, 1] / TOKENS_PER_SECOND)
