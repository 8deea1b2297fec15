"""Word times against openai-whisper's own, and against what must hold in a window of any length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import whisper
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper.timing import find_alignment
from whisper.tokenizer import Tokenizer, get_tokenizer

from asr.inference.words import word_times, words_of
from asr.model.network import DialectWhisper, Encoded
from asr.transcript import Word

TEXTS = (" the quick brown fox jumps", " l'homme, dit-elle, s'en va-t'en guerre !", " oui")
LENGTHS = (52000, 31111, 16000)


def tokenizer_of(language: str) -> Tokenizer:
    return get_tokenizer(True, num_languages=99, language=language)


def noise(count: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(count).standard_normal(count)).astype(np.float32)


def encode(model: DialectWhisper, *lengths: int) -> Encoded:
    audio = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        audio[row, :length] = torch.from_numpy(noise(length))
    return model.encode(*model.features(audio, model.window_samples(torch.tensor(lengths))))


def times(words: tuple[Word, ...]) -> list[float]:
    return [time for word in words for time in (word.start, word.end)]


@pytest.mark.parametrize("length", [LENGTHS[1], 480000])
def test_in_a_padded_window_they_are_whispers(model: DialectWhisper, length: int) -> None:
    text = tokenizer_of("en").encode(TEXTS[0])
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(noise(length)))
    theirs = find_alignment(model.whisper, tokenizer_of("en"), text, mel, length // 160)
    (ours,) = word_times(model, encode(model, length), [length // 320], [text], "en")
    theirs = [word for word in theirs if word.word.strip()]
    assert [word.text for word in ours] == [word.word.strip() for word in theirs] == TEXTS[0].split()
    assert times(ours) == pytest.approx([time for word in theirs for time in (word.start, word.end)], abs=1e-9)
    assert len(set(times(ours))) > 2
    assert [word.probability for word in ours] == pytest.approx([word.probability for word in theirs], rel=1e-3)


@pytest.mark.parametrize("window", ["padded", "tight"])
def test_a_batch_has_the_times_of_each_alone(model: DialectWhisper, window: str) -> None:
    model.window = window  # type: ignore[assignment]
    texts = [tokenizer_of("fr").encode(text) for text in TEXTS]
    frames = [length // 320 for length in LENGTHS]
    together = word_times(model, encode(model, *LENGTHS), frames, texts, "fr")
    for row, (length, text) in enumerate(zip(LENGTHS, texts, strict=True)):
        (alone,) = word_times(model, encode(model, length), [frames[row]], [text], "fr")
        assert [word.text for word in together[row]] == [word.text for word in alone] == TEXTS[row].split()
        assert times(together[row]) == times(alone)
        assert [word.probability for word in together[row]] == pytest.approx(
            [word.probability for word in alone], rel=1e-3
        )


@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 20000), words=st.integers(0, 12))
def test_words_lie_in_the_fragment_one_after_the_other(length: int, words: int) -> None:
    text = tokenizer_of("en").encode("".join(f" word{number}" for number in range(words)))
    model = DialectWhisper(_random(), "tight")
    (found,) = word_times(model, encode(model, length), [max(1, length // 320)], [text], "en")
    assert len(found) == words
    assert all(0 <= time <= length / 16000 for time in times(found))
    assert times(found) == sorted(times(found))
    assert all(0 <= word.probability <= 1 for word in found)


_MODELS: list[whisper.model.Whisper] = []


def _random() -> whisper.model.Whisper:
    """One model for all examples; fixtures cannot be given to them."""
    if not _MODELS:
        torch.manual_seed(0)
        dims = whisper.model.ModelDimensions(80, 1500, 16, 2, 2, 51865, 448, 16, 2, 2)
        model = whisper.model.Whisper(dims).eval()
        # Whisper leaves these as the memory happens to be.
        torch.nn.init.normal_(model.decoder.positional_embedding)
        _MODELS.append(model)
    return _MODELS[0]


@settings(deadline=None)
@given(text=st.text(st.sampled_from("abé -'«,.!?\n\u00a0ß語👍🏽"), max_size=30))
def test_words_are_those_of_the_text(text: str) -> None:
    tokenizer = tokenizer_of("fr")
    ids = tokenizer.encode(text)
    found = list(words_of(tokenizer, ids, np.arange(len(ids) + 1.0), np.ones(len(ids)))) if ids else []
    assert [word.text for word in found] == text.split()
    assert all(word.end > word.start for word in found)


def test_without_spaces_words_are_the_tokens_and_marks_join_them() -> None:
    tokenizer = tokenizer_of("ja")
    ids = tokenizer.encode("今日は、雨。")
    found = list(words_of(tokenizer, ids, np.arange(len(ids) + 1.0), np.ones(len(ids))))
    assert [word.text for word in found] == ["今日は、", "雨。"]
