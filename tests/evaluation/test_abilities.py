"""What a run may forget, with systems that forgot one thing each: the gate fails them. And the tiny model, for real."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from typer.testing import CliRunner

from asr import Transcriber, read_manifest
from asr.cli import app
from asr.evaluation import evaluate
from asr.evaluation.abilities import measure_abilities
from asr.evaluation.report import Abilities, Share
from asr.fragment import Consent, Fragment, WordTime, write_manifest
from asr.inference.decoding import DecodeOptions
from asr.model.heads import HeadSpec
from asr.transcript import Transcript, Word

# Every word is a tone of its own, a third of a second long; between them is a tenth of nothing.
TONES = {"red": 500, "green": 800, "blue": 1300}
WORD, GAP, RATE = 0.3, 0.1, 16000


def spoken(words: list[str]) -> npt.NDArray[np.float32]:
    time = np.arange(round(WORD * RATE)) / RATE
    gap = np.zeros(round(GAP * RATE))
    return np.concatenate([np.r_[np.sin(2 * np.pi * TONES[word] * time), gap] for word in words]).astype(np.float32)


@dataclass
class Hears:
    """A system that hears tones; it may have forgotten something.

    Attributes:
        sentences: How many it hears before it stops; a pause of .4 s or more ends one.
        late: Seconds by which its times are wrong.
        imagined: What it writes of a clip that holds no tone.
    """

    sentences: int = 1000
    late: float = 0.0
    imagined: str = ""
    speech: object = "looked for"
    words: bool = False
    languages: tuple[str, ...] = ("en", "fr")
    heads: Mapping[str, HeadSpec] = field(default_factory=dict)
    options: DecodeOptions = DecodeOptions()  # noqa: RUF009  it is frozen

    def transcribe(self, audio: Fragment | npt.NDArray[np.float32], language: str = "en") -> Transcript:
        samples = soundfile.read(audio.audio, dtype="float32")[0] if isinstance(audio, Fragment) else audio
        told: list[Word] = []
        sentences, at, step = 1, 0, RATE // 100
        while at + step <= len(samples):
            if np.abs(samples[at : at + step]).max() < 0.5:
                at += step
                continue
            clip = samples[at : at + round(WORD * RATE)]
            tone = np.abs(np.fft.rfft(clip)).argmax() * RATE / len(clip)
            word = min(TONES, key=lambda word: abs(TONES[word] - tone))
            start = at / RATE
            sentences += bool(told and start - (told[-1].end - self.late) > 0.4)
            if sentences > self.sentences:
                break
            told.append(Word(word, start + self.late, start + WORD + self.late, 0.9))
            at += round((WORD + GAP / 2) * RATE)
        text = " ".join(word.text for word in told)
        if not told and self.speech is None:
            text = self.imagined
        return Transcript("", text, language, None, len(samples) / RATE, (), words=tuple(told) if self.words else ())

    def transcribe_many(self, items: Iterable[Fragment], language: str = "en") -> Iterator[Transcript]:
        return (self.transcribe(item, language) for item in items)


@pytest.fixture
def manifest(tmp_path: Path, consent: Consent) -> Path:
    fragments = []
    for number, text in enumerate(["red green blue", "blue red", "green green", "red"] * 10):
        words = text.split()
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, spoken(words), RATE)
        times = [WordTime(text=word, start=n * (WORD + GAP), duration=WORD) for n, word in enumerate(words)]
        fragments.append(
            Fragment(
                id=f"f{number}", audio=str(path), text=text, language="en", dialect="en-IN", consent=consent,
                duration=len(words) * (WORD + GAP), words=tuple(times), speaker=f"s{number % 4}",
            )
        )  # fmt: skip
    write_manifest(fragments, tmp_path / "m.jsonl")
    return tmp_path / "m.jsonl"


WORDS = 80
# The words of silence are of 24 clips of 10 s.
SECONDS = 240


def test_who_forgot_nothing(manifest: Path) -> None:
    found = measure_abilities(Hears(), list(read_manifest(manifest)))  # type: ignore[arg-type]
    assert found == Abilities(Share(0, WORDS), Share(0, 2 * WORDS), Share(0, SECONDS))
    # Speech that is looked for first hides what the model itself would write; it is asked without.
    found = measure_abilities(Hears(imagined="thank you"), list(read_manifest(manifest)))  # type: ignore[arg-type]
    assert found.silence == Share(48, SECONDS)
    # As it was given, it is left.
    system = Hears()
    measure_abilities(system, list(read_manifest(manifest)))  # type: ignore[arg-type]
    assert system == Hears()


def test_what_cannot_be_measured_is_not() -> None:
    silent = Fragment(id="a", audio="none.wav", text="", language="en")
    assert measure_abilities(Hears(), [silent]) == Abilities(None, None, Share(0, SECONDS))  # type: ignore[arg-type]
    unknown = silent.replace(language="tlh")
    assert measure_abilities(Hears(), [unknown]) == Abilities(None, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("forgot", "harm"),
    [
        (Hears(), None),
        (Hears(late=0.1), None),
        (Hears(sentences=1), "ability=long recordings 0.00 → "),
        (
            Hears(late=0.3),
            "ability=word times 0.00 → 87.50 % (from none)",
        ),  # the second of "green green" is late by .1 s
        (Hears(imagined="Thank you."), "ability=silence 0.00 → 20.00 % (from none)"),
    ],
)
def test_the_gate_fails_a_run_that_forgot_something(
    manifest: Path, tmp_path: Path, forgot: Hears, harm: str | None
) -> None:
    report = evaluate(forgot, {"all": manifest}, Hears(), resamples=20, abilities=True)  # type: ignore[arg-type]
    # On single fragments each is as good as the base.
    assert report.targets[0].overall.system.words.errors == 0
    report.write(tmp_path / "report.json")
    result = CliRunner().invoke(app, ["gate", str(tmp_path / "report.json"), "--protect", "dialect=en-IN"])
    assert result.exit_code == (0 if harm is None else 1)
    assert (harm or "harms no protected group") in result.output
    assert ("no model passes" in result.output) is (harm is not None)


def test_a_long_recording_is_its_fragments(manifest: Path) -> None:
    # Six hours of fragments are not all joined.
    fragments = [item.replace(id=f"{item.id}-{n}") for n in range(30) for item in read_manifest(manifest)]
    found = measure_abilities(Hears(), fragments)  # type: ignore[arg-type]
    assert found.long_recordings is not None
    assert found.long_recordings.part == 0
    # A quarter of an hour, of which each word takes .4 s and each fragment a pause of 1.75 s on average.
    assert found.long_recordings.whole == pytest.approx(900 / (WORD + GAP + 1.75 / 2), rel=0.1)


def test_with_a_model(tiny_checkpoint: Path, dev: Path, tmp_path: Path) -> None:
    system = Transcriber(tiny_checkpoint, device="cpu", options=DecodeOptions(max_tokens=6))
    fragments = [item.replace(language="en", id=f"{item.id}{n}") for item in read_manifest(dev) for n in "ab"]
    write_manifest(fragments, tmp_path / "twice.jsonl")
    report = evaluate(system, {"dev": tmp_path / "twice.jsonl"}, system, resamples=20, abilities=True)
    assert report.abilities == report.baseline_abilities
    assert report.abilities is not None and report.abilities.long_recordings is not None
    assert report.abilities.long_recordings.whole == 12
    assert report.abilities.silence is not None and report.abilities.silence.part > 0
