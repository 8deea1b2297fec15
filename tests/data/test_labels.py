"""Labels against the same written out and read by tiktoken, and against where Whisper's own decoding begins."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from whisper.decoding import DecodingOptions, DecodingTask
from whisper.model import Whisper
from whisper.tokenizer import LANGUAGES, get_encoding

from asr.corpus.validate import MAX_LABEL_TOKENS
from asr.data.labels import IGNORED, Label, Labeller, Stretch


def labeller(vocabulary: int = 51865) -> Labeller:
    """As Whisper derives both from the size of the vocabulary."""
    multilingual = vocabulary >= 51865
    return Labeller(SimpleNamespace(is_multilingual=multilingual, num_languages=vocabulary - 51765 - multilingual))  # type: ignore[arg-type]


def said(text: str, seconds: float | None) -> str | list[Stretch]:
    """A text, or one whose times are asked for as well."""
    return text if seconds is None else [Stretch(text, 0.0, seconds)]


def written(text: str, given: int, vocabulary: int = 51865, silent: bool = False) -> Label:
    """A label from its spelling: of the first ``given`` tokens only what follows the start is asked for."""
    name = "multilingual" if vocabulary >= 51865 else "gpt2"
    encoding = get_encoding(name, num_languages=vocabulary - 51765 - (vocabulary >= 51865))
    tokens = encoding.encode(text, allowed_special="all")
    targets = [IGNORED] * (given - 1) + tokens[given:]
    start = tokens.index(encoding.encode("<|startoftranscript|>", allowed_special="all")[0])
    targets[start] = tokens[start + 1]
    if silent:
        targets[start] = encoding.encode("<|nospeech|>", allowed_special="all")[0]
    return Label(tuple(tokens[:-1]), tuple(targets))


@pytest.mark.parametrize("vocabulary", [51865, 51866])
def test_text(vocabulary: int) -> None:
    expected = written(
        "<|startoftranscript|><|fr|><|transcribe|><|notimestamps|> Je m'en viens.<|endoftext|>", 4, vocabulary
    )
    assert labeller(vocabulary)("  Je m'en viens. \n", "fr") == expected
    assert expected.targets[:3] == (expected.tokens[1], IGNORED, IGNORED)


@pytest.mark.parametrize("vocabulary", [51865, 51866])
def test_times(vocabulary: int) -> None:
    # 1.234 s lies between two steps of 20 ms. Ids of times differ between vocabularies.
    spelling = "<|startoftranscript|><|fr|><|transcribe|><|0.00|> Je m'en viens.<|1.24|><|endoftext|>"
    assert labeller(vocabulary)(said("Je m'en viens.", 1.234), "fr") == written(spelling, 3, vocabulary)
    spelling = "<|startoftranscript|><|fr|><|transcribe|><|0.00|> oui<|30.00|><|endoftext|>"
    assert labeller(vocabulary)(said("oui", 30.0), "fr") == written(spelling, 3, vocabulary)


@pytest.mark.parametrize("text", ["", "  ", "\n"])
@pytest.mark.parametrize("seconds", [None, 2.0])
def test_silence_asks_for_no_speech_where_whisper_reads_it(
    tiny_whisper: Whisper, text: str, seconds: float | None
) -> None:
    label = Labeller(tiny_whisper)(said(text, seconds), "de")
    spelling = "<|startoftranscript|><|de|><|transcribe|><|notimestamps|><|endoftext|>"
    assert label == written(spelling, 4, silent=True)
    task = DecodingTask(tiny_whisper, DecodingOptions(language="de", without_timestamps=True, fp16=False))
    assert label.targets[task.sot_index] == task.tokenizer.no_speech
    assert label.targets.count(task.tokenizer.no_speech) == 1


def test_english_only_models_have_no_language() -> None:
    english = labeller(51864)
    spelling = "<|startoftranscript|><|notimestamps|> Hello there.<|endoftext|>"
    assert english("Hello there.", "en") == written(spelling, 2, 51864)
    spelling = "<|startoftranscript|><|0.00|> Hello there.<|2.00|><|endoftext|>"
    assert english(said("Hello there.", 2.0), "en") == written(spelling, 1, 51864)
    assert english("", "en") == written("<|startoftranscript|><|notimestamps|><|endoftext|>", 2, 51864, silent=True)
    assert english.languages == ("en",)


def test_the_input_begins_as_decoding_does(tiny_whisper: Whisper) -> None:
    task = DecodingTask(tiny_whisper, DecodingOptions(language="fr", without_timestamps=True, fp16=False))
    label = Labeller(tiny_whisper)("oui", "fr")
    assert label.tokens[: len(task.initial_tokens)] == task.initial_tokens
    task = DecodingTask(tiny_whisper, DecodingOptions(language="fr", fp16=False))
    assert Labeller(tiny_whisper)(said("oui", 1.0), "fr").tokens[: len(task.initial_tokens)] == task.initial_tokens


@pytest.mark.parametrize("text", ["Grüezi mitenand, wie gaat's?", "¿Qué onda, güey? 😀", "日本語", "x" * 50])
@pytest.mark.parametrize("seconds", [None, 1.0])
def test_every_target_is_the_next_input(text: str, seconds: float | None) -> None:
    label = labeller()(said(text, seconds), "es")
    assert len(label.tokens) == len(label.targets)
    for following, target in zip(label.tokens[1:], label.targets[:-1], strict=True):
        assert target in (IGNORED, following)
    answered = [target for target in label.targets if target != IGNORED]
    end = get_encoding("multilingual").eot_token
    start = end + 1
    assert answered.count(end) == 1 == label.tokens.count(start)
    assert answered[-1] == end
    assert end not in label.tokens
    # Of the start, the language, the task and the mode only the language is asked for.
    assert [target for target in answered if end < target < get_encoding("multilingual").n_vocab - 1501] == [
        label.tokens[1]
    ]


@pytest.mark.parametrize("text", ["oui", ""])
@pytest.mark.parametrize("seconds", [None, 1.0])
def test_a_dialect_is_told_where_whisper_puts_a_prompt(tiny_whisper: Whisper, text: str, seconds: float | None) -> None:
    timed = seconds is not None and text != ""
    asked = DecodingOptions(language="fr", prompt="fr-CA", without_timestamps=not timed, fp16=False)
    task = DecodingTask(tiny_whisper, asked)
    told = Labeller(tiny_whisper)(said(text, seconds), "fr", "fr-CA")
    assert told.tokens[: len(task.initial_tokens)] == task.initial_tokens
    # Behind it all is as it was, and of the tag itself nothing is asked.
    plain = Labeller(tiny_whisper)(said(text, seconds), "fr")
    assert told.tokens == task.initial_tokens[: task.sot_index] + plain.tokens
    assert told.targets == (IGNORED,) * task.sot_index + plain.targets
    assert (told.targets[task.sot_index] == task.tokenizer.no_speech) is (text == "")


@pytest.mark.parametrize(
    ("vocabulary", "start", "given"),
    [
        (51865, "<|startoftranscript|><|en|><|transcribe|>", 4),
        (51866, "<|startoftranscript|><|en|><|transcribe|>", 4),
        (51864, "<|startoftranscript|>", 2),
    ],
)
@pytest.mark.parametrize("tag", ["en-IN", "en-GB-x-cumbria"])
def test_a_dialect_is_spelt_as_its_tag(vocabulary: int, start: str, given: int, tag: str) -> None:
    prompt = f"<|startofprev|> {tag}"
    encoding = get_encoding("multilingual" if vocabulary >= 51865 else "gpt2", num_languages=99)
    ahead = len(encoding.encode(prompt, allowed_special="all"))
    spelling = f"{prompt}{start}<|notimestamps|> Hello there.<|endoftext|>"
    assert labeller(vocabulary)("Hello there.", "en", tag) == written(spelling, ahead + given, vocabulary)


def test_a_dialect_is_not_told_where_it_has_no_room() -> None:
    label = labeller()
    ahead = len(label("oui", "fr", "fr-CA").tokens) - len(label("oui", "fr").tokens)
    # The start, language, task, mode and end take five.
    most = MAX_LABEL_TOKENS - 5 - ahead
    fits, over = ("a " * most).strip(), ("a " * (most + 1)).strip()
    assert len(label(fits, "fr", "fr-CA").tokens) == MAX_LABEL_TOKENS - 1
    assert label(over, "fr", "fr-CA") == label(over, "fr")
    timed = label(said(fits, 1.0), "fr", "fr-CA")
    assert timed == label(said(fits, 1.0), "fr")  # two times in the place of one mode


@pytest.mark.parametrize("dialect", [None, "fr-CA"])
@pytest.mark.parametrize("before", ["Bonjour.", "un deux trois " * 200])
def test_what_was_said_before_is_told_as_whisper_tells_a_prompt(
    tiny_whisper: Whisper, before: str, dialect: str | None
) -> None:
    prompt = " ".join(filter(None, (before.strip(), dialect)))
    task = DecodingTask(
        tiny_whisper, DecodingOptions(language="fr", prompt=prompt, without_timestamps=True, fp16=False)
    )
    told = Labeller(tiny_whisper)("oui", "fr", dialect, before)
    plain = Labeller(tiny_whisper)("oui", "fr")
    assert told.tokens == task.initial_tokens[: task.sot_index] + plain.tokens
    assert told.targets == (IGNORED,) * task.sot_index + plain.targets


def test_what_was_said_before_takes_the_room_that_is_left() -> None:
    label = labeller()
    for words in (200, 430, 440, 441, 442, 443):
        text = ("a " * words).strip()
        told = label(text, "fr", None, "b " * 300)
        plain = label(text, "fr")
        assert len(told.tokens) <= MAX_LABEL_TOKENS - 1
        assert told.tokens[-len(plain.tokens) :] == plain.tokens
        ahead = len(told.tokens) - len(plain.tokens)
        # All the room but Whisper's own limit; a start and no word is no prompt.
        assert ahead == (0 if words >= 442 else min(224, MAX_LABEL_TOKENS - 5 - words)), words
    assert label("oui", "fr", None, "  ") == label("oui", "fr")


def test_stretches_have_their_own_times() -> None:
    stretches = [Stretch(" Je m'en viens. ", 0.0, 1.5), Stretch("Oui.", 2.25, 3.0)]
    spelling = (
        "<|startoftranscript|><|fr|><|transcribe|><|0.00|> Je m'en viens.<|1.50|><|2.24|> Oui.<|3.00|><|endoftext|>"
    )
    assert labeller()(stretches, "fr") == written(spelling, 3)


def test_languages() -> None:
    known = list(LANGUAGES)
    assert set(labeller(51865).languages) == set(known[:99])
    assert set(labeller(51866).languages) == set(known[:100])
    spelling = "<|startoftranscript|><|yue|><|transcribe|><|notimestamps|> 係<|endoftext|>"
    assert labeller(51866)("係", "yue") == written(spelling, 4, 51866)
