"""What the intent model knows of a text: its vector, its words and letters, and whether it asks.

Shapes: N texts.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from asr.text import fold

# Characters that are read: an utterance of thirty seconds has half of it, and the time that one takes has an end.
LONGEST = 1000
# Words and pairs of words, and what is inside a word, where a recogniser's errors leave more of it as it was.
WORDS, LETTERS = (1, 2), (3, 4)

_MARKUP = re.compile(r"<[^<>]*>")
_QUESTION_MARKS, _OTHER_MARKS = "?？؟", ".!…。！"
# Signs that are said aloud.
_SPOKEN = frozenset("%°€$£+")


def bare(text: str) -> str:
    """Return a text as the model reads it, whoever wrote it: lower case, words between single spaces, no punctuation.

    Markup in angle brackets and control characters are left out. Of a long text the beginning is read.

    Args:
        text: Any text.
    """
    # What is cut here is beyond what can be read, whatever stands between the letters.
    text = _MARKUP.sub(" ", text[: 20 * LONGEST])
    text = "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)
    kept: list[str] = []
    for char in fold(text, ""):
        apostrophe = char == "'" and bool(kept) and kept[-1].isalnum()
        spoken = apostrophe or char in _SPOKEN or unicodedata.category(char)[0] in "LNM"
        kept.append(char if spoken else " ")
    words = (word.rstrip("'") for word in "".join(kept).split())
    return " ".join(word for word in words if word)[:LONGEST].rstrip()


def asks(text: str) -> float | None:
    """Whether a text's own final mark says that it is a question: 1 or 0; None where it has none.

    Args:
        text: With its punctuation.
    """
    text = text.rstrip(" \t\n\"'»”’)")
    marks = text[len(text.rstrip(_QUESTION_MARKS + _OTHER_MARKS)) :]
    return None if not marks else float(any(mark in _QUESTION_MARKS for mark in marks))


def ngrams(texts: Sequence[str], buckets: int) -> csr_matrix:
    """Count words, pairs of words, and letters of a word three and four at a time, in buckets by their hash.

    A hash needs no vocabulary; half of the counts are subtracted, so that two in one bucket do not add up (Weinberger
    et al. 2009, arXiv 0902.2206).

    Args:
        texts: As `bare` gives them.
        buckets: How many there are.

    Returns:
        [N, buckets], each row of length 1, or zero where a text is empty.
    """
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    for row, text in enumerate(texts):
        counts: Counter[int] = Counter()
        for gram in _grams(text):
            code = zlib.crc32(gram.encode())
            counts[code % buckets] += 1 if code >> 31 else -1
        length = np.sqrt(sum(count * count for count in counts.values())) or 1.0
        rows += [row] * len(counts)
        columns += counts.keys()
        values += [count / length for count in counts.values()]
    shape = (len(texts), buckets)
    return csr_matrix((np.array(values, np.float32), (rows, columns)), shape=shape, dtype=np.float32)


def _grams(text: str) -> Iterator[str]:
    words = text.split()
    for size in WORDS:
        yield from (" ".join(words[at : at + size]) for at in range(len(words) - size + 1))
    for word in words:
        edged = f" {word} "
        for size in LETTERS:
            # A space in front keeps the letters of a word from being taken for a word.
            yield from (f"  {edged[at : at + size]}" for at in range(len(edged) - size + 1))


def question_feature(chances: Sequence[float | None]) -> npt.NDArray[np.float32]:
    """The feature of the sentence type, [N]: half for a question, minus half for none, zero where nobody can tell.

    Args:
        chances: Probability of a question, or None.
    """
    return np.array([0.0 if chance is None else chance - 0.5 for chance in chances], np.float32)
