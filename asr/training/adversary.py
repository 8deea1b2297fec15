"""Unlearning the room: a classifier of the corpus works against the dialect head, through a reversed gradient.

Where each dialect comes from a corpus of its own, a head learns microphones and rooms. So a second classifier learns to
tell the corpora apart by what the head's scores are made of, and what is below it learns to make that hard (Ganin &
Lempitsky 2015, "Unsupervised Domain Adaptation by Backpropagation").

The classifier is told the dialect (Li et al. 2018, "Deep Domain Generalization via Conditional Invariant Adversarial
Networks"): corpora that hold different dialects could otherwise be told apart by the dialect itself, which would be
unlearnt. So only dialects that two corpora share teach what the room is.

Shapes: B batch, R width of what is represented, C dialects.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.data.labels import IGNORED
from asr.data.stream import FOR_TRAINING
from asr.errors import ConfigError
from asr.fragment import Fragment
from asr.privacy.consent import ConsentCheck, read_consented
from asr.training.heads import HeadOptions

_HIDDEN = 64
# The classifier's learning rate is so many times the head's: one that lags behind is led round in circles, its own loss
# is high, and a fresh one would still know the corpora.
PACE = 3.0


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """Return ``x`` as it is; on the way back its gradient is multiplied by ``-strength``."""
    reversed_: Tensor = _Reversal.apply(x, strength)
    return reversed_


def strength_at(progress: float) -> float:
    """How strongly the gradient is reversed, from 0 to nearly 1: the classifier must first know something.

    Args:
        progress: The share of the training that is done.
    """
    return 2 / (1 + math.exp(-10 * progress)) - 1


class Adversary(nn.Module):
    """Tells corpora apart by what the dialect head represents, for every dialect by itself.

    Args:
        corpora: Their ids.
        dialects: C.
        width: R.
    """

    def __init__(self, corpora: Sequence[str], dialects: int, width: int) -> None:
        super().__init__()
        self.corpora = tuple(corpora)
        self.dialects = dialects
        # One more dialect for fragments of which none is known.
        self.layers = nn.Sequential(
            nn.Linear(width + dialects + 1, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, len(self.corpora))
        )

    def forward(self, represented: Tensor, dialects: Tensor, strength: float) -> Tensor:
        """Scores of the corpora, float [B, number of corpora].

        Args:
            represented: Float [B, R], as `asr.model.heads.Head.represented` gives it.
            dialects: Long [B], the numbers of the head's labels; `asr.data.labels.IGNORED` where there is none.
            strength: Of the reversal.
        """
        known = torch.where(dialects == IGNORED, self.dialects, dialects)
        told = functional.one_hot(known, self.dialects + 1).to(represented)
        scores: Tensor = self.layers(torch.cat([reverse_gradient(represented, strength), told], dim=-1))
        return scores

    def targets(self, fragments: Sequence[Fragment | None]) -> Tensor:
        """Long [B], the number of each fragment's corpus; `asr.data.labels.IGNORED` where none is known."""
        numbers: dict[str | None, int] = {corpus: number for number, corpus in enumerate(self.corpora)}
        return torch.tensor([IGNORED if item is None else numbers.get(item.corpus, IGNORED) for item in fragments])


def corpora_of(
    manifests: Sequence[str | Path], options: HeadOptions, consent: ConsentCheck | None = FOR_TRAINING
) -> tuple[str, ...]:
    """The corpora that an adversary tells apart; none when no adversary is asked for.

    Fragments without consent do not count.

    Raises:
        ConfigError: One is asked for without a dialect head, or there are no two corpora that share a dialect.
    """
    if not options.adversary:
        return ()
    if not options.dialect:
        raise ConfigError(
            f"heads.adversary is {options.adversary:g}, but it works against the dialect head, and heads.dialect is 0; "
            "give heads.dialect a weight, or leave the adversary at 0"
        )
    holders: dict[str | None, set[str]] = defaultdict(set)
    for manifest in manifests:
        for item in read_consented(manifest, consent):
            if item.corpus is not None:
                holders[item.dialect].add(item.corpus)
    found = set().union(*holders.values())
    if len(found) < 2:
        raise ConfigError(
            f"heads.adversary is asked for, but the fragments of data.train name {len(found)} kinds of 'corpus', and "
            "two are needed; give manifests of several corpora, imported anew if they are older than that field, or "
            "leave it at 0"
        )
    if max(map(len, holders.values())) < 2:
        raise ConfigError(
            f"heads.adversary is asked for, but no dialect in data.train occurs in two of its {len(found)} corpora, so "
            "that nothing tells dialect and room apart; add a corpus that shares a dialect, or leave it at 0"
        )
    return tuple(sorted(found))
