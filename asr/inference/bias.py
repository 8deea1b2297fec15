"""Leads the decoder to a lexicon's expressions: a bonus on the tokens of those that it begins and completes.

Shallow fusion with a prefix tree, as Zhao et al., "Shallow-Fusion End-to-End Contextual Biasing" (Interspeech 2019):
each token that goes on with an expression gains ``strength`` at once, so that a search can find the whole, and what was
gained is taken back by every token that leaves it unfinished. A sequence of tokens has gained, in all, ``strength`` for
every token that lies in a completed expression or in the one that is being written. An expression is completed only
where its last word is: ``kot`` gains nothing in ``kotlin``. The first word of a phrase gains nothing before the second:
else every ``la`` would be led to, because some phrase begins so.

Nothing is remembered from step to step, because beams move between rows: a row's last tokens say all.

Shapes: B rows (fragments by beams), S tokens so far, V vocabulary.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from whisper.decoding import LogitFilter, TokenDecoder
from whisper.tokenizer import Tokenizer

from asr.text import APOSTROPHES


class _Node:
    """A node of the token trie: what may follow, whether an expression ends here, and whether being here gains."""

    __slots__ = ("ends", "following", "gains")

    def __init__(self) -> None:
        self.following: dict[int, _Node] = {}
        self.ends = False
        self.gains = False


class _Reading(NamedTuple):
    """What some tokens hold of expressions, each as a place from the tokens' start.

    Attributes:
        completed: Places in expressions whose end is behind the tokens' last.
        ending: Places in expressions that end with the last token, if their word does.
        open: Nodes of what has been begun and may go on, with the place where it began; earliest first.
    """

    completed: set[int]
    ending: set[int]
    open: list[tuple[_Node, int]]

    def gained(self, size: int) -> int:
        """Number of tokens that have gained, of ``size`` in all."""
        return len(self.completed | self.ending | self.begun(size))

    def begun(self, size: int) -> set[int]:
        """Places in what is being written and gains."""
        return set(range(next((start for node, start in self.open if node.gains), size), size))


class ExpressionBias(LogitFilter):  # type: ignore[misc]  # whisper ships no types
    """Adds the bonus of every possible next token to its log-probability.

    Args:
        expressions: As they are written in a transcript; the first letter is taken as it is and as a capital.
        tokenizer: Of the model.
        strength: Natural-log bonus per token, above 0.
    """

    def __init__(self, expressions: Iterable[str], tokenizer: Tokenizer, strength: float) -> None:
        self.strength = strength
        self._root = _Node()
        depth = 0
        for expression in expressions:
            plain = expression.translate(APOSTROPHES)
            for written in {plain, plain[0].upper() + plain[1:]}:
                first, *others = written.split(" ")
                silent = len(tokenizer.encode(f" {first}", disallowed_special=())) if others else 0
                node = self._root
                tokens = tokenizer.encode(f" {written}", disallowed_special=())
                for place, token in enumerate(tokens):
                    node = node.following.setdefault(token, _Node())
                    node.gains |= place >= silent
                node.ends = True
                depth = max(depth, len(tokens))
        # The bonus of a next token depends on the tokens that an expression can reach, and on what covers those.
        self._reach = max(1, 2 * depth - 1)
        self._firsts = frozenset(token for token, node in self._root.following.items() if node.gains)
        self._firsts_index = torch.tensor(sorted(self._firsts), dtype=torch.long)
        within = [token for token in range(tokenizer.eot) if _continues_word(tokenizer, token)]
        self._within = frozenset(within)
        self._within_index = torch.tensor(within, dtype=torch.long)

    def apply(self, logits: Tensor, tokens: Tensor) -> None:
        """Add to ``logits`` [B, V], in place, what each next token gains or gives back after ``tokens`` [B, S]."""
        logits[:, self._firsts_index.to(logits.device)] += self.strength
        for row, last in zip(logits, tokens[:, -self._reach :].tolist(), strict=True):
            reading = self._read(last)
            if reading.open or reading.ending:
                self._apply_within(row, reading, len(last))

    def bonus(self, tokens: Sequence[int]) -> float:
        """Return what a whole sequence has gained, natural log."""
        return self.strength * self._read(tokens).gained(len(tokens))

    def _apply_within(self, row: Tensor, reading: _Reading, size: int) -> None:
        """Finish one row's [V] bonuses where an expression has been begun or has just ended."""
        before = reading.gained(size)
        # What remains for a token that begins a word, and for one that goes on with the last: there nothing has ended.
        kept = {False: reading.completed | reading.ending, True: reading.completed}
        row += self.strength * (len(kept[False]) - before)
        if lost := len(kept[False]) - len(kept[True]):
            row[self._within_index.to(row.device)] -= self.strength * lost
        gains: dict[int, int] = {}
        for node, start in reading.open:  # the longest first: it covers what the others would
            for token, following in node.following.items():
                if following.gains:
                    covered = kept[token in self._within]
                    gains.setdefault(token, 1 + len(covered | set(range(start, size))) - len(covered))
        for token, gain in gains.items():
            row[token] += self.strength * (gain - (token in self._firsts))

    def _read(self, tokens: Sequence[int]) -> _Reading:
        reading = _Reading(set(), set(), [])
        for start, end, node in self._paths(tokens):
            if node.ends and end == len(tokens):
                reading.ending.update(range(start, end))
            elif node.ends and tokens[end] not in self._within:
                reading.completed.update(range(start, end))
            if end == len(tokens):
                reading.open.append((node, start))
        return reading

    def _paths(self, tokens: Sequence[int]) -> Iterator[tuple[int, int, _Node]]:
        """Yield every stretch of tokens that is the beginning of an expression, with its node."""
        for start in range(len(tokens)):
            node = self._root
            for end in range(start, len(tokens)):
                following = node.following.get(tokens[end])
                if following is None:
                    break
                node = following
                yield start, end + 1, node


class FusedDecoder(TokenDecoder):  # type: ignore[misc]  # whisper ships no types
    """Lets another decoder search by log-probability and bonus.

    Whisper's decoders normalise the logits they are given. That would eat the bonus of a token that is likely anyway,
    and would not take back what a beam has gained when every next token leaves the expression.

    Args:
        decoder: Whisper's greedy or beam search.
        bias: The bonus.
        eot: The end token.
    """

    def __init__(self, decoder: TokenDecoder, bias: ExpressionBias, eot: int) -> None:
        self.decoder = decoder
        self.bias = bias
        self.eot = eot

    def reset(self) -> None:
        """Forget the last search."""
        self.decoder.reset()

    def update(self, tokens: Tensor, logits: Tensor, sum_logprobs: Tensor) -> tuple[Tensor, bool]:
        """Choose the next tokens of [B, S] by ``logits`` [B, V]; ``sum_logprobs`` [B] is counted up, bonus included."""
        scores = logits.float().log_softmax(dim=-1)
        self.bias.apply(scores, tokens)
        # What the decoder will subtract; a row that has ended counts no further.
        sum_logprobs += scores.logsumexp(dim=-1) * (tokens[:, -1] != self.eot)
        found: tuple[Tensor, bool] = self.decoder.update(tokens, scores, sum_logprobs)
        return found

    def finalize(self, tokens: Tensor, sum_logprobs: Tensor) -> tuple[Sequence[Sequence[Tensor]], list[list[float]]]:
        """Return the candidates of every fragment and their sums, bonus included."""
        found: tuple[Sequence[Sequence[Tensor]], list[list[float]]] = self.decoder.finalize(tokens, sum_logprobs)
        return found


def _continues_word(tokenizer: Tokenizer, token: int) -> bool:
    """Whether a token goes on with the word before it; part of a character most likely does."""
    text = tokenizer.encoding.decode_single_token_bytes(token).decode("utf-8", errors="replace")
    return text != "" and (text[0] == "\N{REPLACEMENT CHARACTER}" or unicodedata.category(text[0])[0] in "LNM")
