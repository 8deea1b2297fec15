"""The transcriber: batches against each alone, order, failures in their place, languages and dialects."""

from __future__ import annotations

import itertools
import logging
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
import whisper
from whisper.model import Whisper

from asr import Transcriber
from asr.audio import load_audio
from asr.errors import AsrError, AudioError, CheckpointError, ConfigError, ManifestError
from asr.expressions import Entry, Lexicon
from asr.fragment import Fragment, read_numbered
from asr.inference import clips as loading
from asr.inference import transcriber as hearing
from asr.inference.clips import Clip
from asr.inference.decoding import DecodeOptions
from asr.inference.engine import Decoded
from asr.inference.engines.pytorch import TorchEngine
from asr.inference.fallback import Fallback
from asr.model.checkpoint import Checkpoint, CheckpointInfo
from asr.model.network import DialectWhisper
from asr.prosody import prominence, track
from asr.transcript import Transcript

SHORT = DecodeOptions(max_tokens=8)


def noise(seconds: float, seed: int = 0, level: float = 0.1) -> npt.NDArray[np.float32]:
    chance = np.random.default_rng(seed)
    return (level * chance.standard_normal(round(16000 * seconds))).astype(np.float32)


def transcriber(model: DialectWhisper, batch_seconds: float = 90, workers: int = 2) -> Transcriber:
    checkpoint = Checkpoint(model, CheckpointInfo(base_model="tiny"))
    # These are no speech; they are heard all the same.
    return Transcriber(checkpoint, batch_seconds=batch_seconds, options=SHORT, workers=workers, speech=None)


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    """Seven recordings of different lengths and levels."""
    paths = []
    for number, seconds in enumerate((3.0, 0.5, 6.0, 1.0, 2.5, 0.2, 4.0)):
        path = tmp_path / f"r{number}.wav"
        soundfile.write(path, noise(seconds, number, 0.02 * (1 + number)), 16000, subtype="FLOAT")
        paths.append(path)
    return paths


def transcripts(results: Iterator[Transcript | AsrError]) -> list[Transcript]:
    found = list(results)
    assert all(isinstance(result, Transcript) for result in found), found
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("beam_size", [None, 2])
@pytest.mark.parametrize("window", ["padded", "tight"])
def test_a_batch_hears_what_each_alone_hears(
    model: DialectWhisper, recordings: list[Path], window: str, beam_size: int | None
) -> None:
    model.window = window  # type: ignore[assignment]
    ours = transcriber(model, 9 if window == "tight" else 90)
    ours.options = replace(SHORT, beam_size=beam_size)
    alone = [ours.transcribe(path, language="fr") for path in recordings]
    together = transcripts(ours.transcribe_many(recordings, language="fr"))
    assert len({result.text for result in alone}) > 3
    for one, other in zip(alone, together, strict=True):
        assert (one.id, one.text, one.language, one.duration) == (other.id, other.text, other.language, other.duration)
        for ours_alone, ours_together in zip(one.segments, other.segments, strict=True):
            assert ours_alone.avg_logprob == pytest.approx(ours_together.avg_logprob, abs=1e-4)
            assert ours_alone.no_speech_prob == pytest.approx(ours_together.no_speech_prob, rel=1e-3)


def test_a_recording_is_heard_as_whisper_hears_it(model: DialectWhisper, recordings: list[Path]) -> None:
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(load_audio(recordings[2])))
    _, probabilities = whisper.decoding.detect_language(model.whisper, mel)
    language = max(probabilities, key=probabilities.get)
    asked = whisper.DecodingOptions(language=language, without_timestamps=True, fp16=False, sample_len=SHORT.max_tokens)
    theirs = whisper.decode(model.whisper, mel, asked)
    heard = transcriber(model).transcribe(recordings[2])
    assert heard.text == theirs.text != ""
    assert (heard.id, heard.language, heard.dialect, heard.duration) == ("r2.wav", language, None, 6.0)
    (segment,) = heard.segments
    assert (segment.start, segment.end, segment.text) == (0.0, 6.0, theirs.text)
    assert segment.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-4)
    assert segment.no_speech_prob == pytest.approx(theirs.no_speech_prob, rel=1e-3)
    assert segment.compression_ratio == theirs.compression_ratio


def test_a_path_a_fragment_and_samples_are_heard_alike(model: DialectWhisper, tmp_path: Path) -> None:
    samples = noise(5.0)
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "cut.wav", samples[16000:48000], 16000, subtype="FLOAT")
    ours = transcriber(model)
    fragment = Fragment(id="f/1", audio=str(tmp_path / "a.wav"), text="", language="fr", start=1.0, duration=2.0)
    items = [fragment, samples[16000:48000], str(tmp_path / "cut.wav"), fragment.replace(duration=None, start=4.0)]
    span, array, path, rest = transcripts(ours.transcribe_many(items, language="fr"))
    assert (span.id, array.id, path.id, rest.id) == ("f/1", "", "cut.wav", "f/1")
    assert span.text == array.text == path.text
    # A random model says the same of much noise, but is not as sure of it.
    sure = [result.segments[0].avg_logprob for result in (span, array, path, rest)]
    assert sure[:3] == pytest.approx([sure[0]] * 3, abs=1e-4)
    assert abs(sure[3] - sure[0]) > 1e-3
    assert [result.duration for result in (span, array, path, rest)] == [2.0, 2.0, 2.0, 1.0]


def test_failures_stand_in_their_place(model: DialectWhisper, recordings: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "noise.wav").write_bytes(bytes(range(256)) * 20)
    whole = (tmp_path / "r2.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    soundfile.write(tmp_path / "nan.wav", np.full(1600, np.nan, np.float32), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 16000)
    soundfile.write(tmp_path / "long.wav", np.zeros(8000 * 31, np.int16), 8000)
    names = ["r0", "missing", "empty", "noise", "r1", "cut", "nan", "none", "long", "r2"]
    sentences = ["", "No such file", "0 bytes", "no audio", "", "cut short", "NaN", "0 samples", "31.00 s", ""]
    broken = ManifestError("not JSON", "m.jsonl", 3)
    items = [*(tmp_path / f"{name}.wav" for name in names), broken, tmp_path]
    results = list(transcriber(model).transcribe_many(items, language="fr"))
    assert results[-2] is broken
    assert isinstance(results[-1], AudioError)
    for name, sentence, result in zip(names, sentences, results, strict=False):
        if sentence:
            assert isinstance(result, AudioError) and sentence in str(result)
            assert f"{name}.wav" in str(result)
        else:
            assert isinstance(result, Transcript) and result.id == f"{name}.wav"


def test_a_manifest_with_a_broken_line_goes_straight_in(
    model: DialectWhisper, recordings: list[Path], tmp_path: Path
) -> None:
    line = '{{"id": "{0}", "audio": "{0}.wav", "text": "", "language": "{1}"}}\n'
    (tmp_path / "m.jsonl").write_text(line.format("r0", "fr") + "{\n" + line.format("r1", "de"))
    items = (item for _, item in read_numbered(tmp_path / "m.jsonl"))
    first, broken, second = transcriber(model).transcribe_many(items)
    assert isinstance(first, Transcript) and isinstance(second, Transcript)
    assert [(result.id, result.language) for result in (first, second)] == [("r0", "fr"), ("r1", "de")]
    assert isinstance(broken, ManifestError) and broken.line == 2


def test_transcribe_raises_what_transcribe_many_gives(model: DialectWhisper, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="No such file"):
        transcriber(model).transcribe(tmp_path / "missing.wav")


def test_ten_hours_are_refused_without_being_decoded(
    model: DialectWhisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 8000 * 36_000
    header = b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += b"\1\0\1\0" + (8000).to_bytes(4, "little") * 2 + b"\1\0\x08\0data" + size.to_bytes(4, "little")
    with (tmp_path / "long.wav").open("wb") as handle:
        handle.write(header)
        handle.truncate(len(header) + size)  # a hole: no disk is needed
    monkeypatch.setattr(loading, "load_audio", lambda *span: pytest.fail("it was decoded"))
    fragment = Fragment(id="f", audio=str(tmp_path / "long.wav"), text="", language="fr")
    items = [tmp_path / "long.wav", fragment, fragment.replace(start=60.0), fragment.replace(duration=31.0)]
    results = list(transcriber(model).transcribe_many(items))
    for result, seconds in zip(results, ("36000.00", "36000.00", "35940.00", "31.00"), strict=True):
        assert isinstance(result, AudioError)
        assert f"long.wav lasts {seconds} s" in str(result)
        assert "cut it into fragments of at most 30 s" in str(result)


def test_thirty_seconds_are_heard(model: DialectWhisper, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(30.0), 16000)
    assert transcriber(model).transcribe(tmp_path / "a.wav").duration == 30.0
    model.window = "tight"
    assert transcriber(model).transcribe(noise(30.0)).duration == 30.0


@pytest.mark.parametrize("window", ["padded", "tight"])
@pytest.mark.parametrize("seconds", [1 / 16000, 0.01, 2.0])
def test_silence_and_next_to_nothing_give_a_transcript(model: DialectWhisper, window: str, seconds: float) -> None:
    model.window = window  # type: ignore[assignment]
    heard = transcriber(model).transcribe(np.zeros(round(16000 * seconds), np.float32))
    assert heard.duration == pytest.approx(seconds)
    assert all(np.isfinite(segment.avg_logprob) for segment in heard.segments)


def test_where_nothing_is_heard_there_is_no_segment(model: DialectWhisper, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*arguments: object) -> list[Decoded]:
        return [Decoded((), "", "fr", 0.0, 0.0, 1.0)]

    monkeypatch.setattr(TorchEngine, "decode", nothing)
    heard = transcriber(model).transcribe(noise(1.0), language="fr")
    assert (heard.text, heard.segments, heard.duration) == ("", (), 1.0)


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (noise(1.0).astype(np.float64), "float64"),
        ((1000 * noise(1.0)).astype(np.int16), "int16"),
        (noise(1.0).reshape(-1, 2), "shape (8000, 2)"),
        (noise(1.0).reshape(1, -1), "shape (1, 16000)"),
        (np.float32(0.5) * np.ones((), np.float32)[None][:0], "empty"),
        (np.where(np.arange(16000) == 8000, np.float32("nan"), np.float32(0.1)), "at 0.500 s"),
        (np.where(np.arange(16000) == 0, np.float32("-inf"), np.float32(0.1)), "at 0.000 s"),
        (noise(30.1), "30.10 s"),
    ],
)
def test_samples_that_cannot_be_heard(model: DialectWhisper, samples: npt.NDArray[np.float32], sentence: str) -> None:
    with pytest.raises(AudioError) as raised:
        transcriber(model).transcribe(samples)
    assert sentence in str(raised.value)


def test_samples_of_the_caller_stay_as_they_are(model: DialectWhisper) -> None:
    samples = noise(1.0)
    samples.flags.writeable = False
    backwards = noise(1.0)[::-1]
    assert transcriber(model).transcribe(samples).text
    assert transcriber(model).transcribe(backwards).text
    assert np.array_equal(samples, noise(1.0))


def of(language: str, dialect: str | None, path: Path) -> Fragment:
    return Fragment(id="f", audio=str(path), text="", language=language, dialect=dialect)


def test_languages_and_dialects(model: DialectWhisper, recordings: list[Path]) -> None:
    ours = transcriber(model)
    path = recordings[0]
    detected = ours.transcribe(path).language

    def heard(item: Path | Fragment, language: str | None = None, dialect: str | None = None) -> tuple[str, str | None]:
        found = ours.transcribe(item, language=language, dialect=dialect)
        return found.language, found.dialect

    assert detected not in ("fr", "de")
    assert heard(path, "fr") == ("fr", None)
    assert heard(path, "fr", "fr-CA") == ("fr", "fr-CA")
    assert heard(path, None, "fr-CA") == ("fr", "fr-CA")
    assert heard(path, None, "gsw-CH") == (detected, "gsw-CH")
    assert heard(of("de", "de-AT", path)) == ("de", "de-AT")
    assert heard(of("de", None, path)) == ("de", None)
    assert heard(of("de", "de-AT", path), "fr") == ("fr", "de-AT")
    assert heard(of("de", "de-AT", path), None, "fr-CA") == ("fr", "fr-CA")
    assert heard(of("de", "de-AT", path), None, "gsw-CH") == ("de", "gsw-CH")


def test_languages_within_a_batch_are_decoded_each_in_its_own(model: DialectWhisper, recordings: list[Path]) -> None:
    ours = transcriber(model, batch_seconds=300)
    items = [of(language, None, path) for path, language in zip(recordings, ("fr", "de", "ja") * 3, strict=False)]
    mixed: list[Path | Fragment] = [*items, recordings[0]]
    together = transcripts(ours.transcribe_many(mixed))
    alone = [ours.transcribe(item) for item in mixed]
    assert [result.language for result in together[:-1]] == ["fr", "de", "ja"] * 2 + ["fr"]
    assert [(result.language, result.text) for result in together] == [(one.language, one.text) for one in alone]


def test_the_language_matters(model: DialectWhisper) -> None:
    ours = transcriber(model)
    assert len({ours.transcribe(noise(2.0), language=language).text for language in ("fr", "de", "ja", "sw")}) > 1


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"language": "xx"}, "'xx'"),
        ({"language": "yue"}, "'yue'"),
        ({"language": "French"}, "'French'"),
        ({"dialect": "fr_CA"}, "joined by '-'"),
        ({"language": "en", "dialect": "fr-CA"}, "does not go with"),
    ],
)
def test_languages_and_dialects_that_cannot_be(model: DialectWhisper, asked: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        transcriber(model).transcribe_many([], **asked)


def test_a_fragment_in_a_language_unknown_to_the_model_fails_alone(
    model: DialectWhisper, recordings: list[Path]
) -> None:
    items = [of("yue", None, recordings[0]), of("fr", None, recordings[0])]
    first, second = transcriber(model).transcribe_many(items)
    assert isinstance(first, ManifestError) and "'yue', which the model does not know" in str(first)
    assert isinstance(second, Transcript)
    assert transcriber(model).transcribe(items[0], language="zh").language == "zh"


def test_an_english_only_model(tiny_whisper: Whisper, recordings: list[Path]) -> None:
    english = DialectWhisper(Whisper(replace(tiny_whisper.dims, n_vocab=51864)).eval())
    ours = transcriber(english)
    assert ours.languages == ("en",)
    assert ours.transcribe(recordings[0]).language == "en"
    assert ours.transcribe(recordings[0], dialect="en-IN").language == "en"
    with pytest.raises(ConfigError, match=r"it knows en$"):
        ours.transcribe(recordings[0], language="fr")
    with pytest.raises(ConfigError, match="'fr-CA' goes with no language that the model knows"):
        ours.transcribe(recordings[0], dialect="fr-CA")


def test_the_stream_is_read_no_further_than_needed(model: DialectWhisper) -> None:
    read = itertools.count()
    heard = transcriber(model, batch_seconds=30, workers=1).transcribe_many(
        (noise(0.1) for _ in iter(lambda: next(read), 1000)), language="fr"
    )
    next(heard)
    # The pool of eight, and as many being read.
    assert next(read) <= 17
    heard.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_memory_does_not_grow_with_the_stream(model: DialectWhisper, monkeypatch: pytest.MonkeyPatch) -> None:
    def instantly(self: Transcriber, clips: list[Clip]) -> list[tuple[Clip, Transcript]]:
        return [(clip, Transcript(clip.id, "", "fr", None, 1.0, ())) for clip in clips]

    monkeypatch.setattr(Transcriber, "_hear", instantly)
    model.window = "tight"
    ours = transcriber(model, batch_seconds=30)

    def peak(count: int) -> int:
        tracemalloc.start()
        stream = (noise(0.2 + n % 7 / 10) for n in range(count))
        assert sum(1 for _ in ours.transcribe_many(stream, language="fr")) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)
    assert peak(3000) < 1.2 * peak(1500)


def test_nothing_is_logged_of_what_was_said_or_where(
    model: DialectWhisper, recordings: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        list(transcriber(model).transcribe_many([*recordings, "missing.wav"]))
    assert caplog.text == ""


def test_a_name_or_a_file_is_loaded(tiny_checkpoint: Path) -> None:
    ours = Transcriber(tiny_checkpoint, device="cpu", options=SHORT, speech=None)
    assert ours.checkpoint.info.base_model == "tiny-random"
    assert ours.transcribe(noise(1.0), language="fr").language == "fr"
    with pytest.raises(CheckpointError, match=r"no checkpoint 'nothing.pt'"):
        Transcriber("nothing.pt")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_seconds": 0}, "batch_seconds must be"),
        ({"batch_seconds": float("nan")}, "batch_seconds must be"),
        ({"batch_seconds": float("inf")}, "batch_seconds must be"),
        ({"workers": 0}, "workers must be"),
        ({"device": "gpu"}, "device 'gpu' cannot be used"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
    ],
)
def test_what_cannot_work_is_refused_at_once(model: DialectWhisper, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Transcriber(Checkpoint(model, CheckpointInfo(base_model="tiny")), **options)  # type: ignore[arg-type]


def taught(model: DialectWhisper, tag: str = "auto", **options: object) -> Transcriber:
    """Of a checkpoint that was told two dialects in training."""
    checkpoint = Checkpoint(model, CheckpointInfo("tiny", tags=("fr-BE", "fr-CA")))
    return Transcriber(checkpoint, options=replace(SHORT, tag=tag), speech=None, **options)  # type: ignore[arg-type]


def sureness(heard: Transcript) -> tuple[float, ...]:
    return tuple(value for segment in heard.segments for value in (segment.avg_logprob, segment.no_speech_prob))


def prompted(model: DialectWhisper, path: Path, prompt: str | None) -> Transcript:
    """What is heard with a prompt that has nothing to do with dialects."""
    ours = transcriber(model)
    ours.options = replace(SHORT, prompt=prompt)
    return ours.transcribe(path, language="fr")


def test_a_dialect_that_was_taught_is_told(model: DialectWhisper, recordings: list[Path]) -> None:
    path = recordings[0]
    plain, canada, belgium = (prompted(model, path, prompt) for prompt in (None, "fr-CA", "fr-BE"))
    assert len({sureness(heard) for heard in (plain, canada, belgium)}) == 3
    given = of("fr", "fr-CA", path)
    swiss = of("fr", "fr-CH", path)
    for expected, told in (
        (canada, taught(model).transcribe(path, dialect="fr-CA")),
        (canada, taught(model).transcribe(given)),
        (belgium, taught(model).transcribe(given, dialect="fr-be")),  # as it is spelt in the checkpoint
        (plain, taught(model).transcribe(swiss)),
        (plain, taught(model).transcribe(path, language="fr")),
        (plain, transcriber(model).transcribe(given)),  # taught none
        (canada, taught(model, "given").transcribe(given)),
        (plain, taught(model, "never").transcribe(given)),
        (belgium, taught(model, "fr-BE").transcribe(given)),
        (belgium, taught(model, "fr-be").transcribe(swiss)),
    ):
        assert told.text == expected.text
        assert sureness(told) == pytest.approx(sureness(expected), abs=1e-4)
    # What the decoder is told is not what the transcript says.
    assert taught(model, "fr-BE").transcribe(given).dialect == "fr-CA"


def test_dialects_within_a_batch_are_each_told_their_own(model: DialectWhisper, recordings: list[Path]) -> None:
    told = [
        ("fr", "fr-CA"),
        ("fr", None),
        ("de", None),
        ("fr", "fr-BE"),
        ("fr", "fr-CH"),
        ("fr", "fr-CA"),
        ("de", "de-AT"),
    ]
    items = [of(language, dialect, path) for path, (language, dialect) in zip(recordings, told, strict=True)]
    ours = taught(model, batch_seconds=300)
    together = transcripts(ours.transcribe_many(items))
    assert [(heard.language, heard.dialect) for heard in together] == told
    for one, item in zip(together, items, strict=True):
        alone = ours.transcribe(item)
        assert (one.text, one.duration) == (alone.text, alone.duration)
        assert sureness(one) == pytest.approx(sureness(alone), abs=1e-4)


def test_a_tag_that_was_not_taught_is_told_to_nobody(model: DialectWhisper) -> None:
    with pytest.raises(
        ConfigError, match=r"tag 'fr-CH' cannot be told: .* \(it was taught fr-BE, fr-CA\); choose auto, "
    ):
        taught(model, "fr-CH")
    with pytest.raises(ConfigError, match=r"tag 'allways' .* \(it was taught none\).*train with data\.tags above 0"):
        Transcriber(Checkpoint(model, CheckpointInfo("tiny")), options=replace(SHORT, tag="allways"))


LEXICON = Lexicon("fr-BE", (Entry("drache", "averse", "pluie"), Entry("dîner", "déjeuner", "repas", ambiguous=True)))


def led(model: DialectWhisper, bias: float, **options: object) -> Transcriber:
    checkpoint = Checkpoint(model, CheckpointInfo(base_model="tiny"))
    decoding = DecodeOptions(max_tokens=8, bias=bias)
    return Transcriber(checkpoint, options=decoding, lexicon=LEXICON, speech=None, **options)  # type: ignore[arg-type]


def test_a_lexicon_leads_annotates_and_renders(model: DialectWhisper, recordings: list[Path]) -> None:
    heard = led(model, 100.0).transcribe(recordings[0], language="fr")
    assert {one.text.lower() for one in heard.expressions} == {"drache"}
    assert heard.expressions == LEXICON.find(heard.text)
    assert heard.text_standard == LEXICON.standardise(heard.text) != heard.text
    assert heard.segments[0].avg_logprob < 0


def test_a_lexicon_serves_its_own_dialect_alone(model: DialectWhisper, recordings: list[Path]) -> None:
    path = recordings[0]
    items = [of("fr", "fr-BE", path), of("fr", "fr-CA", path), of("fr", None, path), of("de", None, path)]
    together = transcripts(led(model, 100.0).transcribe_many(items))
    plain = transcripts(transcriber(model).transcribe_many(items))
    assert [bool(one.expressions) for one in together] == [True, False, True, False]
    assert [one.text_standard is None for one in together] == [False, True, False, True]
    assert [together[row].text for row in (1, 3)] == [plain[row].text for row in (1, 3)]
    assert {(one.expressions, one.text_standard) for one in plain} == {((), None)}


def test_a_bias_of_nothing_only_annotates(model: DialectWhisper, recordings: list[Path]) -> None:
    heard = led(model, 0.0).transcribe(recordings[0], language="fr")
    assert heard.text == transcriber(model).transcribe(recordings[0], language="fr").text
    assert heard.text_standard is not None


def test_a_lexicon_that_cannot_be_used(model: DialectWhisper, tiny_whisper: Whisper, tmp_path: Path) -> None:
    (tmp_path / "fr-BE.tsv").write_text("expression\tstandard\tambiguous\tmeaning\nkot\tchambre\n")
    with pytest.raises(ManifestError, match=r"2 columns where 4 are expected \(.*fr-BE\.tsv:2\)"):
        Transcriber("nothing.pt", lexicon=tmp_path / "fr-BE.tsv")
    english = DialectWhisper(Whisper(replace(tiny_whisper.dims, n_vocab=51864)).eval())
    with pytest.raises(ConfigError, match="dialect 'fr-BE' goes with no language that the model knows"):
        led(english, 1.0)


def test_too_little_memory_is_a_sentence(model: DialectWhisper, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB …")

    monkeypatch.setattr(TorchEngine, "decode", full)
    with pytest.raises(AsrError, match="too little memory to decode 90 s at once; choose a smaller batch_seconds"):
        transcriber(model).transcribe(noise(1.0), language="fr")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_hears_what_the_cpu_hears(model: DialectWhisper, recordings: list[Path]) -> None:
    on_cpu = transcripts(transcriber(model).transcribe_many(recordings, language="fr"))
    ours = Transcriber(Checkpoint(model, CheckpointInfo(base_model="tiny")), device="cuda", options=SHORT, speech=None)
    on_gpu = transcripts(ours.transcribe_many(recordings, language="fr"))
    same = [one.text == other.text for one, other in zip(on_cpu, on_gpu, strict=True)]
    # Half precision may choose another of two tokens that are as likely.
    assert sum(same) >= len(same) - 1


@pytest.mark.parametrize("window", ["padded", "tight"])
def test_words_only_where_they_are_asked_for(model: DialectWhisper, window: str) -> None:
    model.window = window  # type: ignore[assignment]
    times = np.arange(32000) / 16000
    sound = (0.3 * np.sign(np.sin(2 * np.pi * 140 * times)) * np.abs(np.sin(5 * times))).astype(np.float32)
    items = [sound, noise(1.0), sound[:16000]]
    without, ours = transcriber(model), transcriber(model)
    ours.words = True
    assert all(not item.words + item.emphasis for item in transcripts(without.transcribe_many(items, language="fr")))
    heard = transcripts(ours.transcribe_many(items, language="fr"))
    for item in heard:
        assert [word.text for word in item.words] == item.text.split() != []
        assert all(0 <= word.start <= word.end <= item.duration for word in item.words)
    # Noise has no voice, and is not said to emphasise anything.
    assert all(word.prominence is None for word in heard[1].words)
    alone = ours.transcribe(sound, language="fr")
    assert [(word.start, word.end) for word in alone.words] == [(word.start, word.end) for word in heard[0].words]
    scores = [None] * len(alone.words) if len(alone.words) < 2 else prominence(track(sound), alone.words)
    assert [word.prominence for word in alone.words] == scores


Speak = Callable[..., npt.NDArray[np.float32]]


def of_recordings(model: DialectWhisper, **options: object) -> Transcriber:
    options = {"options": SHORT, "workers": 2, "batch_seconds": 120} | options
    return Transcriber(Checkpoint(model, CheckpointInfo(base_model="tiny")), **options)  # type: ignore[arg-type]


def conversation(speak: Speak, turns: tuple[tuple[float, float], ...], seconds: float) -> npt.NDArray[np.float32]:
    """Somebody speaks in turns, from … to … seconds."""
    sound = noise(seconds, level=0.0005)
    for number, (begin, end) in enumerate(turns):
        first = round(16000 * begin)
        turn = speak(end - begin, number)
        sound[first : first + len(turn)] += turn
    return sound


@pytest.mark.parametrize("window", ["padded", "tight"])
def test_a_long_recording_is_heard_in_windows(model: DialectWhisper, speak: Speak, window: str) -> None:
    model.window = window  # type: ignore[assignment]
    turns = ((1.0, 4.0), (10.0, 31.0), (40.0, 42.0), (60.0, 85.0))
    sound = conversation(speak, turns, 90.0)
    ours = of_recordings(model, words=True, options=replace(SHORT, fallback=Fallback(())))
    heard = ours.transcribe(sound, language="fr")
    assert (heard.duration, heard.language) == (90.0, "fr")
    assert heard.text == " ".join(segment.text for segment in heard.segments)
    assert len(heard.segments) >= (3 if window == "padded" else 4)
    for before, after in itertools.pairwise(heard.segments):
        assert before.end <= after.start
    # Each window is heard as it would be alone, and stands where it was said.
    for segment in heard.segments:
        first, last = round(16000 * segment.start), round(16000 * segment.end)
        fragment = transcriber(model).transcribe(sound[first:last], language="fr")
        assert fragment.segments[0].text == segment.text
        assert fragment.segments[0].avg_logprob == pytest.approx(segment.avg_logprob, abs=1e-4)
        within = [word for word in heard.words if segment.start <= word.start < segment.end]
        assert [word.text for word in within] == segment.text.split()
        assert all(word.end <= segment.end for word in within)
    speech = [moment for begin, end in turns for moment in np.arange(begin + 0.3, end - 0.3, 0.1)]
    assert all(any(one.start <= moment <= one.end for one in heard.segments) for moment in speech)


def test_recordings_and_fragments_are_heard_together_in_order(
    model: DialectWhisper, speak: Speak, recordings: list[Path], tmp_path: Path
) -> None:
    model.window = "tight"
    long = tmp_path / "long.wav"
    soundfile.write(long, conversation(speak, ((1, 5), (8, 11), (20, 40)), 45.0), 16000, subtype="FLOAT")
    broken = tmp_path / "broken.wav"
    broken.write_bytes(long.read_bytes()[:-400_000])
    (tmp_path / "text.wav").write_text("no sound")
    items = [
        long,
        of("fr", None, recordings[0]),
        noise(3.0),
        long,
        broken,
        tmp_path / "text.wav",
        of("de", None, recordings[1]),
    ]
    batches = []
    ours = of_recordings(model)
    hear = ours._hear
    ours._hear = lambda clips: batches.append({clip.number for clip in clips}) or hear(clips)  # type: ignore[assignment, func-returns-value, method-assign]
    results = list(ours.transcribe_many(items))
    assert [isinstance(result, Transcript) for result in results] == [True] * 4 + [False, False, True]
    assert "cut short" in str(results[4]) and "no audio" in str(results[5])
    alone = of_recordings(model).transcribe(long)
    for result in (results[0], results[3]):
        assert isinstance(result, Transcript)
        assert [(one.start, one.end, one.text) for one in result.segments] == [
            (one.start, one.end, one.text) for one in alone.segments
        ]
        assert result.language == alone.language
    # Noise is no speech in a recording; a person who cut a fragment knows better.
    assert isinstance(results[2], Transcript) and results[2].segments == ()
    assert isinstance(results[1], Transcript) and results[1].text
    assert any(len(batch) > 1 for batch in batches)


def test_a_recording_has_one_language(model: DialectWhisper, speak: Speak, monkeypatch: pytest.MonkeyPatch) -> None:
    model.window = "tight"
    sound = conversation(speak, ((1, 3), (5, 12), (15, 22), (30, 45), (50, 65)), 70.0)
    asked = []

    def detect(engine: TorchEngine, encoded: object) -> list[str]:
        rows = len(encoded.num_frames)  # type: ignore[attr-defined]
        asked.append(rows)
        return (["de"] + ["fr"] * rows)[:rows]

    monkeypatch.setattr(TorchEngine, "detect_language", detect)
    heard = of_recordings(model).transcribe(sound)
    # Most of the first half a minute of windows says French; nothing after it is asked.
    assert heard.language == "fr"
    assert len(asked) == 1 and 2 <= asked[0] < len(heard.segments)
    asked.clear()
    assert of_recordings(model).transcribe(sound[: 4 * 16000]).language == "de"
    assert asked == [1]
    asked.clear()
    assert of_recordings(model).transcribe(sound, language="ja").language == "ja"
    assert asked == []


def sounds_without_speech() -> dict[str, npt.NDArray[np.float32]]:
    """A minute of each."""
    random, count = np.random.default_rng(0), 60 * 16000
    times = np.arange(count) / 16000
    spectrum = np.fft.rfft(random.standard_normal(count)) / np.sqrt(np.arange(1, count // 2 + 2))
    pink = np.fft.irfft(spectrum, count)
    beat = times % 0.5
    drums = np.exp(-30 * beat) * np.sin(2 * np.pi * 60 * beat) + 0.3 * np.exp(
        -60 * (times % 0.25)
    ) * random.standard_normal(count)
    roots = np.array([220.0, 174.6, 261.6, 196.0])[(times // 2).astype(int) % 4]
    phases = 2 * np.pi * np.cumsum(roots) / 16000
    chords = sum(np.sin(n * ratio * phases) / n for ratio in (1, 1.25, 1.5) for n in range(1, 6)) * np.exp(-(times % 2))
    melody = 2 * np.pi * np.cumsum(440 * 2 ** (random.integers(0, 12, 240)[(times * 4).astype(int)] / 12)) / 16000
    tune = np.sin(melody + 0.3 * np.sin(2 * np.pi * 5 * times)) * np.exp(-3 * (times % 0.25))
    found = {
        "silence": np.zeros(count),
        "hum": np.sin(2 * np.pi * 50 * times),
        "white noise": random.standard_normal(count),
        "pink noise": pink,
        "drums": drums,
        "chords": chords,
        "melody": tune,
        "band": 0.5 * chords + drums + 0.5 * tune,
    }
    return {name: (0.2 * sound / max(1e-9, np.abs(sound).max())).astype(np.float32) for name, sound in found.items()}


@pytest.mark.parametrize("name", sounds_without_speech())
def test_of_a_minute_without_speech_no_word_is_heard(model: DialectWhisper, name: str) -> None:
    # This model has something to say of everything that it is given.
    heard = of_recordings(model).transcribe(sounds_without_speech()[name])
    assert (heard.text, heard.segments, heard.words, heard.duration) == ("", (), (), 60.0)


@pytest.mark.weights
def test_of_a_minute_without_speech_the_real_model_hears_no_word() -> None:
    ours = Transcriber("base", device="cpu")
    for name, heard in zip(
        sounds_without_speech(), ours.transcribe_many(sounds_without_speech().values()), strict=True
    ):
        assert isinstance(heard, Transcript) and heard.text == "", name


def test_what_fails_is_decoded_again_and_counted(model: DialectWhisper, speak: Speak) -> None:
    model.window = "tight"
    sound = conversation(speak, ((1, 3), (6, 9)), 12.0)

    def heard(**fallback: object) -> Transcript:
        options = replace(SHORT, fallback=Fallback(**fallback))  # type: ignore[arg-type]
        return of_recordings(model, options=options).transcribe(sound, language="fr")

    plain = heard(steps=())
    assert [one.fallbacks for one in plain.segments] == [(), ()] and plain.fallbacks == {}
    # A random model is never sure.
    assert max(one.avg_logprob for one in plain.segments) < -1
    wider = heard(steps=("beam",))
    beam = of_recordings(model, options=replace(SHORT, beam_size=5, fallback=Fallback(()))).transcribe(
        sound, language="fr"
    )
    for one, other, first in zip(wider.segments, beam.segments, plain.segments, strict=True):
        assert one.fallbacks == ("beam",)
        assert one.text == max(other, first, key=lambda each: each.avg_logprob).text
    drawn = heard(steps=("temperature",), temperature=2.0)
    assert drawn.fallbacks == {"temperature": 2}
    # What is drawn is the same in every run, and whatever else is drawn in the program.
    torch.rand(7)
    assert heard(steps=("temperature",), temperature=2.0) == drawn
    dropped = heard(no_speech=0.0)
    assert (dropped.text, dropped.segments) == ("", ())
    assert dropped.fallbacks == {"beam": 2, "temperature": 2, "drop": 2}


def test_a_fragment_is_not_decoded_again(model: DialectWhisper, recordings: list[Path]) -> None:
    heard = of_recordings(model).transcribe(of("fr", None, recordings[0]))
    assert heard.segments[0].avg_logprob < -1 and heard.fallbacks == {}


def test_memory_goes_back_now_and_then(
    model: DialectWhisper, recordings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[None] = []
    monkeypatch.setattr(hearing, "_KEPT_BATCHES", 3)
    monkeypatch.setattr(hearing, "give_back", lambda: times.append(None))
    one = transcriber(model)
    for path in recordings:
        one.transcribe(path)
    assert len(times) == 2
