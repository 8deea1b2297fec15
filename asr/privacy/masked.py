"""A manifest and its recordings, copied without the personal data in their words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from asr.audio import SAMPLE_RATE, load_audio
from asr.errors import AudioError, ConfigError, ManifestError
from asr.files import atomic_write
from asr.fragment import Fragment, read_numbered, write_manifest
from asr.privacy.mask import mask_fragment
from asr.privacy.silence import mask_samples, silences


@dataclass(slots=True)
class MaskReport:
    """What a copy holds.

    Attributes:
        path: The manifest that was written.
        fragments: Fragments in it.
        spans: Spans that were masked, by type.
        failures: One error for every fragment that was left out.
    """

    path: Path
    fragments: int = 0
    spans: Counter[str] = field(default_factory=Counter)
    failures: list[Exception] = field(default_factory=list)


def mask_manifest(manifest: str | Path, folder: str | Path, *, beep: bool = False) -> MaskReport:
    """Copy a manifest and the audio of its fragments into a folder, with the personal data in the words masked in both.

    The manifest keeps its name; each fragment gets a recording of its own, 16 kHz mono FLAC, under a number. A
    fragment that cannot be masked is left out and reported, and the rest goes on. The manifest is written last, so
    that a folder with one is whole.

    Args:
        manifest: The manifest to copy.
        folder: Where to; must not hold a manifest of this name.
        beep: Whether a tone stands where something is silenced.

    Raises:
        ConfigError: The folder has such a manifest already.
        ManifestError: The manifest cannot be read at all.
        MissingExtraError: The extra ``privacy`` is not installed.
    """
    target = Path(folder) / Path(manifest).name
    if target.exists():
        raise ConfigError(f"{target} is there already; name another folder")
    report = MaskReport(target)
    report.fragments = write_manifest(_masked(Path(manifest), target.parent, beep, report), target)
    return report


def _masked(manifest: Path, folder: Path, beep: bool, report: MaskReport) -> Iterator[Fragment]:
    for number, item in read_numbered(manifest):
        if isinstance(item, ManifestError):
            report.failures.append(item)
            continue
        try:
            yield _copied(item, folder / "audio" / f"{number:08d}.flac", beep, report.spans)
        except ManifestError as error:
            report.failures.append(ManifestError(str(error), manifest, number))
        # The language is the fragment's own; what is not installed ends everything.
        except (ConfigError, AudioError) as error:
            report.failures.append(ManifestError(f"fragment {item.id!r}: {error}", manifest, number))


def _copied(fragment: Fragment, path: Path, beep: bool, counts: Counter[str]) -> Fragment:
    """Write a fragment's recording, masked, and return the fragment that goes with it."""
    masked = mask_fragment(fragment)
    stretches = silences(fragment, masked.spans)
    samples = load_audio(fragment.audio, fragment.start, fragment.duration)
    samples = mask_samples(samples, SAMPLE_RATE, stretches, start=fragment.start, beep=beep)
    # Rounded here, because libsndfile would scale by another number than it reads with.
    whole = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    with atomic_write(path, "wb") as handle:
        soundfile.write(handle, whole, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    counts.update(span.type for span in masked.spans)
    words = tuple(
        word.model_copy(update={"start": max(0.0, word.start - fragment.start)}) for word in masked.fragment.words
    )
    return masked.fragment.replace(audio=str(path), start=0.0, duration=len(whole) / SAMPLE_RATE, words=words)
