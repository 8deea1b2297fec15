"""A corpus with changed voices: one recording per fragment, and a manifest beside them that says the same as before."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from asr.audio import SAMPLE_RATE, load_audio
from asr.errors import AsrError, AudioError, ConfigError, ManifestError
from asr.fragment import Fragment, read_numbered, write_manifest
from asr.privacy.recordings import write_plain
from asr.privacy.voice import change_voice, find_method, voice_key

MANIFEST = "manifest.jsonl"
"""Name of the manifest in a copy."""

# Bytes of a file name; while it is written it has some more, and file systems end at 255.
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What became of a manifest.

    Attributes:
        fragments: Written with another voice.
        seconds: Of sound in them.
        failures: One error for each line that was left out.
    """

    fragments: int
    seconds: float
    failures: tuple[AsrError, ...]


def change_voices(manifest: str | Path, folder: str | Path, key: bytes, method: str = "world") -> CopyReport:
    """Write every fragment of a manifest with another voice, as ``ID.flac``, and `MANIFEST` beside them.

    The folder is there when it is whole. One fragment is in memory at a time, and the id of each.

    Args:
        manifest: The fragments.
        folder: The folder to make.
        key: Secret, of `asr.privacy.pseudonyms.read_key`; another key gives other voices.
        method: A name in `asr.privacy.voice.METHODS`.

    Raises:
        ConfigError: There is no such method, or the folder is there already.
        MissingExtraError: The method's library is not installed.
        ManifestError: The manifest cannot be read, or no fragment of it could be changed.
        OSError: A file cannot be written; nothing is left of the copy then.
    """
    change, target = find_method(method), Path(folder).absolute()
    if target.exists():
        raise ConfigError(f"{folder} exists already; name a new folder, or remove it")
    failures: list[AsrError] = []
    seconds = 0.0

    def changed(work: Path) -> Iterator[Fragment]:
        nonlocal seconds
        seen: set[str] = set()
        for number, item in read_numbered(manifest):
            if isinstance(item, ManifestError):
                failures.append(item)
                continue
            try:
                path = work / "audio" / _file_name(item.id, seen)
                samples = change_voice(
                    load_audio(item.audio, item.start, item.duration), voice_key(key, item.id), change
                )
            except (AudioError, ManifestError) as error:
                # A path may name somebody.
                reason = str(error).replace(item.audio, "the recording")
                failures.append(ManifestError(f"fragment {item.id!r}: {reason}", manifest, number))
                continue
            write_plain(path, samples)
            seen.add(item.id)
            seconds += len(samples) / SAMPLE_RATE
            yield _moved(item, path, len(samples) / SAMPLE_RATE)

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", suffix=".part") as hidden:
        work = Path(hidden) / "copy"
        count = write_manifest(changed(work), work / MANIFEST)
        if not count:
            found = f"; the first of {len(failures)}: {failures[0]}" if failures else ": the manifest is empty"
            raise ManifestError(f"no fragment could be changed{found}")
        work.rename(target)
    return CopyReport(count, seconds, tuple(failures))


def _file_name(fragment_id: str, seen: Collection[str]) -> str:
    """Return the name of a fragment's recording, in which ``/`` makes folders, as in `asr transcribe`."""
    if fragment_id in seen:
        raise ManifestError("the id stands in an earlier line too; give it its own")
    parts = [part for part in fragment_id.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise ManifestError("the id cannot name a file under the output folder; ids hold no '..'")
    if max(len(part.encode()) for part in parts) > _LONGEST_NAME:
        raise ManifestError(f"the id is too long to name a file; {_LONGEST_NAME} bytes are the most")
    return "/".join(parts) + ".flac"


def _moved(fragment: Fragment, path: Path, duration: float) -> Fragment:
    """Make a recording of its own of a fragment: its times begin at 0."""
    words = tuple(
        word.model_copy(update={"start": round(max(0.0, word.start - fragment.start), 9)}) for word in fragment.words
    )
    return fragment.replace(audio=str(path), start=0.0, duration=duration, words=words)
