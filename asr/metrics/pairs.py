"""Questions against the same words said otherwise: pairs that only the voice tells apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from asr.metrics.bootstrap import Clusters

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.intp]


class SameWords:
    """All pairs of a question and a fragment that is none, of the same sentence.

    Where a voice said a sentence both ways, only such pairs of one voice count for that sentence, for nothing but the
    tune differs in them; else all of its pairs do. The accuracy is the share of pairs in which the question is the one
    more probably a question, ties by half: the area under the ROC curve as Mann and Whitney (1947) count it, with pairs
    across sentences (and, where possible, voices) left out, so that no choice of words is rewarded.

    Args:
        asks: Which fragments are questions, [N].
        chances: How probable that was in each, [N].
        sentences: What was said in each, normalised; empty where no word was, which is the same as nothing.
        voices: Who said it.

    Attributes:
        count: Pairs.
    """

    def __init__(
        self, asks: Flags, chances: Floats, sentences: Sequence[str] | npt.NDArray[np.str_], voices: Clusters
    ) -> None:
        sentence = np.unique(np.asarray(sentences, str), return_inverse=True)[1]
        voice = np.unique(np.asarray(voices), return_inverse=True)[1]
        own = np.unique(sentence * len(asks) + voice, return_inverse=True)[1]
        by_one_voice = np.zeros(len(asks), bool)
        by_one_voice[sentence[_both_ways(own, asks)]] = True
        by_one_voice = by_one_voice[sentence]
        # Pairs are made within a group: a sentence, or a voice's own share of it.
        group = np.where(by_one_voice, own, len(asks) + sentence)
        words = np.asarray(sentences, str) != ""
        rows = np.flatnonzero(words & _both_ways(group, asks))
        rows = rows[np.lexsort((chances[rows], group[rows]))]
        new_group = np.diff(group[rows], prepend=-1) != 0
        new_level = new_group | (np.diff(chances[rows], prepend=-1) != 0)
        self._size = len(asks)
        self._rows = rows
        self._asks = asks[rows]
        self._by_one_voice = by_one_voice[rows]
        # Equal chances in a group are a level; levels rise within it.
        self._level = np.cumsum(new_level) - 1
        groups = np.cumsum(new_group) - 1
        edges = np.append(self._level[new_group], self._level[-1] + 1 if len(rows) else 0)
        self._lowest, self._end = edges[groups], edges[groups + 1]
        self.count = int(self._weigh(np.arange(len(asks)))[1])

    def accuracy(self, chosen: Rows) -> float | None:
        """Return the share of pairs that are right; None where there is none.

        Args:
            chosen: Numbers of fragments, all of a voice as often as it was drawn. One that is drawn twice stands for
                two voices, which have twice its pairs.
        """
        right, pairs = self._weigh(chosen)
        return right / pairs if pairs else None

    def _weigh(self, chosen: Rows) -> tuple[float, float]:
        times = np.bincount(chosen, minlength=self._size)[self._rows]
        questions = times * self._asks
        # Between two copies of a voice there are no pairs of one voice: its pairs grow as its copies, not their square.
        others = np.where(self._by_one_voice, times > 0, times) * ~self._asks
        at_level = np.bincount(self._level, weights=others)
        below = np.append(0.0, np.cumsum(at_level))
        beaten = below[self._level] - below[self._lowest] + at_level[self._level] / 2
        return float(questions @ beaten), float(questions @ (below[self._end] - below[self._lowest]))


def _both_ways(group: npt.NDArray[np.integer], asks: Flags) -> Flags:
    """Which fragments are of a group that holds a question and one that is none."""
    questions, others = np.bincount(group, weights=asks), np.bincount(group, weights=~asks)
    both: Flags = ((questions > 0) & (others > 0))[group]
    return both
