"""Batched decoding against openai-whisper's own, on the padded window that both hear."""

from __future__ import annotations

from dataclasses import replace

import langcodes
import numpy as np
import pytest
import torch
import whisper
from torch import Tensor
from whisper.decoding import DecodingOptions, DecodingTask
from whisper.model import Whisper
from whisper.tokenizer import LANGUAGES, get_tokenizer

import asr.inference.decoding as module
from asr.errors import ConfigError
from asr.inference.bias import ExpressionBias
from asr.inference.decoding import DecodeOptions, decode, detect_language, sayable_tokens
from asr.model.features import MAX_SAMPLES
from asr.model.network import DialectWhisper, Encoded

SECONDS = (0.4, 2.5, 7.0)


def clips() -> list[Tensor]:
    """Noise of several lengths and levels, which a random model answers with different texts."""
    chance = np.random.default_rng(3)
    return [
        torch.tensor(level * chance.standard_normal(round(16000 * seconds)), dtype=torch.float32)
        for level, seconds in zip((0.5, 0.02, 0.1), SECONDS, strict=True)
    ]


def encode(model: DialectWhisper, heard: list[Tensor]) -> Encoded:
    num_samples = model.window_samples(torch.tensor([len(clip) for clip in heard]))
    audio = torch.nn.utils.rnn.pad_sequence(heard, batch_first=True)
    return model.encode(*model.features(audio, num_samples))


def mels() -> Tensor:
    padded = [whisper.pad_or_trim(clip, MAX_SAMPLES) for clip in clips()]
    return torch.stack([whisper.log_mel_spectrogram(clip) for clip in padded])


def test_what_can_be_said_grows_with_the_time_up_to_whispers_limit(model: DialectWhisper) -> None:
    assert [sayable_tokens(model, seconds, "fr") for seconds in (0.0, 0.5, 5.0, 30.0)] == [16, 24, 96, 224]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_can_be_said_is_enough_for_every_language(model: DialectWhisper, language: str) -> None:
    # The names of languages as CLDR has them, said faster than anybody speaks.
    own = langcodes.Language.get(language)
    tags = ("en", "fr", "de", "es", "it", "ru", "zh", "ja", "ar", "hi", "pt", "ko", "tr", "pl", "nl", "fi", "el", "he")
    spoken = " ".join(langcodes.Language.get(tag).display_name(own) for tag in tags)
    slow = own.maximize().script in ("Hans", "Hant", "Jpan", "Kore")
    seconds = len(spoken) / (8 if slow else 20)
    needed = len(get_tokenizer(multilingual=True).encode(f" {spoken}"))
    assert min(needed, 224) <= sayable_tokens(model, seconds, language)


@pytest.mark.parametrize("beam_size", [None, 3])
@torch.inference_mode()
def test_nobody_says_more_than_can_be_said_in_the_time(model: DialectWhisper, beam_size: int | None) -> None:
    model.window = "tight"
    found = decode(model, encode(model, clips()), "de", DecodeOptions(beam_size=beam_size))
    most = [16 + round(16 * (round(100 * (seconds + model.margin)) // 2 / 50)) for seconds in SECONDS]
    # A random model hardly ever ends by itself.
    assert [len(result.tokens) for result in found] == most
    for clip, tokens, result in zip(clips(), most, found, strict=True):
        # Whisper's own loop, which simply stops there.
        (alone,) = decode(model, encode(model, [clip]), "de", DecodeOptions(beam_size=beam_size, max_tokens=tokens))
        assert result.tokens == alone.tokens and result.text == alone.text
        assert result.avg_logprob == pytest.approx(alone.avg_logprob, abs=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        DecodeOptions(max_tokens=12),
        DecodeOptions(max_tokens=12, beam_size=1),
        DecodeOptions(max_tokens=12, beam_size=4),
        DecodeOptions(max_tokens=6, prompt="Grüezi mitenand"),
        DecodeOptions(max_tokens=6, prompt="Grüezi mitenand", beam_size=3),
    ],
    ids=str,
)
@torch.inference_mode()
def test_a_batch_is_decoded_as_whisper_decodes_each(model: DialectWhisper, options: DecodeOptions) -> None:
    asked = DecodingOptions(
        language="de",
        without_timestamps=True,
        fp16=False,
        sample_len=options.max_tokens,
        beam_size=options.beam_size,
        prompt=options.prompt,
    )
    # One by one: its own beam search takes no batch.
    theirs = [whisper.decode(model.whisper, mel, asked) for mel in mels()]
    ours = decode(model, encode(model, clips()), "de", options)
    assert len({tuple(result.tokens) for result in theirs}) == len(SECONDS)
    tokenizer = get_tokenizer(multilingual=True)
    for our, their in zip(ours, theirs, strict=True):
        assert our.tokens == their.tokens
        written = [token for token in their.tokens if token < tokenizer.eot]  # as `whisper.transcribe` does
        assert (our.text, our.language) == (tokenizer.decode(written).strip(), "de")
        assert our.avg_logprob == pytest.approx(their.avg_logprob, abs=1e-4)
        assert our.no_speech_prob == pytest.approx(their.no_speech_prob, rel=1e-3)
        assert our.compression_ratio == their.compression_ratio


@pytest.mark.parametrize("beam_size", [None, 3])
@pytest.mark.parametrize(
    ("prompt", "whole"),
    [(None, "fr-CA"), ("Je m'en viens.", "Je m'en viens. fr-CA"), ("oui " * 300, "oui " * 300 + "fr-CA")],
    ids=["alone", "behind a prompt", "behind one that is cut"],
)
@torch.inference_mode()
def test_a_dialect_is_told_as_whisper_is_prompted(
    model: DialectWhisper, prompt: str | None, whole: str, beam_size: int | None
) -> None:
    asked = DecodingOptions(
        language="fr", without_timestamps=True, fp16=False, sample_len=6, beam_size=beam_size, prompt=whole
    )
    theirs = [whisper.decode(model.whisper, mel, asked) for mel in mels()]
    options = DecodeOptions(max_tokens=6, beam_size=beam_size, prompt=prompt)
    ours = decode(model, encode(model, clips()), "fr", options, tag="fr-CA")
    untold = decode(model, encode(model, clips()), "fr", options)
    for our, their, other in zip(ours, theirs, untold, strict=True):
        assert our.tokens == their.tokens
        assert our.avg_logprob == pytest.approx(their.avg_logprob, abs=1e-4)
        assert our.no_speech_prob == pytest.approx(their.no_speech_prob, rel=1e-3)
        assert our.avg_logprob != pytest.approx(other.avg_logprob, abs=1e-4)


@torch.inference_mode()
def test_without_a_limit_the_search_ends_where_whispers_does(model: DialectWhisper) -> None:
    asked = DecodingOptions(language="fr", without_timestamps=True, fp16=False)
    their = whisper.decode(model.whisper, mels()[1], asked)
    (our,) = decode(model, encode(model, clips()[1:2]), "fr")
    assert our.tokens == their.tokens


@pytest.mark.parametrize("beam_size", [None, 3])
@torch.inference_mode()
def test_in_a_tight_window_neighbours_do_not_matter(model: DialectWhisper, beam_size: int | None) -> None:
    options = DecodeOptions(max_tokens=12, beam_size=beam_size)
    padded = decode(model, encode(model, clips()), "fr", options)
    model.window, model.margin = "tight", 0.3
    together = decode(model, encode(model, clips()), "fr", options)
    alone = [decode(model, encode(model, [clip]), "fr", options)[0] for clip in clips()]
    assert [result.tokens for result in together] == [result.tokens for result in alone]
    assert [result.tokens for result in together] != [result.tokens for result in padded]


@torch.inference_mode()
def test_a_token_that_is_no_text_stays_out_of_it(model: DialectWhisper, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = get_tokenizer(multilingual=True)
    said = [*tokenizer.encode(" oui"), tokenizer.to_language_token("fr"), *tokenizer.encode(" non"), tokenizer.eot]
    left = iter(said)

    def logits(self: DialectWhisper, hidden: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(torch.tensor([next(left)]), self.whisper.dims.n_vocab).float()[:, None] * 99

    monkeypatch.setattr(DialectWhisper, "logits", logits)
    (result,) = decode(model, encode(model, clips()[:1]), "fr")
    assert result.tokens == said[:-1]
    assert result.text == "oui non"


@torch.inference_mode()
def test_the_language_is_the_one_whisper_detects(model: DialectWhisper) -> None:
    for block in model.whisper.decoder.blocks:
        block.cross_attn.out.weight.mul_(4)
    _, probabilities = whisper.decoding.detect_language(model.whisper, mels())
    found = detect_language(model, encode(model, clips()))
    assert found == [max(row, key=row.get) for row in probabilities]
    assert len(set(found)) > 1


@torch.inference_mode()
def test_an_english_only_model_hears_english(tiny_whisper: Whisper) -> None:
    english = Whisper(replace(tiny_whisper.dims, n_vocab=51864)).eval()
    model = DialectWhisper(english)
    encoded = encode(model, clips()[:2])
    assert detect_language(model, encoded) == ["en", "en"]
    asked = DecodingOptions(language="en", without_timestamps=True, fp16=False, sample_len=3)
    theirs = whisper.decode(english, mels()[:2], asked)
    ours = decode(model, encoded, "en", DecodeOptions(max_tokens=3))
    assert [result.tokens for result in ours] == [result.tokens for result in theirs]


@pytest.mark.parametrize("options", [{"beam_size": 0}, {"max_tokens": 0}, {"beam_size": -1}])
def test_options_that_cannot_work(options: dict[str, int]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=f"{name} must be 1 or more"):
        DecodeOptions(**options)


def test_a_prompt_cannot_say_what_only_whisper_says() -> None:
    with pytest.raises(ConfigError, match=r"the prompt holds '<\|'"):
        DecodeOptions(prompt="as I said <|endoftext|>")


@pytest.mark.parametrize("bias", [-0.5, float("nan"), float("inf")])
def test_a_bias_that_cannot_work(bias: float) -> None:
    with pytest.raises(ConfigError, match="bias must be a number, 0 or more"):
        DecodeOptions(bias=bias)


@torch.inference_mode()
@pytest.mark.parametrize("bias", [None, 0.7])
def test_the_best_texts_have_the_probabilities_that_whispers_decoder_gives_them(
    model: DialectWhisper, monkeypatch: pytest.MonkeyPatch, bias: float | None
) -> None:
    tokenizer = get_tokenizer(True, num_languages=99, language="de", task="transcribe")
    led = None if bias is None else ExpressionBias(["Cor"], tokenizer, bias)
    encoded, options = encode(model, clips()), DecodeOptions(beam_size=4, max_tokens=6)
    seen: list[list[tuple[list[int], float]]] = []
    real = module._hypotheses
    monkeypatch.setattr(module, "_hypotheses", lambda found, *rest: (seen.append(found), real(found, *rest))[1])
    results = decode(model, encoded, "de", replace(options, n_best=3), led)
    assert [one.hypotheses for one in decode(model, encoded, "de", options, led)] == [()] * len(results)
    filters = DecodingTask(model.whisper, DecodingOptions(language="de", without_timestamps=True)).logit_filters
    start = [*tokenizer.sot_sequence_including_notimestamps]
    for row, (result, found) in enumerate(zip(results, seen, strict=True)):
        assert 1 < len(result.hypotheses) <= 3
        assert result.hypotheses[0].text == result.text
        assert len({one.text for one in result.hypotheses}) == len(result.hypotheses)
        total = result.avg_logprob * (len(result.tokens) + 1)
        assert result.hypotheses[0].log_probability == pytest.approx(total, abs=1e-4)
        expected = {}
        for tokens, _ in found:
            ended = [tokenizer.eot] if len(tokens) < 6 else []
            whole = torch.tensor([[*start, *tokens, *ended]])
            scores = model.logits(model.decode(whole, encoded.select([row])))[0]
            total = 0.0
            for place in range(len(start), whole.shape[1]):
                own = scores[place - 1 : place].clone()
                for one in filters:
                    one.apply(own, whole[:, :place])
                total += float(own.log_softmax(-1)[0, whole[0, place]])
            expected.setdefault(tokenizer.decode([token for token in tokens if token < tokenizer.eot]).strip(), total)
        for one in result.hypotheses:
            assert one.log_probability == pytest.approx(expected[one.text], abs=1e-3)


def test_more_texts_than_beams_cannot_be_found() -> None:
    for beam_size in (None, 2):
        with pytest.raises(ConfigError, match="the 3 best texts are found by as many beams"):
            DecodeOptions(beam_size=beam_size, n_best=3)
    assert DecodeOptions(beam_size=9, n_best=9).step("beam").n_best == 5
    assert DecodeOptions(beam_size=9, n_best=9).step("temperature").n_best == 1
