"""What a validation counts, and the figures that all processes' counts give together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from asr.fragment import Fragment
from asr.metrics import macro_f1, nearest_errors
from asr.metrics.retention import Count, worst_group
from asr.text import get_normalizer


@dataclass(slots=True)
class Counts:
    """What one process counts in a validation.

    Attributes:
        loss: The text's loss summed over tokens, and the tokens.
        errors: Word errors and reference words, by dialect, or by language where no dialect is known.
        heads_loss: The heads' loss summed over fragments, and the fragments.
        heard: What each head heard, and what it should have heard, as numbers of its labels.
        unreadable: Fragments that were left out.
    """

    loss: list[float] = field(default_factory=lambda: [0.0, 0.0])
    errors: dict[str, list[float]] = field(default_factory=dict)
    heads_loss: list[float] = field(default_factory=lambda: [0.0, 0.0])
    heard: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    unreadable: int = 0

    def count_words(self, fragment: Fragment, text: str) -> None:
        """Count the word errors of what was heard of a fragment."""
        normalize = get_normalizer(fragment.language, fragment.dialect)
        words, _ = nearest_errors(normalize(fragment.text), normalize.renderings(text))
        counts = self.errors.setdefault(fragment.dialect or fragment.language, [0.0, 0.0])
        counts[0] += words.errors
        counts[1] += words.reference

    def gathered(self, world_size: int) -> list[Counts]:
        """What each process counted; one may have had no fragment at all, so that only here they can meet."""
        if world_size == 1:
            return [self]
        parts: list[Any] = [None] * world_size
        torch.distributed.all_gather_object(parts, self)
        return parts


def total(parts: Sequence[Counts]) -> Counts:
    """What all processes counted together."""
    whole = Counts()
    for part in parts:
        whole.unreadable += part.unreadable
        _add(whole.loss, part.loss)
        _add(whole.heads_loss, part.heads_loss)
        for name, counts in part.errors.items():
            _add(whole.errors.setdefault(name, [0.0, 0.0]), counts)
        for name, pairs in part.heard.items():
            whole.heard.setdefault(name, []).extend(pairs)
    return whole


def figures(counts: Counts) -> dict[str, float]:
    """The figures of a validation by the name they are logged by; what nothing was counted for has none.

    Returns:
        ``dev/loss`` and ``dev/heads_loss``, means over tokens and over fragments; ``dev/f1/…`` of each head in percent,
        a mean over its labels; ``dev/wer/…`` of each dialect in percent; ``dev/wer`` of all words; ``dev/wer_worst`` of
        the worst dialect with enough words, or of the worst where none has; ``dev/unreadable``.
    """
    found: dict[str, float] = {}
    if counts.unreadable:
        found["dev/unreadable"] = float(counts.unreadable)
    for name, (loss, number) in (("heads_loss", counts.heads_loss), ("loss", counts.loss)):
        if number:
            found[f"dev/{name}"] = loss / number
    for head, pairs in counts.heard.items():
        if pairs:
            heard, said = zip(*pairs, strict=True)
            found[f"dev/f1/{head}"] = 100 * macro_f1(said, heard)
    heard_of = groups(counts.errors)
    if heard_of:
        wrong, words = (sum(column) for column in zip(*counts.errors.values(), strict=True))
        found["dev/wer"] = 100 * wrong / words
        found["dev/wer_worst"] = heard_of[worst_group(heard_of, list(heard_of))].wer
        found |= {f"dev/wer/{name}": count.wer for name, count in sorted(heard_of.items())}
    return found


def groups(errors: Mapping[str, Sequence[float]]) -> dict[str, Count]:
    """Word errors as the gate takes them; a dialect in which nothing was said is no group."""
    return {name: Count(int(wrong), int(words)) for name, (wrong, words) in errors.items() if words}


def _add(sums: list[float], more: Sequence[float]) -> None:
    sums[:] = [one + other for one, other in zip(sums, more, strict=True)]
