"""What a model can beside single fragments, and may forget: long recordings, when words were said, silence."""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.progress import track

from asr.audio import SAMPLE_RATE, Samples, load_audio
from asr.data.silence import unspoken
from asr.errors import AudioError
from asr.evaluation.report import Abilities, Share
from asr.fragment import Fragment
from asr.inference.transcriber import Transcriber
from asr.metrics import nearest_errors
from asr.metrics.times import timed_matches
from asr.text import get_normalizer
from asr.transcript import Transcript

log = logging.getLogger(__name__)

# Seconds of a recording that is joined from fragments, of all such recordings, and of the pauses in them.
_RECORDING, _RECORDINGS = 180.0, 900.0
_PAUSES = (0.5, 3.0)
# A room between fragments is never digitally silent.
_ROOM_LEVEL = 1e-4
# Clips in which nothing is said, and seconds of each.
_SILENT_CLIPS, _SILENT_SECONDS = 24, 10.0


def measure_abilities(system: Transcriber, fragments: Sequence[Fragment], seed: int = 0) -> Abilities:
    """Measure what fragments one by one do not show; every system hears the same.

    Long recordings are fragments of a language one after the other, with pauses, a quarter of an hour at most. In
    silence and noise a model is asked without speech being looked for first. Word times are asked of the fragments that
    have them.

    Args:
        system: What is measured.
        fragments: Of a test set, with texts.
        seed: Of the pauses and the noise.
    """
    # As it is, but for one thing: what a model itself writes where nothing is said.
    bare, timed = copy.copy(system), copy.copy(system)
    bare.speech, timed.words = None, True
    return Abilities(_long(system, fragments, seed), _times(timed, fragments), _silence(bare, fragments, seed))


def _long(system: Transcriber, fragments: Sequence[Fragment], seed: int) -> Share | None:
    errors = words = 0
    for language in _languages(system, fragments):
        spoken = [item for item in fragments if item.language == language and item.text.strip()]
        normalize = get_normalizer(language, None)
        joined = _recordings(spoken, seed)
        for samples, text in track(joined, f"long recordings, {language}", total=None, console=Console(stderr=True)):
            heard = system.transcribe(samples, language=language)
            counts, _ = nearest_errors(normalize(text), normalize.renderings(heard.text))
            errors, words = errors + counts.errors, words + counts.reference
    return Share(errors, words) if words else None


def _recordings(fragments: Sequence[Fragment], seed: int) -> Iterator[tuple[Samples, str]]:
    """Fragments joined to long recordings, one in memory at a time, with what is said in each."""
    chance, noise = random.Random(seed), np.random.default_rng(seed)
    pieces: list[Samples] = []
    texts: list[str] = []
    given = 0.0
    for fragment in fragments:
        if given >= _RECORDINGS:
            return
        try:
            samples = load_audio(fragment.audio, fragment.start, fragment.duration)
        except (AudioError, OSError):
            log.warning("fragment %r is in no long recording: it cannot be read", fragment.id)
            continue
        pause = noise.standard_normal(round(chance.uniform(*_PAUSES) * SAMPLE_RATE)) * _ROOM_LEVEL
        pieces += [samples, pause.astype(np.float32)]
        texts.append(fragment.text)
        if (seconds := sum(map(len, pieces)) / SAMPLE_RATE) >= _RECORDING:
            given += seconds
            yield np.concatenate(pieces), " ".join(texts)
            pieces, texts = [], []
    if len(texts) > 1:
        yield np.concatenate(pieces), " ".join(texts)


def _times(system: Transcriber, fragments: Sequence[Fragment]) -> Share | None:
    matches = words = 0
    known = [fragment for fragment in fragments if fragment.words]
    for fragment, output in zip(known, system.transcribe_many(known), strict=True):
        if not isinstance(output, Transcript):
            continue
        normalize = get_normalizer(fragment.language, fragment.dialect)
        said = [(word.text, word.start - fragment.start, word.end - fragment.start) for word in fragment.words]
        told = [(word.text, word.start, word.end) for word in output.words]
        one, other = (
            [(normalize(text), start, end) for text, start, end in timed if normalize(text)] for timed in (said, told)
        )
        matches += timed_matches(one, other)
        words += len(one) + len(other)
    # What is missing to an F1 of 1, as a share.
    return Share(words - 2 * matches, words) if words else None


def _silence(system: Transcriber, fragments: Sequence[Fragment], seed: int) -> Share | None:
    noise = np.random.default_rng(seed)
    clips = [unspoken(_SILENT_SECONDS, noise) for _ in range(_SILENT_CLIPS)]
    words = clock = 0
    for language in _languages(system, fragments):
        heard = system.transcribe_many(clips, language=language)
        for output in track(heard, f"silence, {language}", len(clips), console=Console(stderr=True)):
            assert isinstance(output, Transcript), "an array of samples can always be heard"
            words += len(output.text.split())
            clock += round(_SILENT_SECONDS)
    return Share(words, clock) if clock else None


def _languages(system: Transcriber, fragments: Sequence[Fragment]) -> list[str]:
    return sorted({fragment.language for fragment in fragments}.intersection(system.languages))
