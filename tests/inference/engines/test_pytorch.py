"""The engine of torch: what the decoder, the marks and the words say, in one place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from asr.inference.decoding import DecodeOptions, decode, detect_language
from asr.inference.engines.pytorch import TorchEngine
from asr.inference.punctuation import has_words, question_log_odds
from asr.inference.words import word_times
from asr.model.checkpoint import Checkpoint

Voice = Callable[..., npt.NDArray[np.float32]]


@torch.inference_mode()
def test_it_is_decoding_marks_and_words(checkpoint: Checkpoint, voice: Voice) -> None:
    model, engine = checkpoint.model, TorchEngine(checkpoint)
    audio = torch.from_numpy(np.stack([voice(1.0, number) for number in range(3)]))
    lengths = [engine.window_samples(samples) for samples in (16000, 12000, 9000)]
    assert lengths == model.window_samples(torch.tensor([16000, 12000, 9000])).tolist()
    encoded = model.encode(*model.features(audio, torch.tensor(lengths)))
    assert engine.detect_language(encoded) == detect_language(model, encoded)
    options = DecodeOptions(max_tokens=6)
    found = engine.decode(encoded, "fr", options, tag="fr-CA", marks=True)
    for own, theirs in zip(found, decode(model, encoded, "fr", options, tag="fr-CA"), strict=True):
        assert (list(own.tokens), own.text) == (theirs.tokens, theirs.text)
        assert (own.avg_logprob, own.no_speech_prob) == (theirs.avg_logprob, theirs.no_speech_prob)
    assert all(has_words(one.text) for one in found)
    assert [one.question_log_odds for one in found] == question_log_odds(
        model, encoded, [one.text for one in found], "fr"
    )
    tokens = [list(one.tokens) for one in found]
    assert engine.word_times(encoded, [50, 37, 28], found, "fr") == word_times(
        model, encoded, [50, 37, 28], tokens, "fr"
    )


def test_half_precision_is_for_gpus(checkpoint: Checkpoint) -> None:
    with TorchEngine(checkpoint).hearing():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
