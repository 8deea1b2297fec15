"""What the `Transcriber` asks of an engine: one encoder pass with the heads' layers, and a decoder behind it.

Every engine hears with torch, because the heads need the encoder's middle layers (CTranslate2 gives only the last) and
torch hears fastest where the processor computes in bf16; what writes the text differs.

Shapes: B batch, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from asr.inference.bias import ExpressionBias
from asr.inference.decoding import DecodeOptions
from asr.model.checkpoint import CheckpointInfo
from asr.model.network import DialectWhisper, Encoded
from asr.transcript import Hypothesis, Word

EngineName = Literal["torch", "ctranslate2"]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a decoder wrote of one fragment.

    Attributes:
        tokens: Without the prompt and the end token.
        text: Of the text tokens among them, stripped.
        language: Whisper's code.
        avg_logprob: Mean log-probability of the tokens, end token included (natural log).
        no_speech_prob: Probability of "no speech" read at the start-of-transcript position.
        compression_ratio: UTF-8 length of the text over its zlib length.
        question_log_odds: How much likelier the decoder finds a question mark than a full stop after the last word
            (natural log); None where it was not asked, or there is no word.
        hypotheses: The best different texts, this one first; none where only one was asked for.
    """

    tokens: tuple[int, ...]
    text: str
    language: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    question_log_odds: float | None = None
    hypotheses: tuple[Hypothesis, ...] = ()


class Engine(Protocol):
    """A checkpoint that is ready to hear.

    Attributes:
        name: The engine's.
        model: Its encoder and heads; its decoder too only where the engine is torch's.
        info: What the checkpoint says about itself.
        replicas: How many batches it works on at a time, each in a thread of the caller's.
        threads: Processor threads of each of these.
        masks: Whether its decoder can tell fragments of a batch that differ in length.
        steered: Whether its search is this project's, which can be led to expressions, and draws tokens at random so
            that they are the same ones in every run.
    """

    name: EngineName
    model: DialectWhisper
    info: CheckpointInfo
    replicas: int
    threads: int
    masks: bool
    steered: bool

    def hearing(self) -> AbstractContextManager[object]:
        """The precision in which the encoder runs."""

    def window_samples(self, num_samples: int) -> int:
        """Samples that the encoder sees of a fragment of ``num_samples``."""

    def detect_language(self, encoded: Encoded) -> list[str]:
        """The most probable language of each fragment of a batch."""

    def decode(
        self,
        encoded: Encoded,
        language: str,
        options: DecodeOptions,
        bias: ExpressionBias | None = None,
        tag: str = "",
        marks: bool = False,
    ) -> list[Decoded]:
        """Decode a batch that shares one language and one dialect.

        Args:
            encoded: The encoder's output.
            language: Whisper's language code.
            options: How text is searched for.
            bias: Leads the search to a lexicon's expressions, if it can be steered.
            tag: Dialect that the decoder is told; empty tells none.
            marks: Whether ``question_log_odds`` are wanted.
        """

    def word_times(
        self, encoded: Encoded, num_frames: Sequence[int], results: Sequence[Decoded], language: str
    ) -> list[tuple[Word, ...]]:
        """When the words of ``results`` were said.

        Args:
            encoded: The encoder's output.
            num_frames: Encoder frames of each fragment itself.
            results: Of `decode`, for the same batch.
            language: Whisper's language code.
        """
