"""Final marks: read off the decoder's scores against its scores one by one, put into the text, fused with the voice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import logit
from whisper.tokenizer import get_tokenizer

from asr import Transcriber
from asr.inference.decoding import DecodeOptions
from asr.inference.punctuation import asks, has_words, punctuated, question_log_odds
from asr.model.checkpoint import Checkpoint, CheckpointInfo
from asr.model.heads import Fusion, HeadSpec
from asr.model.network import DialectWhisper, Encoded
from asr.transcript import UNKNOWN, Transcript

Samples = npt.NDArray[np.float32]
Voice = Callable[..., Samples]


@pytest.mark.parametrize(
    ("text", "language", "question", "expected"),
    [
        ("You like John.", "en", True, "You like John?"),
        ("You like John?", "en", False, "You like John."),
        ("You like John", "en", True, "You like John?"),
        ("You like John", "en", False, "You like John"),
        ("You like John!", "en", False, "You like John!"),
        ("You like John...", "en", True, "You like John?"),
        ("You like John?!", "en", True, "You like John?!"),
        ("You like John?!", "en", False, "You like John."),
        ('He said: "You like John."', "en", True, 'He said: "You like John?"'),
        ("Who is it? It is John.", "en", False, "Who is it? It is John."),
        ("Tu l’aimes.", "fr", True, "Tu l’aimes ?"),
        ("Tu l’aimes ?", "fr", False, "Tu l’aimes."),
        ("Hola. ¿Te gusta?", "es", False, "Hola. Te gusta."),
        ("¿Sí? ¿Te gusta?", "es", False, "¿Sí? Te gusta."),
        ("Te gusta.", "es", True, "Te gusta?"),
        ("好きです。", "ja", True, "好きです？"),
        ("好きですか?", "ja", False, "好きですか。"),
        ("هل تحبه؟", "ar", False, "هل تحبه."),
        ("Σου αρέσει.", "el", True, "Σου αρέσει;"),
        ("Σου αρέσει;", "el", False, "Σου αρέσει."),
        ("you like John;", "en", False, "you like John;"),
    ],
)
def test_the_mark_agrees_and_nothing_else_changes(text: str, language: str, question: bool, expected: str) -> None:
    assert punctuated(text, language, question) == expected
    assert punctuated(expected, language, question) == expected
    assert asks(expected, language) is question


def test_what_has_no_word_has_no_place_for_a_mark() -> None:
    assert [has_words(text) for text in ("", "?", "...", " - ", "a", "3", "はい", "نعم")] == [False] * 4 + [True] * 4


def encoded(model: DialectWhisper, clips: list[Samples]) -> Encoded:
    audio = torch.zeros(len(clips), max(map(len, clips)))
    for row, clip in zip(audio, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    return model.encode(*model.features(audio, model.window_samples(torch.tensor([len(clip) for clip in clips]))))


@torch.inference_mode()
def test_log_odds_are_those_of_whispers_own_decoder(model: DialectWhisper, voice: Voice) -> None:
    texts = ["You like John?", "No", "This one is quite a bit longer, is it not."]
    clips = [voice(seconds, number) for number, seconds in enumerate((1.0, 0.5, 2.0))]
    heard = encoded(model, clips)
    found = question_log_odds(model, heard, texts, "en")
    tokenizer = get_tokenizer(True, num_languages=99, language="en", task="transcribe")
    for row, text in enumerate(texts):
        words = tokenizer.encode(" " + text.rstrip("?."))
        tokens = torch.tensor([[*tokenizer.sot_sequence_including_notimestamps, *words]])
        chances = model.whisper.decoder(tokens, heard.states[row : row + 1])[0, -1].log_softmax(-1).double().exp()
        question, statement = (
            sum(chances[tokenizer.encode(before + mark)[0]] for before in ("", " ")) for mark in "?."
        )
        assert found[row] == pytest.approx(float((question / statement).log()), abs=1e-4)
    assert len({round(value, 3) for value in found}) == 3


@torch.inference_mode()
@pytest.mark.parametrize("language", ["ja", "ar", "el", "ur", "fr"])
def test_other_scripts_and_endless_texts_have_odds(model: DialectWhisper, voice: Voice, language: str) -> None:
    found = question_log_odds(
        model, encoded(model, [voice(1.0), voice(1.0, 1)]), ["はい\ufffd" * 600, "<|fr|>はい"], language
    )
    assert np.isfinite(found).all()


FUSION = Fusion(words=0.0, voice=1.0, bias=0.0, threshold=0.5)


@pytest.fixture
def ours(model: DialectWhisper) -> Transcriber:
    model.set_heads({"intonation": HeadSpec(("question", "statement"), fusion=FUSION)})
    return Transcriber(
        Checkpoint(model.eval(), CheckpointInfo("tiny")), options=DecodeOptions(max_tokens=6), speech=None
    )


def lean(transcriber: Transcriber, question: float, fusion: Fusion | None = FUSION) -> None:
    """Have the head say a question with these log-odds, whatever it hears."""
    head = transcriber.checkpoint.model.head("intonation")
    head.spec = replace(head.spec, fusion=fusion)
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.copy_(torch.tensor([question, 0.0]))


def test_the_text_carries_the_fused_mark_and_both_sources(ours: Transcriber, voice: Voice) -> None:
    for odds, mark in ((3.0, "?"), (-3.0, ".")):
        lean(ours, odds)
        for found in (ours.transcribe(voice(1.0, number), language="en") for number in range(4)):
            assert found.punctuation is not None and has_words(found.text)
            assert found.punctuation.mark == mark and asks(found.text, "en") is (mark == "?")
            assert found.segments[-1].text == found.text
            assert found.punctuation.p_voice == found.p_question == pytest.approx(1 / (1 + np.exp(-odds)))
            assert found.punctuation.p_question == pytest.approx(found.p_question)
            assert found.to_dict()["punctuation"]["mark"] == mark


def test_the_decoder_is_asked_about_the_text_it_wrote(ours: Transcriber, voice: Voice) -> None:
    lean(ours, -1.0, Fusion(words=2.0, voice=0.5, bias=0.1, threshold=0.0))
    found = ours.transcribe(voice(1.0), language="en")
    assert found.punctuation is not None and asks(found.text, "en")
    words = question_log_odds(ours.checkpoint.model, encoded(ours.checkpoint.model, [voice(1.0)]), [found.text], "en")
    assert logit(found.punctuation.p_words) == pytest.approx(words[0], abs=1e-3)
    assert logit(found.punctuation.p_question) == pytest.approx(2 * words[0] - 0.5 + 0.1, abs=1e-3)


def test_the_same_alone_and_in_a_batch_of_languages(ours: Transcriber, voice: Voice) -> None:
    lean(ours, 0.5, Fusion(words=1.0, voice=1.0, bias=0.0, threshold=0.5))
    clips = [voice(0.6 + 0.3 * number, number) for number in range(4)]
    for clip, heard in zip(clips, ours.transcribe_many(clips), strict=True):
        assert isinstance(heard, Transcript) and heard.punctuation is not None
        alone = ours.transcribe(clip, language=heard.language)
        assert alone.punctuation is not None and alone.text == heard.text
        assert alone.punctuation.p_question == pytest.approx(heard.punctuation.p_question, abs=1e-4)


def test_without_a_fusion_or_voice_the_text_is_the_decoders(ours: Transcriber, voice: Voice) -> None:
    lean(ours, 3.0, None)
    plain = ours.transcribe(voice(1.0), language="en")
    assert plain.punctuation is None and plain.p_question == pytest.approx(1 / (1 + np.exp(-3)))
    quiet = np.zeros(16000, np.float32)
    unheard = ours.transcribe(quiet, language="en")
    lean(ours, 3.0)
    found = ours.transcribe(quiet, language="en")
    assert (found.punctuation, found.intonation, found.p_question) == (None, UNKNOWN, None)
    assert found.text == unheard.text
