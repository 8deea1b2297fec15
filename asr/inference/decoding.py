"""Batched greedy and beam decoding of fragments of any length, by openai-whisper's own decoding task.

The search, the suppressed tokens and the ranking are `whisper.decoding`'s; what is replaced is the forward pass,
which must mask the padding between fragments of different lengths and can stop early for a whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import langcodes
import torch
from torch import Tensor
from whisper.decoding import (
    BeamSearchDecoder,
    DecodingOptions,
    DecodingResult,
    DecodingTask,
    Inference,
    LogitFilter,
    MaximumLikelihoodRanker,
    TokenDecoder,
)
from whisper.tokenizer import get_tokenizer

from asr.errors import ConfigError
from asr.expressions import BIAS
from asr.inference.bias import ExpressionBias, FusedDecoder
from asr.inference.fallback import Fallback
from asr.model.network import DecoderCache, DialectWhisper, Encoded
from asr.prosody import FRAME_RATE
from asr.transcript import Hypothesis

# What a fragment's transcript has beside its words, and more tokens than anyone says in a second: those of 20
# characters, or 8 of Chinese, Japanese and Korean, in scripts that Whisper's vocabulary knows well. Of others it takes
# up to three tokens for a character.
_FIXED_TOKENS = 16
_TOKENS_PER_SECOND = 16
_SCRIPTS = ("Arab", "Cyrl", "Grek", "Hans", "Hant", "Hebr", "Jpan", "Kore", "Latn")


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How text is searched for.

    Attributes:
        beam_size: None decodes greedily.
        prompt: Text put before the transcript, in the slot Whisper keeps for it.
        max_tokens: Most tokens of one fragment, if what can be said in its time (`sayable_tokens`) is not fewer.
        bias: Natural-log bonus of every token of an expression, where there is a lexicon; 0 leads to none.
        tag: Which dialect the decoder is told, if its checkpoint was taught that one's tag: ``auto``, the one that is
            given, or else the one that a head hears and is sure of; ``given``, the former alone; ``never``, none; or
            a tag that it is told of everything, to see what a wrong one does.
        n_best: How many different texts of a beam search are kept; 1 keeps no others.
        temperature: 0 takes the likeliest tokens; above, they are drawn at random, from logits divided by it.
        fallback: When and how windows of a recording are decoded again; fragments never are.

    Raises:
        ConfigError: A number is below 1, the bias or the temperature negative or infinite, there is a temperature in a
            beam search, or one of Whisper's own tokens in the prompt.
    """

    beam_size: int | None = None
    prompt: str | None = None
    max_tokens: int | None = None
    bias: float = BIAS
    tag: str = "auto"
    n_best: int = 1
    temperature: float = 0.0
    fallback: Fallback = field(default_factory=Fallback)

    def __post_init__(self) -> None:
        for name, value in (
            ("beam_size", self.beam_size),
            ("max_tokens", self.max_tokens),
            ("n_best", self.n_best),
        ):
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be 1 or more, or None, found {value}")
        if self.n_best > max(1, self.beam_size or 1):
            raise ConfigError(
                f"the {self.n_best} best texts are found by as many beams, and beam_size is {self.beam_size}; choose "
                f"{self.n_best} or more"
            )
        if self.prompt is not None and "<|" in self.prompt:
            raise ConfigError("the prompt holds '<|', with which Whisper's own tokens begin; take them out of it")
        if not 0 <= self.bias < float("inf"):
            raise ConfigError(f"bias must be a number, 0 or more, found {self.bias}")
        if not 0 <= self.temperature < float("inf") or (self.temperature and self.beam_size is not None):
            raise ConfigError(
                f"temperature must be a number, 0 or more, and 0 in a beam search; found {self.temperature} with "
                f"beam_size {self.beam_size}"
            )

    def with_tag(self, tag: str) -> str | None:
        """The text in the prompt's slot, a dialect's tag in it; None for none."""
        # The tag at the end: there it stood in training, and a long prompt is cut at its beginning.
        return f"{(self.prompt or '').strip()} {tag}".strip() or None

    def step(self, name: str) -> DecodeOptions:
        """The options of one of `fallback`'s steps."""
        if name == "beam":
            beams = self.fallback.beam_size
            return replace(self, beam_size=beams, temperature=0.0, n_best=min(self.n_best, beams))
        return replace(self, beam_size=None, temperature=self.fallback.temperature, n_best=1)


def sayable_tokens(model: DialectWhisper, seconds: float, language: str) -> int:
    """Tokens that no speech of such a length exceeds, within Whisper's own limit.

    A model that does not know its window, or a dialect well enough, may find no end and repeat itself up to that limit.

    Args:
        model: Whose limit it is.
        seconds: Length of the speech.
        language: Whisper's code. Of a language whose script takes many tokens, only Whisper's limit is known.
    """
    most: int = model.whisper.dims.n_text_ctx // 2
    if _script(language) not in _SCRIPTS:
        return most
    return min(_FIXED_TOKENS + round(_TOKENS_PER_SECOND * seconds), most)


@lru_cache
def _script(language: str) -> str:
    return langcodes.Language.get(language).maximize().script or ""


class _MaskedInference(Inference):  # type: ignore[misc]  # whisper ships no types
    """The decoder's forward pass over a padded batch, with a cache."""

    def __init__(self, model: DialectWhisper, encoded: Encoded, group: int) -> None:
        self.model = model
        self.encoded = encoded.repeat(group)
        self.cache = DecoderCache()

    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:
        hidden = self.model.decode(tokens[:, self.cache.length :], self.encoded, self.cache)
        return self.model.logits(hidden)

    def rearrange_kv_cache(self, source_indices: list[int]) -> None:
        if source_indices != list(range(len(source_indices))):
            # Beams only move within their own fragment, so the audio's keys and values stay where they are.
            self.cache.select_past(torch.tensor(source_indices, device=self.encoded.states.device))

    def cleanup_caching(self) -> None:
        self.cache = DecoderCache()


class _Ends(LogitFilter):  # type: ignore[misc]  # whisper ships no types
    """Lets a text end where it has as many tokens as it may.

    Args:
        most: Tokens of each row, [B].
        begin: Tokens before the text.
        end: The end token.
    """

    def __init__(self, most: Tensor, begin: int, end: int) -> None:
        self._most = most
        self._fewest = int(most.min())
        self._begin = begin
        self._end = end

    def apply(self, logits: Tensor, tokens: Tensor) -> None:
        written = tokens.shape[1] - self._begin
        if written >= self._fewest:
            rows = self._most <= written
            logits[rows] = -torch.inf
            logits[rows, self._end] = 0.0


class _Found(MaximumLikelihoodRanker):  # type: ignore[misc]  # whisper ships no types
    """Ranks as Whisper does, and remembers what was found in each row, tokens and log-probability, the best first."""

    rows: list[list[tuple[list[int], float]]]

    def rank(self, tokens: list[list[Tensor]], sum_logprobs: list[list[float]]) -> list[int]:
        chosen: list[int] = super().rank(tokens, sum_logprobs)
        self.rows = []
        for best, texts, sums in zip(chosen, tokens, sum_logprobs, strict=True):
            # A text of no tokens has no average: it comes last, unless it was chosen.
            means = [total / len(text) if len(text) else -torch.inf for text, total in zip(texts, sums, strict=True)]
            order = sorted(range(len(texts)), key=lambda place: (place != best, -means[place]))
            self.rows.append([(texts[place].tolist(), float(sums[place])) for place in order])
        return chosen


@dataclass(frozen=True)
class FragmentResult(DecodingResult):  # type: ignore[misc]  # whisper ships no types
    """Whisper's result, and what else was likely.

    Attributes:
        hypotheses: The best different texts, this one first; none where only one was asked for.
    """

    hypotheses: tuple[Hypothesis, ...] = ()


class _FragmentDecoding(DecodingTask):  # type: ignore[misc]  # whisper ships no types
    """Whisper's decoding task on an encoder output that is already there."""

    decoder: TokenDecoder

    def __init__(
        self,
        model: DialectWhisper,
        encoded: Encoded,
        options: DecodingOptions,
        bias: ExpressionBias | None,
        most: list[int],
    ) -> None:
        super().__init__(model.whisper, options)
        rows = torch.tensor(most, device=model.device).repeat_interleave(self.n_group)
        self.logit_filters.append(_Ends(rows, self.sample_begin, self.tokenizer.eot))
        self.inference = _MaskedInference(model, encoded, self.n_group)
        if isinstance(self.decoder, BeamSearchDecoder):
            self.decoder.inference = self.inference
        if bias is not None:
            self.decoder = FusedDecoder(self.decoder, bias, self.tokenizer.eot)
        self.found = self.sequence_ranker = _Found(options.length_penalty)

    def _get_audio_features(self, mel: Tensor) -> Tensor:
        # `run` slices every n_group-th row back out of what this returns.
        return self.inference.encoded.states

    def _detect_language(self, audio_features: Tensor, tokens: Tensor) -> tuple[list[str], None]:
        # The language is given; Whisper's own method would count the repeated rows, and break a beam search.
        return [self.tokenizer.language or "en"] * tokens.shape[0], None


def decode(
    model: DialectWhisper,
    encoded: Encoded,
    language: str,
    options: DecodeOptions | None = None,
    bias: ExpressionBias | None = None,
    tag: str = "",
) -> list[FragmentResult]:
    """Decode a batch of encoded fragments that share one language and one dialect.

    Args:
        model: The model that made ``encoded``.
        encoded: The encoder's output, batch of B.
        language: Whisper's language code, ignored by English-only models.
        options: Greedy without a prompt when None.
        bias: Leads the search to a lexicon's expressions.
        tag: Dialect that the decoder is told, in the prompt's slot; empty tells none.

    Returns:
        B results in order; their ``audio_features`` are the padded encoder states, and their ``avg_logprob`` is that
        of the tokens alone, without a bonus.
    """
    options = options or DecodeOptions()
    limit = options.max_tokens or model.whisper.dims.n_text_ctx // 2
    most = [min(limit, sayable_tokens(model, frames / FRAME_RATE, language)) for frames in encoded.num_frames.tolist()]
    task = _FragmentDecoding(
        model,
        encoded,
        DecodingOptions(
            language=language,
            beam_size=options.beam_size,
            temperature=options.temperature,
            prompt=options.with_tag(tag),
            sample_len=max(most),
            without_timestamps=True,
            fp16=False,
        ),
        bias,
        most,
    )
    # What is drawn is the same in every run, and leaves the caller's random numbers as they are.
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else [], enabled=options.temperature > 0):
        if options.temperature:
            torch.manual_seed(0)
        results = task.run(encoded.states)
    return [
        FragmentResult(
            **vars(result)
            | {
                "text": _text_alone(result.tokens, task),
                "avg_logprob": result.avg_logprob - _bonus(result.tokens, task, bias, own) / (len(result.tokens) + 1),
                "hypotheses": _hypotheses(found, task, bias, own, options.n_best) if options.n_best > 1 else (),
            }
        )
        for result, found, own in zip(results, task.found.rows, most, strict=True)
    ]


def _text_alone(tokens: list[int], task: _FragmentDecoding) -> str:
    # As `whisper.transcribe` has it: a model may write the token of a language in the middle of a text.
    return str(task.tokenizer.decode([token for token in tokens if token < task.tokenizer.eot]).strip())


def _bonus(tokens: list[int], task: _FragmentDecoding, bias: ExpressionBias | None, most: int) -> float:
    """What a text has gained of the bias; where it was ended, the end gained nothing."""
    if bias is None:
        return 0.0
    ended = len(tokens) < most
    return bias.bonus([*tokens, task.tokenizer.eot] if ended else tokens)


def _hypotheses(
    found: list[tuple[list[int], float]], task: _FragmentDecoding, bias: ExpressionBias | None, most: int, count: int
) -> tuple[Hypothesis, ...]:
    """The first different texts of a row."""
    different: dict[str, float] = {}
    for tokens, total in found:
        different.setdefault(_text_alone(tokens, task), total - _bonus(tokens, task, bias, most))
    return tuple(Hypothesis(text, total) for text, total in list(different.items())[:count])


@torch.inference_mode()
def detect_language(model: DialectWhisper, encoded: Encoded) -> list[str]:
    """Most probable language of each fragment, read after the start-of-transcript token.

    Args:
        model: A multilingual model; an English-only one answers ``en`` for everything.
        encoded: The encoder's output, batch of B.
    """
    whisper = model.whisper
    batch = encoded.states.shape[0]
    if not whisper.is_multilingual:
        return ["en"] * batch
    tokenizer = get_tokenizer(True, num_languages=whisper.num_languages)
    codes = tokenizer.all_language_codes
    ids = torch.tensor([tokenizer.to_language_token(code) for code in codes], device=model.device)
    start = torch.full((batch, 1), tokenizer.sot, device=model.device)
    scores = model.logits(model.decode(start, encoded))[:, 0, ids]
    return [codes[index] for index in scores.argmax(dim=-1).tolist()]
