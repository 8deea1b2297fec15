"""What else a word may have been: the hypotheses of a beam search, word by word beside the best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import jiwer
from scipy.special import softmax

from asr.transcript import Alternative, Hypothesis, Word


def with_alternatives(words: Sequence[Word], hypotheses: Sequence[Hypothesis]) -> tuple[Word, ...]:
    """Give words what stands in their place in other hypotheses, and how probable that is.

    A hypothesis counts by its probability among all (a softmax of their log-probabilities). It is aligned with the best
    one by the least number of changes; what it has more of than the best stands in no word's place.

    Args:
        words: Of the best hypothesis. In a language without spaces they are not its ``split()``, and stay as they are.
        hypotheses: The best first.
    """
    if len(hypotheses) < 2 or len(words) != len(hypotheses[0].text.split()):
        return tuple(words)
    best, *others = (one.text.split() for one in hypotheses)
    shares = softmax([one.log_probability for one in hypotheses])[1:]
    found: list[dict[str, float]] = [{} for _ in words]
    for other, share in zip(others, shares, strict=True):
        # Of an empty text jiwer makes nothing.
        if not other:
            continue
        for chunk in jiwer.process_words(" ".join(best), " ".join(other)).alignments[0]:
            if chunk.type not in ("substitute", "delete"):
                continue
            for step, place in enumerate(range(chunk.ref_start_idx, chunk.ref_end_idx)):
                text = other[chunk.hyp_start_idx + step] if chunk.type == "substitute" else ""
                found[place][text] = found[place].get(text, 0.0) + float(share)
    return tuple(
        replace(
            word,
            alternatives=tuple(
                Alternative(text, share) for text, share in sorted(own.items(), key=lambda pair: (-pair[1], pair[0]))
            ),
        )
        for word, own in zip(words, found, strict=True)
    )
