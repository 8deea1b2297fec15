"""The synthetic corpus: fragments spoken by espeak-ng from our own sentences, in several dialects.

The sentences lie in ``datasets/synthetic``; the recordings are made under the corpus root on the first
import, and an import that finds one uses it. No voice and no sentence stands on two sides of the split.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from asr.errors import ConfigError
from asr.files import atomic_write
from asr.fragment import Fragment
from asr.importers import espeak
from asr.importers.chance import check_shares, fraction, split_of
from asr.importers.sentences import (
    SPLITS,
    TYPES,
    Sentence,
    Sound,
    Voice,
    for_dialect,
    pronounce,
    read_pronunciations,
    read_sentences,
    read_sounds,
    read_voices,
    respell,
)

log = logging.getLogger(__name__)

SAMPLE_RATE = 16000
LICENCE = "CC0-1.0"

# Loudest sample of a recording: room for what the resampler overshoots and for augmentation.
_PEAK = 0.5

# BCP 47 tag to espeak-ng's language file.
ESPEAK_LANGUAGES: Mapping[str, str] = MappingProxyType(
    {
        "fr-FR": "fr",
        "fr-BE": "fr-be",
        "fr-CH": "fr-ch",
        "en-GB": "en",
        "en-GB-scotland": "en-gb-scotland",
        "en-GB-x-lancs": "en-gb-x-gbclan",
        "en-GB-x-rp": "en-gb-x-rp",
        "en-GB-x-westmids": "en-gb-x-gbcwmd",
        "en-US": "en-us",
        "en-029": "en-029",
    }
)


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """Options of `import_synthetic`.

    Attributes:
        texts: Folder of the sentences and voices, relative to the working directory.
        dialects: BCP 47 tags out of `ESPEAK_LANGUAGES`.
        per_dialect: Fragments per dialect, all sides together.
        dev: Share of the sentences, and of each dialect's fragments, in ``dev``; 0 to 1.
        test: The same for ``test``.
        rate: Slowest and fastest speech, words per minute.
        pitch: Lowest and highest base pitch, 0 to 100.
        pairs: Speak only the sentences that are statement and question in the same words, and each as both, in one
            voice at one rate and pitch, so that nothing but the tune tells them apart.
        seed: Seed of all choices.
    """

    texts: str = "datasets/synthetic"
    dialects: tuple[str, ...] = field(default_factory=lambda: tuple(ESPEAK_LANGUAGES))
    per_dialect: int = 300
    dev: float = 0.15
    test: float = 0.15
    rate: tuple[int, int] = (135, 195)
    pitch: tuple[int, int] = (35, 65)
    pairs: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: A dialect has no voice, or a number cannot work.
        """
        for dialect in self.dialects:
            if dialect not in ESPEAK_LANGUAGES:
                raise ConfigError(f"no synthetic voice speaks {dialect!r}; accepted are {', '.join(ESPEAK_LANGUAGES)}")
        check_shares(self.dev, self.test)
        if self.per_dialect < 1:
            raise ConfigError(f"'per_dialect' must be 1 or more, found {self.per_dialect}")
        for name, (low, high) in (("rate", self.rate), ("pitch", self.pitch)):
            if low > high:
                raise ConfigError(f"{name!r} must give the lower value first, found {low} and {high}")


def import_synthetic(root: Path, options: SyntheticOptions) -> Iterator[Fragment]:
    """Stream the fragments, speaking those whose recording is not there yet.

    The same options give the same fragments in the same order and, with the same versions of espeak-ng, soxr
    and libsndfile, the same bytes. Several processes may work in one folder.

    Args:
        root: Folder of the recordings; made when missing.
        options: What is spoken, and how much.

    Yields:
        16 kHz mono FLAC fragments with ``custom["synthetic"] = True``, dialect by dialect.

    Raises:
        MissingExtraError: espeakng-loader is not installed.
        ConfigError: More fragments are asked for than sentences and voices allow.
        ManifestError: A file in ``texts`` is broken.
    """
    texts = Path(options.texts)
    voices = read_voices(texts / "voices.tsv")
    respellings = read_pronunciations(texts / "pronunciations.tsv")
    sounds = read_sounds(texts / "sounds.tsv")
    engine = f"espeak-ng {espeak.version()}"
    spoken = 0
    for dialect in options.dialects:
        language = dialect.split("-")[0]
        sentences = for_dialect(read_sentences(texts / f"sentences.{language}.tsv"), dialect)
        own_sounds = tuple(sound for sound in sounds if dialect in sound.dialects)
        for sentence, voice in _choose(dialect, sentences, voices, options):
            text = _spoken(sentence, dialect, respellings.get(language, {}), own_sounds)
            request = _request(dialect, sentence, voice, text, engine, options)
            path = root / "audio" / dialect / f"{request.name}.flac"
            duration = _duration(path)
            if duration is None:
                duration = _record(request, path)
                spoken += 1
            yield Fragment(
                id=f"{dialect}/{request.name}",
                audio=str(path),
                text=sentence.text,
                text_standard=sentence.text_standard,
                language=language,
                duration=duration,
                dialect=dialect,
                speaker=f"espeak-{voice.variant}",
                gender=voice.gender,
                intonation=sentence.type,
                expressions=sentence.expressions,
                split=voice.split,
                licence=LICENCE,
                custom={
                    "synthetic": True,
                    "engine": engine,
                    "espeak_voice": request.voice,
                    "rate": request.rate,
                    "pitch": request.pitch,
                    "sentence": f"{language}/{sentence.id}",
                },
            )
    log.info("synthetic: %d recordings were spoken, the others were there", spoken)


@dataclass(frozen=True, slots=True)
class _Request:
    """What espeak-ng is asked to speak; the name holds a hash of everything that shapes the sound."""

    text: str
    voice: str
    rate: int
    pitch: int
    name: str


def _choose(
    dialect: str, sentences: tuple[Sentence, ...], voices: tuple[Voice, ...], options: SyntheticOptions
) -> Iterator[tuple[Sentence, Voice]]:
    """Give sentences their voices side by side, so that every sentence and every voice comes up evenly."""
    together = _twins(sentences) if options.pairs else [(item,) for item in sentences]
    each = 2 if options.pairs else 1
    shares = {"dev": options.dev, "test": options.test, "train": 1 - options.dev - options.test}
    for split in SPLITS:
        side = [group for group in together if split_of(group[0].id, options.seed, options.dev, options.test) == split]
        speakers = [voice for voice in voices if voice.split == split]
        wanted = round(options.per_dialect * shares[split] / each)
        if wanted > len(side) * len(speakers):
            raise ConfigError(
                f"'per_dialect' asks for {wanted * each} {split} fragments of {dialect}, but {len(side) * each} "
                f"sentences and {len(speakers)} voices make {len(side) * len(speakers) * each}; lower it or write more "
                "sentences"
            )
        for turn in range(-(-wanted // len(side)) if side else 0):
            round_of = sorted(
                side, key=lambda group: fraction(options.seed, dialect, *_key(group[0], options), str(turn))
            )
            for group in round_of[: wanted - turn * len(side)]:
                speaker_order = sorted(
                    speakers, key=lambda one: fraction(options.seed, dialect, *_key(group[0], options), one.variant)
                )
                yield from ((item, speaker_order[turn]) for item in group)


def _twins(sentences: tuple[Sentence, ...]) -> list[tuple[Sentence, ...]]:
    """The statement and the question of each sentence that has both; sentences come sorted by id."""
    wordings = (tuple(group) for _, group in groupby(sentences, key=lambda item: item.id))
    return [group for group in wordings if len(group) == len(TYPES)]


def _key(sentence: Sentence, options: SyntheticOptions) -> tuple[str, ...]:
    """What a sentence's voice, rate and pitch depend on; a pair has them in common."""
    return (sentence.id,) if options.pairs else (sentence.id, sentence.type)


def _spoken(sentence: Sentence, dialect: str, respellings: Mapping[str, str], sounds: tuple[Sound, ...]) -> str:
    """What the synthesiser is given for a sentence."""
    voice = ESPEAK_LANGUAGES[dialect]
    return pronounce(respell(sentence.text, respellings), sounds, lambda word: espeak.phonemes(word, voice))


def _request(
    dialect: str, sentence: Sentence, voice: Voice, text: str, engine: str, options: SyntheticOptions
) -> _Request:
    def draw(name: str, low: int, high: int) -> int:
        place = fraction(options.seed, name, dialect, *_key(sentence, options), voice.variant)
        return low + int(place * (high - low + 1))

    name = f"{ESPEAK_LANGUAGES[dialect]}+{voice.variant}"
    rate, pitch = draw("rate", *options.rate), draw("pitch", *options.pitch)
    content = "\0".join((engine, text, name, str(rate), str(pitch), str(SAMPLE_RATE), str(_PEAK)))
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    stem = f"{sentence.id}-{sentence.type}-{voice.variant}-{digest}"
    return _Request(text, name, rate, pitch, stem)


def _duration(path: Path) -> float | None:
    """Return the length in seconds of a recording made earlier, or None when there is none that is whole."""
    try:
        return float(soundfile.info(path).duration)
    except (OSError, RuntimeError):  # soundfile's own errors are RuntimeErrors
        return None


def _record(request: _Request, path: Path) -> float:
    """Speak, resample and write; return seconds."""
    spoken = espeak.speak(request.text, request.voice, request.rate, request.pitch)
    audio: NDArray[np.float64] = soxr.resample(spoken / 32768.0, espeak.ESPEAK_SAMPLE_RATE, SAMPLE_RATE, "HQ")
    audio = audio * (_PEAK / np.abs(audio).max())
    # libsndfile reads back what it writes, so the file is made in memory first.
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    with atomic_write(path, "wb") as handle:
        handle.write(buffer.getvalue())
    return len(audio) / SAMPLE_RATE
