"""A manifest and its recordings, copied without the personal data in their words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from asr.audio import SAMPLE_RATE, load_audio
from asr.audio.sources import Samples
from asr.errors import AudioError, ConfigError, ManifestError
from asr.fragment import Fragment, read_numbered, write_manifest
from asr.privacy.mask import Masked, mask_fragment
from asr.privacy.recordings import write_plain
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


def mask_words(fragment: Fragment, samples: Samples | None) -> tuple[Fragment, Samples | None]:
    """Mask a fragment, and what of its recording was loaded, together: a change that a release can make.

    Args:
        fragment: With the times of its words where there are samples and something to mask.
        samples: Of the fragment's own span, 16 kHz; None leaves the sound out.

    Raises:
        ManifestError: The fragment cannot be masked, because its words have no times, say, or of its language.
        MissingExtraError: The extra ``privacy`` is not installed.
    """
    try:
        masked = mask_fragment(fragment)
    except ConfigError as error:  # the language is the fragment's own
        raise ManifestError(str(error)) from error
    return masked.fragment, None if samples is None else _silenced(fragment, masked, samples, beep=False)


def _silenced(fragment: Fragment, masked: Masked, samples: Samples, beep: bool) -> Samples:
    stretches = silences(fragment, masked.spans)
    return mask_samples(samples, SAMPLE_RATE, stretches, start=fragment.start, beep=beep)


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
    samples = _silenced(fragment, masked, load_audio(fragment.audio, fragment.start, fragment.duration), beep)
    write_plain(path, samples)
    counts.update(span.type for span in masked.spans)
    words = tuple(
        word.model_copy(update={"start": max(0.0, word.start - fragment.start)}) for word in masked.fragment.words
    )
    return masked.fragment.replace(audio=str(path), start=0.0, duration=len(samples) / SAMPLE_RATE, words=words)
