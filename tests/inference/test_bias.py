"""The bonus of every next token against one that recomputes it of the whole sequence, and what a search makes of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper.decoding import BeamSearchDecoder, GreedyDecoder, Inference
from whisper.tokenizer import Tokenizer, get_tokenizer

from asr.inference.bias import ExpressionBias, FusedDecoder
from asr.inference.decoding import DecodeOptions, decode
from asr.model.network import DialectWhisper, Encoded

TOKENIZER: Tokenizer = get_tokenizer(True, language="fr")
EXPRESSIONS = ("septante", "septante-deux", "kot", "la drache", "drache en rue", "en rue", "en rue la", "L'aubette")
VARIANTS = tuple(
    (tuple(TOKENIZER.encode(f" {written}")), len(TOKENIZER.encode(f" {written.split(' ')[0]}")), " " in written)
    for expression in EXPRESSIONS
    for written in (expression, expression[0].upper() + expression[1:])
)
# Tokens of the expressions, what goes on with a word, and what has nothing to do with them.
CHOICE = [
    *sorted({token for tokens, _, _ in VARIANTS for token in tokens}),
    *TOKENIZER.encode("s."),
    *TOKENIZER.encode(" chat"),
    TOKENIZER.eot,
]
BIAS = ExpressionBias(EXPRESSIONS, TOKENIZER, 0.5)


def test_whispers_own_tokens_in_an_expression_are_letters_like_others() -> None:
    letters = TOKENIZER.encode(" <|endoftext|> là", disallowed_special=())
    assert TOKENIZER.eot not in letters and ExpressionBias(["<|endoftext|> là"], TOKENIZER, 0.5).bonus(letters) > 0


def continues(token: int) -> bool:
    text = TOKENIZER.decode([token]) if token < TOKENIZER.eot else ""
    return text != "" and (text[0] == "\ufffd" or unicodedata.category(text[0])[0] in "LNM")


def gained(sequence: Sequence[int]) -> int:
    """Every token in an expression that ends where its word does, or in the longest beginning of one at the end."""
    tokens = tuple(sequence)
    covered: set[int] = set()
    begun = 0
    for variant, first, is_phrase in VARIANTS:
        for start in range(len(tokens)):
            end = start + len(variant)
            if tokens[start:end] == variant and not (end < len(tokens) and continues(tokens[end])):
                covered |= set(range(start, end))
        for length in range(1 + (first if is_phrase else 0), len(variant) + 1):
            if len(tokens) >= length and tokens[len(tokens) - length :] == variant[:length]:
                begun = max(begun, length)
    return len(covered | set(range(len(tokens) - begun, len(tokens))))


def next_bonuses(tokens: Sequence[int]) -> torch.Tensor:
    logits = torch.zeros(1, TOKENIZER.encoding.n_vocab)
    BIAS.apply(logits, torch.tensor([[TOKENIZER.sot, *tokens]]))
    return logits[0]


pieces = st.one_of(
    st.sampled_from(CHOICE).map(lambda token: (token,)),
    st.sampled_from(VARIANTS).flatmap(
        lambda variant: st.integers(1, len(variant[0])).map(lambda length: variant[0][:length])
    ),
)
sequences = st.lists(pieces, max_size=9).map(lambda parts: [token for part in parts for token in part])


@settings(max_examples=300, deadline=None)
@given(sequences)
def test_each_step_adds_what_the_whole_sequence_gains(tokens: list[int]) -> None:
    bonuses = next_bonuses(tokens)
    before = gained(tokens)
    assert BIAS.bonus(tokens) == pytest.approx(0.5 * before)
    expected = [0.5 * (gained([*tokens, token]) - before) for token in CHOICE]
    assert bonuses[CHOICE].tolist() == pytest.approx(expected, abs=1e-5)


def test_every_token_of_the_vocabulary() -> None:
    for text in (" en", " en rue", " kot", " la dr", " septante", ""):
        tokens = TOKENIZER.encode(text)
        before = gained(tokens)
        expected = [0.5 * (gained([*tokens, token]) - before) for token in range(TOKENIZER.eot + 1)]
        torch.testing.assert_close(next_bonuses(tokens)[: TOKENIZER.eot + 1], torch.tensor(expected))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (" septante.", 2),
        (" Septante", 2),
        (" septantes.", 0),
        (" kotlin", 0),
        (" la", 0),
        (" la maison", 0),
        (" la drache", 3),
        (" l'aubette", 0),  # the lexicon's own spelling has a capital
        (" L’aubette", 0),
        (" L'aubette", 5),
    ],
)
def test_what_some_texts_gain(text: str, tokens: int) -> None:
    assert BIAS.bonus([*TOKENIZER.encode(text), TOKENIZER.eot]) == 0.5 * tokens


def test_rows_are_independent_of_each_other_and_of_their_order() -> None:
    texts = [" en rue", " septan", " chat noir", " la dr"]
    rows = [TOKENIZER.encode(text) for text in texts]
    size = max(map(len, rows))
    tokens = torch.tensor([[TOKENIZER.sot] * (size - len(row)) + row for row in rows])
    together = torch.zeros(4, TOKENIZER.encoding.n_vocab)
    BIAS.apply(together, tokens)
    for row, bonuses in zip(rows, together, strict=True):
        torch.testing.assert_close(bonuses, next_bonuses(row))
    turned = torch.zeros_like(together)
    BIAS.apply(turned, tokens.flip(0))
    torch.testing.assert_close(turned.flip(0), together)


class Table(Inference):
    """Logits that depend on the last token alone, so that every sequence can be scored by hand."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.table = torch.full((len(CHOICE), TOKENIZER.encoding.n_vocab), -torch.inf)
        self.table[:, CHOICE] = torch.randn(len(CHOICE), len(CHOICE), generator=generator)

    def logits(self, tokens: torch.Tensor, audio_features: torch.Tensor | None = None) -> torch.Tensor:
        return self.table[[CHOICE.index(token) if token in CHOICE else 0 for token in tokens[:, -1].tolist()]]

    def rearrange_kv_cache(self, source_indices: list[int]) -> None:
        pass

    def score(self, tokens: Sequence[int], begin: int) -> float:
        """Log-probability and bonus of what stands after ``begin`` tokens."""
        total = 0.0
        for place in range(begin, len(tokens)):
            (row,) = self.logits(torch.tensor([tokens[:place]]))
            total += row.log_softmax(-1)[tokens[place]].item()
        return total + BIAS.bonus(tokens[begin:])


@pytest.mark.parametrize("beams", [None, 4])
def test_sums_are_log_probability_and_bonus_of_the_whole(beams: int | None) -> None:
    table = Table()
    eot = TOKENIZER.eot
    plain = GreedyDecoder(0.0, eot) if beams is None else BeamSearchDecoder(beams, eot, table)
    decoder = FusedDecoder(plain, BIAS, eot)
    decoder.reset()
    rows = 2 * (beams or 1)
    tokens, sums = torch.full((rows, 1), TOKENIZER.sot), torch.zeros(rows)
    for _ in range(12):
        tokens, done = decoder.update(tokens, table.logits(tokens), sums)
        if done:
            break
    found, scores = decoder.finalize(tokens.reshape(2, beams or 1, -1), sums.reshape(2, -1))
    for group, totals in zip(found, scores, strict=True):
        for sequence, total in zip(group, totals, strict=True):
            said = list(map(int, sequence))
            ended = said[: said.index(eot) + 1]
            # What was cut off has been given an end token that no step chose.
            expected = table.score(ended if len(ended) < tokens.shape[1] + 1 else ended[:-1], 1)
            assert total == pytest.approx(expected, abs=1e-4)


def encoded(model: DialectWhisper, count: int = 2) -> Encoded:
    generator = torch.Generator().manual_seed(0)
    audio = 0.1 * torch.randn(count, 16000, generator=generator)
    return model.encode(*model.features(audio, model.window_samples(torch.tensor([16000] * count))))


@pytest.mark.parametrize("beam_size", [None, 3])
@torch.inference_mode()
def test_a_strength_of_nothing_changes_nothing(model: DialectWhisper, beam_size: int | None) -> None:
    options = DecodeOptions(max_tokens=12, beam_size=beam_size)
    states = encoded(model)
    plain = decode(model, states, "fr", options)
    fused = decode(model, states, "fr", options, ExpressionBias(EXPRESSIONS, TOKENIZER, 0.0))
    for one, other in zip(plain, fused, strict=True):
        assert one.tokens == other.tokens
        assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-5)


@pytest.mark.parametrize("beam_size", [None, 3])
@torch.inference_mode()
def test_a_great_strength_writes_the_expression(model: DialectWhisper, beam_size: int | None) -> None:
    options = DecodeOptions(max_tokens=12, beam_size=beam_size)
    states = encoded(model)
    results = decode(model, states, "fr", options, ExpressionBias(["drache"], TOKENIZER, 100.0))
    for result in results:
        assert "drache" in result.text.lower()
        # Of the tokens alone: a bonus of 100 a token would show.
        assert result.avg_logprob < 0


@torch.inference_mode()
def test_the_log_probability_reported_is_that_of_the_tokens(model: DialectWhisper) -> None:
    states = encoded(model)
    options = DecodeOptions(max_tokens=8)
    plain = decode(model, states, "fr", options)
    # An expression that is what the model says anyway: the same text, with a bonus.
    said = TOKENIZER.decode(plain[0].tokens[1:4]).strip()
    fused = decode(model, states.select([0]), "fr", options, ExpressionBias([said], TOKENIZER, 1e-3))
    assert fused[0].tokens == plain[0].tokens
    assert fused[0].avg_logprob == pytest.approx(plain[0].avg_logprob, abs=1e-5)
