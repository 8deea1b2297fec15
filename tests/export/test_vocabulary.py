"""Whisper's vocabulary for other runtimes, against openai-whisper's own."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from whisper.model import ModelDimensions, Whisper

from asr.errors import CheckpointError
from asr.export.vocabulary import Vocabulary, vocabulary_of, write_preprocessor, write_tokenizer

SIZES = ModelDimensions(80, 1500, 8, 1, 1, 51865, 448, 8, 1, 1)
VOCABULARIES = (51864, 51865, 51866)


@cache
def both(n_vocab: int) -> tuple[Vocabulary, Tokenizer]:
    vocabulary = vocabulary_of(Whisper(replace(SIZES, n_vocab=n_vocab)))
    with TemporaryDirectory() as folder:
        write_tokenizer(vocabulary, Path(folder))
        return vocabulary, Tokenizer.from_file(f"{folder}/tokenizer.json")


@pytest.mark.parametrize("n_vocab", VOCABULARIES)
@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.text("abe 'stdée-12\n ", max_size=60))
def test_text_has_the_tokens_of_openai(n_vocab: int, text: str) -> None:
    vocabulary, theirs = both(n_vocab)
    expected = vocabulary.tokenizer.encoding.encode(text, disallowed_special=())
    if not any(special in text for special in vocabulary.specials):
        assert theirs.encode(text, add_special_tokens=False).ids == expected
    assert theirs.decode(expected) == text


@pytest.mark.parametrize("n_vocab", VOCABULARIES)
def test_every_id_is_the_same_token(n_vocab: int) -> None:
    vocabulary, theirs = both(n_vocab)
    assert theirs.get_vocab_size() == len(vocabulary.strings) == len(set(vocabulary.strings)) == n_vocab
    assert [theirs.id_to_token(number) for number in range(n_vocab)] == vocabulary.strings
    for name, number in vocabulary.tokenizer.special_tokens.items():
        assert theirs.token_to_id(name) == number
    assert theirs.encode("<|startoftranscript|><|0.00|> a", add_special_tokens=False).ids[:2] == [
        vocabulary.tokenizer.sot,
        vocabulary.tokenizer.timestamp_begin,
    ]


def test_languages_and_what_is_never_written() -> None:
    (few, _), (more, _) = both(51865), both(51866)
    assert len(few.languages) == 99 and len(more.languages) == 100 and more.languages["yue"] == 50358
    assert few.suppressed_first == (220, 50257)
    # What openai's own file of base says for transformers.
    assert few.suppressed[:6] == (1, 2, 7, 8, 9, 10)
    assert few.suppressed[-6:] == (50258, 50358, 50359, 50360, 50361, 50362)


def test_another_vocabulary_is_refused() -> None:
    with pytest.raises(CheckpointError, match="has 300 tokens, and Whisper's vocabulary for it"):
        vocabulary_of(Whisper(replace(SIZES, n_vocab=300)))


def test_features_are_those_of_the_model(tmp_path: Path) -> None:
    write_preprocessor(Whisper(replace(SIZES, n_mels=128)), tmp_path)
    found = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert (found["feature_size"], found["nb_max_frames"], found["n_samples"]) == (128, 3000, 480000)
