"""The engine that is torch all through: on any device, with every kind of search."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from asr.inference.bias import ExpressionBias
from asr.inference.decoding import DecodeOptions, decode, detect_language
from asr.inference.engine import Decoded, EngineName
from asr.inference.punctuation import has_words, question_log_odds
from asr.inference.words import word_times
from asr.model.checkpoint import Checkpoint
from asr.model.network import Encoded
from asr.transcript import Word


class TorchEngine:
    """See `asr.inference.engine.Engine`.

    Args:
        checkpoint: Loaded, on its device.
        threads: Processor threads; None leaves them to torch.
    """

    name: EngineName = "torch"
    masks = True
    steered = True
    # Its matrices are what keeps all cores busy.
    replicas = 1

    def __init__(self, checkpoint: Checkpoint, threads: int | None = None) -> None:
        self.model = checkpoint.model
        self.info = checkpoint.info
        self.threads = threads or torch.get_num_threads()

    def hearing(self) -> AbstractContextManager[object]:
        """Half precision on a GPU, where it is faster and hears the same; else float32."""
        return torch.autocast("cuda", torch.float16, enabled=self.model.device.type == "cuda")

    def window_samples(self, num_samples: int) -> int:
        """As long as the model was taught to hear."""
        return int(self.model.window_samples(torch.tensor(num_samples)))

    def detect_language(self, encoded: Encoded) -> list[str]:
        """See `Engine.detect_language`."""
        return detect_language(self.model, encoded)

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
        results = [
            Decoded(
                tokens=tuple(result.tokens),
                text=result.text,
                language=result.language,
                avg_logprob=result.avg_logprob,
                no_speech_prob=result.no_speech_prob,
                compression_ratio=result.compression_ratio,
                hypotheses=result.hypotheses,
            )
            for result in decode(self.model, encoded, language, options, bias, tag)
        ]
        rows = [row for row, result in enumerate(results) if has_words(result.text)] if marks else []
        if rows:
            texts = [results[row].text for row in rows]
            found = question_log_odds(self.model, encoded.select(rows), texts, language)
            for row, odds in zip(rows, found, strict=True):
                results[row] = replace(results[row], question_log_odds=odds)
        return results

    def word_times(
        self, encoded: Encoded, num_frames: Sequence[int], results: Sequence[Decoded], language: str
    ) -> list[tuple[Word, ...]]:
        """See `Engine.word_times`."""
        return word_times(self.model, encoded, num_frames, [result.tokens for result in results], language)
