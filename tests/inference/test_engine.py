"""What the engines promise: one transcript, whichever of them made it, however many work at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from asr.errors import ConfigError
from asr.expressions import Lexicon
from asr.inference.decoding import DecodeOptions
from asr.inference.fallback import Fallback
from asr.inference.transcriber import Transcriber
from asr.model.checkpoint import Checkpoint
from asr.model.info import WordConfidence
from asr.transcript import Transcript

Voice = Callable[..., npt.NDArray[np.float32]]
Samples = npt.NDArray[np.float32]
SHORT = DecodeOptions(max_tokens=8)


@pytest.fixture
def clips(voice: Voice) -> list[Samples]:
    """Of many lengths; with the margin of 0.25 s, some end at a half second."""
    return [voice(seconds, number) for number, seconds in enumerate((0.25, 0.75, 1.25, 2.0, 0.6, 1.25, 1.1, 0.75))]


def heard(results: object) -> list[Transcript]:
    found = list(results)  # type: ignore[call-overload]
    assert all(isinstance(one, Transcript) for one in found), found
    return found


def test_both_engines_give_the_same_transcripts(checkpoint: Checkpoint, folder: Path, clips: list[Samples]) -> None:
    # Torch in windows that end at half seconds too.
    checkpoint.model.window_samples = lambda samples: torch.tensor(  # type: ignore[method-assign]
        [-(-(int(one) + 4000) // 8000) * 8000 for one in samples.reshape(-1)]
    ).reshape(samples.shape)
    expected = heard(
        Transcriber(checkpoint, device="cpu", options=SHORT, words=True, speech=None).transcribe_many(clips)
    )
    found = heard(
        Transcriber(folder, device="cpu", options=SHORT, words=True, speech=None, replicas=2).transcribe_many(clips)
    )
    assert len({one.text for one in found}) > 2
    for theirs, own in zip(expected, found, strict=True):
        assert (own.text, own.language, own.dialect, own.intonation) == (
            theirs.text, theirs.language, theirs.dialect, theirs.intonation
        )  # fmt: skip
        assert own.dialect_scores == pytest.approx(theirs.dialect_scores, abs=1e-4)
        assert own.intonation_scores == pytest.approx(theirs.intonation_scores, abs=1e-4)
        assert (own.punctuation is None) == (theirs.punctuation is None)
        for one, other in zip(own.words, theirs.words, strict=True):
            assert one.text == other.text
            assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=0.021)


def test_neither_company_nor_the_number_of_replicas_changes_anything(folder: Path, clips: list[Samples]) -> None:
    given = {"device": "cpu", "options": SHORT, "words": True, "speech": None}
    alone = Transcriber(folder, replicas=1, batch_seconds=0.1, **given)  # type: ignore[arg-type]
    many = Transcriber(folder, replicas=3, batch_seconds=5, **given)  # type: ignore[arg-type]
    expected = [one.to_dict() for one in heard(alone.transcribe_many(clips, language="fr"))]
    for _ in range(3):
        found = [one.to_dict() for one in heard(many.transcribe_many(clips, language="fr"))]
        for own, theirs in zip(found, expected, strict=True):
            assert own["text"] == theirs["text"]
            assert own["segments"][0]["avg_logprob"] == pytest.approx(theirs["segments"][0]["avg_logprob"], abs=1e-5)


def test_the_callers_threads_are_left_alone(folder: Path, clips: list[Samples]) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        ours = Transcriber(folder, device="cpu", options=SHORT, speech=None)
        assert (ours.engine.replicas, ours.engine.threads, torch.get_num_threads()) == (3, 1, 3)
        heard(ours.transcribe_many(clips))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_search_that_only_torch_knows_is_refused(folder: Path) -> None:
    lexicon = Lexicon("fr-CA", ())
    for options, given in ((DecodeOptions(bias=1.0), lexicon), (DecodeOptions(temperature=0.5), None)):
        with pytest.raises(ConfigError, match="ctranslate2 can neither be led to a lexicon's expressions nor draw"):
            Transcriber(folder, options=options, lexicon=given)
    Transcriber(folder, options=DecodeOptions(bias=1.0))  # there is nothing to be led to


def test_a_recording_is_decoded_again_without_chance(folder: Path, speak: Voice) -> None:
    # Nothing is likely enough: all steps are taken that the engine knows.
    options = DecodeOptions(max_tokens=8, fallback=Fallback(logprob=10.0, no_speech=1.1))
    found = Transcriber(folder, options=options).transcribe(speak(3.0), language="fr")
    assert found.text and found.fallbacks == {"beam": 1}


def test_words_are_as_sure_as_was_learnt(checkpoint: Checkpoint, clips: list[Samples]) -> None:
    worth = WordConfidence(0.5, 0.3)
    learnt = replace(checkpoint, info=replace(checkpoint.info, words=worth))
    plain, sure = (
        Transcriber(one, device="cpu", options=SHORT, words=True, speech=None).transcribe(clips[3], language="fr")
        for one in (checkpoint, learnt)
    )
    assert plain.words and [word.text for word in plain.words] == [word.text for word in sure.words]
    assert [word.probability for word in sure.words] == [worth.of(word.probability) for word in plain.words]
