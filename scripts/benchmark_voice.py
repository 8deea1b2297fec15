"""What a change of voice hides and what it costs: python scripts/benchmark_voice.py MANIFEST --model CHECKPOINT.

Prints, for the originals and each method, the equal error rate of attackers who compare voices by a speaker embedding
(Resemblyzer), with 95 % intervals over speakers:

- ignorant: enrols on originals;
- informed: changes the voices that he enrols on himself, with a key of his own;
- same copy: enrols on other fragments of the very copy;
- trained: informed, and has learnt from the other half of the speakers, changed with two keys of his own;
- trained, same copy: both.

Then the words that a model hears (WER of both on the same fragments) and how much of the tune stays: the correlation of
F0 in semitones, over the frames that are voiced before and after, in the median fragment. With `--drawn-per speaker` a
speaker's fragments are all changed alike, to see what that gives away. `pitch` (librosa, 4 semitones up or down) and
`mcadams` (the second baseline of the VoicePrivacy challenges) are there to compare with. Needs Resemblyzer:
pip install --no-deps Resemblyzer==0.1.4 webrtcvad-wheels==2.0.14.post1
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import librosa
import numpy as np
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table
from scipy.signal import lfilter

from asr import Fragment, Transcriber, read_manifest
from asr.audio import SAMPLE_RATE, load_audio
from asr.files import atomic_write
from asr.metrics import Estimate, nearest_errors, rate_estimate
from asr.privacy.attack import Attack, attack, embed
from asr.privacy.holdings import Figure, figures_json
from asr.privacy.voice import METHODS, FloatArray, VoiceChange, VoiceKey, change_voice, find_method, voice_key
from asr.prosody import semitones, track
from asr.text import get_normalizer

# Of whoever makes the copy, and of the attacker. The figures do not depend on which they are; they must differ.
KEY, OWN, OWN_TOO = (bytes([number]) * 32 for number in range(3))


def pitch(samples: FloatArray, key: VoiceKey) -> FloatArray:
    """Pitch and formants together, up or down."""
    steps = key.random().choice([-4.0, 4.0])
    return np.asarray(librosa.effects.pitch_shift(samples, sr=SAMPLE_RATE, n_steps=steps))


def mcadams(samples: FloatArray, key: VoiceKey) -> FloatArray:
    """The poles' angles to a power that is drawn (Patino et al. 2021, Interspeech); pitch stays as it is."""
    power, size, order = key.random().uniform(0.5, 0.9), 320, 20
    window = np.sqrt(np.hanning(size + 1)[:size])
    padded = np.pad(samples.astype(np.float64), size)
    changed = np.zeros_like(padded)
    for start in range(0, len(padded) - size, size // 2):
        frame = padded[start : start + size] * window
        if np.square(frame).sum() < 1e-8:
            continue
        coefficients = librosa.lpc(frame, order=order)
        poles = np.roots(coefficients)
        angles = np.angle(poles)
        turned = np.where(np.abs(poles.imag) > 1e-9, np.sign(angles) * np.abs(angles) ** power, angles)
        moved = np.real(np.poly(np.abs(poles) * np.exp(1j * np.clip(turned, -np.pi, np.pi))))
        changed[start : start + size] += lfilter([1.0], moved, lfilter(coefficients, 1.0, frame)) * window
    return np.asarray(changed[size:-size], np.float32)


def usable(manifest: Path, per_speaker: int) -> list[Fragment]:
    """So many fragments of every speaker who has so many."""
    counts = Counter(fragment.speaker for fragment in read_manifest(manifest))
    taken: Counter[str | None] = Counter()
    chosen = []
    for fragment in read_manifest(manifest):
        taken[fragment.speaker] += 1
        if fragment.speaker and counts[fragment.speaker] >= per_speaker and taken[fragment.speaker] <= per_speaker:
            chosen.append(fragment)
    return chosen


def contour_kept(before: FloatArray, after: FloatArray) -> float | None:
    """Correlation of F0 in semitones where both are voiced; None where there is under 0.2 s of that."""
    first, second = track(before), track(after)
    both = first.voiced & second.voiced
    return float(np.corrcoef(semitones(first)[both], semitones(second)[both])[0, 1]) if both.sum() >= 10 else None


def figure(name: str, found: Attack) -> Figure:
    """An equal error rate for the processing register."""
    low, high = found.error.low or 0.0, found.error.high or 0.0
    return Figure(
        name=f"{name}, %",
        value=round(100 * (found.error.value or 0.0), 1),
        command="python scripts/benchmark_voice.py",
        interval=(round(100 * low, 1), round(100 * high, 1)),
        n=found.same + found.different,
    )


def percent(found: Estimate) -> str:
    """A share with its interval."""
    if found.value is None:
        return "-"
    bounds = "" if found.low is None or found.high is None else f" [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"{100 * found.value:.1f}{bounds}"


def heard_wrongly(
    transcriber: Transcriber, fragments: Sequence[Fragment], recordings: Sequence[FloatArray]
) -> Estimate:
    """The corpus-wide WER."""
    errors, words = [], []
    heard = transcriber.transcribe_many(recordings, language=fragments[0].language)
    for fragment, transcript in zip(fragments, heard, strict=True):
        normalize = get_normalizer(fragment.language, fragment.dialect)
        counts, _ = nearest_errors(normalize(fragment.text), normalize.renderings(transcript.text))
        errors.append(counts.errors)
        words.append(counts.reference)
    return rate_estimate(errors, words, [str(fragment.speaker) for fragment in fragments])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--methods", nargs="*", default=["world"], help="world, pitch, mcadams")
    parser.add_argument("--drawn-per", choices=("fragment", "speaker"), default="fragment", help="what a voice is for")
    parser.add_argument("--per-speaker", type=int, default=6, help="fragments; half of them enrol")
    parser.add_argument("--transcribed", type=int, default=120, help="fragments for WER and tune, at most")
    parser.add_argument("--figures", type=Path, help="a file for asr register --figures")
    given = parser.parse_args()

    figures: list[Figure] = []
    METHODS.update(pitch=pitch, mcadams=mcadams)
    fragments = usable(given.manifest, given.per_speaker)
    speakers = np.array([fragment.speaker for fragment in fragments])
    if len(set(speakers)) < 4 or len({fragment.language for fragment in fragments}) > 1:
        parser.error(f"four speakers of one language with {given.per_speaker} fragments are needed in {given.manifest}")
    drawn_for = [item.id if given.drawn_per == "fragment" else str(item.speaker) for item in fragments]
    console = Console(stderr=True)
    originals = [load_audio(item.audio, item.start, item.duration) for item in fragments]
    seconds = sum(map(len, originals)) / SAMPLE_RATE
    # Spread over the speakers.
    some = list(range(0, len(fragments), -(-len(fragments) // given.transcribed)))
    asked = [fragments[number] for number in some]
    transcriber = Transcriber(given.model)
    known = embed(originals)
    plain = attack(known, known, speakers)
    print(
        f"{len(fragments)} fragments, {seconds / 60:.0f} minutes, {len(set(speakers))} speakers; trials: {plain.same} "
        f"of one speaker, {plain.different} of two; WER and tune on {len(some)} fragments"
    )
    trained = attack(known, known, speakers, [known])
    before = heard_wrongly(transcriber, asked, [originals[number] for number in some])
    print(
        f"original: EER {percent(plain.error)} %, trained {percent(trained.error)} %; WER {percent(before)} %",
        flush=True,
    )
    for name in given.methods:
        method = find_method(name)

        def changed(key: bytes, method: VoiceChange = method, name: str = name) -> list[FloatArray]:
            pairs = progress(list(zip(drawn_for, originals, strict=True)), name, console=console)
            return [change_voice(samples, voice_key(key, id_), method) for id_, samples in pairs]

        began = time.perf_counter()
        copy = changed(KEY)
        speed = (time.perf_counter() - began) / seconds
        found, own, own_too = embed(copy), embed(changed(OWN)), embed(changed(OWN_TOO))
        learnt = [own, own_too]
        attacks = {
            "ignorant": attack(known, found, speakers),
            "informed": attack(own, found, speakers),
            "same copy": attack(found, found, speakers),
            "trained": attack(own, found, speakers, learnt),
            "trained, same copy": attack(found, found, speakers, learnt),
        }
        after = heard_wrongly(transcriber, asked, [copy[number] for number in some])
        kept = [contour_kept(originals[number], copy[number]) for number in some]
        tune = [value for value in kept if value is not None]
        table = Table("attacker", "EER %", title=name)
        for attacker, result in attacks.items():
            table.add_row(attacker, percent(result.error))
            figures.append(figure(f"{name}: equal error rate, attacker '{attacker}'", result))
        Console().print(table)
        best = min(list(attacks)[1:], key=lambda attacker: attacks[attacker].error.value or 0.0)
        print(
            f"{name}: pseudonymised; an attacker who knows the method reaches EER "
            f"{100 * (attacks[best].error.value or 0.0):.1f} % ({best}). WER {percent(before)} -> {percent(after)} %. "
            f"F0 correlation: median {np.median(tune):.3f}, a tenth under {np.quantile(tune, 0.1):.3f}, of {len(tune)} "
            f"fragments. {speed:.2f} s per second of sound",
            flush=True,
        )
    if given.figures:
        figures.insert(0, figure("original voices: equal error rate, attacker 'trained'", trained))
        with atomic_write(given.figures) as handle:
            handle.write(figures_json(figures))


if __name__ == "__main__":
    main()
