"""What is read of a text, by examples and properties; counted words and letters against counting by hand."""

from __future__ import annotations

import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.intent.features import LONGEST, asks, bare, ngrams, question_feature


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("What's the weather, like?!", "what's the weather like"),
        ("Réserve « L’Œuvre »…", "réserve l'œuvre"),
        ("'quoted' and it's", "quoted and it's"),
        ("up by 50%, 20 °C", "up by 50% 20 °c"),
        ("<b>bold</b><script>x()</script>", "bold x"),
        ("bell\x07 null\x00 tab\there", "bell null tab here"),
        ("a < b", "a b"),
        ("\u202eright to left\u200b", "right to left"),
        (" \n?!…", ""),
        ("", ""),
    ],
)
def test_what_is_read_of_a_text(text: str, read: str) -> None:
    assert bare(text) == read


@given(st.text())
def test_what_is_read_is_read_again_as_it_is(text: str) -> None:
    read = bare(text)
    assert bare(read) == read
    assert " ".join(read.split()) == read


@pytest.mark.parametrize("text", ["word " * 10_000, "<" * 100_000, "<b>" * 50_000, "é" * 100_000, "' " * 50_000])
def test_a_long_text_is_read_from_its_beginning(text: str) -> None:
    assert len(bare(text)) <= LONGEST
    assert ("word " * 10_000).startswith(bare("word " * 10_000))


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Is it?", 1),
        ("Est-ce vrai ? ", 1),
        ("“Really?”", 1),
        ("What?!", 1),
        ("Yes.", 0),
        ("Go!", 0),
        ("is it", None),
        ("", None),
    ],
)
def test_a_final_mark_says_whether_it_asks(text: str, asked: float | None) -> None:
    assert asks(text) == asked


def test_the_feature_is_zero_where_nobody_can_tell() -> None:
    np.testing.assert_array_equal(question_feature([None, 1.0, 0.0, 0.75]), [0, 0.5, -0.5, 0.25])


def by_hand(text: str, buckets: int) -> np.ndarray:
    words = text.split()
    grams = words + [f"{one} {other}" for one, other in pairwise(words)]
    for word in words:
        for size in (3, 4):
            grams += ["  " + f" {word} "[at : at + size] for at in range(len(word) + 3 - size)]
    row = np.zeros(buckets)
    for gram in grams:
        code = zlib.crc32(gram.encode())
        row[code % buckets] += 1 if code & 2**31 else -1
    return row / (np.linalg.norm(row) or 1)


@given(st.lists(st.text("abé' ", max_size=30), max_size=5), st.sampled_from([1, 7, 64]))
def test_words_and_letters_are_counted(texts: list[str], buckets: int) -> None:
    counted = ngrams(texts, buckets)
    assert counted.shape == (len(texts), buckets)
    for text, row in zip(texts, counted.toarray(), strict=True):
        np.testing.assert_allclose(row, by_hand(text, buckets), atol=1e-6)
