"""What `asr transcribe` is to hear, one job per recording or fragment, and where its output goes."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.audio import AUDIO_ENDINGS
from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment, read_numbered
from asr.lines import read_lines
from asr.writers import output_stem


@dataclass(frozen=True, slots=True)
class Job:
    """One recording or fragment.

    Attributes:
        source: What is heard.
        name: How a message calls it.
        stem: Path of its outputs without their endings.
    """

    source: str | Fragment
    name: str
    stem: str

    def done(self, formats: Iterable[str]) -> bool:
        """Whether there is an output in every format."""
        # Path.exists would raise where a name is too long; writing says so in its turn.
        return all(os.path.exists(f"{self.stem}.{name}") for name in formats)  # noqa: PTH110


@dataclass(frozen=True, slots=True)
class Survey:
    """How much there is to do.

    Attributes:
        jobs: All of them, broken lines of manifests included.
        done: Those of which there is an output in every format.
    """

    jobs: int
    done: int


def is_manifest(path: Path) -> bool:
    """Whether a path is named like a manifest."""
    return path.name.endswith((".jsonl", ".jsonl.gz"))


def find_jobs(inputs: Iterable[Path], output_dir: Path) -> Iterator[Job | ManifestError]:
    """Stream the jobs: files as they are given, folders in the order of their names, manifests line by line.

    The output of a file is named after it; that of a file in a folder keeps the path from there; that of a fragment is
    named after its id, in which ``/`` makes folders. Hidden files and links to folders are passed over in a folder.

    Args:
        inputs: Recordings, folders, manifests.
        output_dir: Where outputs go.

    Yields:
        A job, or the error that describes a broken line.

    Raises:
        ConfigError: An input does not exist, or a folder holds no audio.
        ManifestError: A manifest cannot be read.
        OSError: A folder cannot be read.
    """
    for path in inputs:
        if path.is_dir():
            yield from _in_folder(path, output_dir)
        elif not path.exists():
            raise ConfigError(f"there is no file or folder {path}; check the path")
        elif is_manifest(path):
            yield from _in_manifest(path, output_dir)
        else:
            yield Job(str(path), str(path), str(output_dir / path.stem))


def survey(inputs: Iterable[Path], output_dir: Path, formats: Iterable[str]) -> Survey:
    """Count the jobs, and refuse two whose outputs would be the same files.

    Raises:
        ConfigError: Two jobs would overwrite each other; besides, what `find_jobs` raises.
    """
    wanted = tuple(formats)
    # Eight bytes a job: names of millions would fill the memory.
    keys = array("Q")
    jobs = done = 0
    for job in find_jobs(inputs, output_dir):
        jobs += 1
        if isinstance(job, Job):
            keys.append(_key(job.stem))
            done += job.done(wanted)
    found, counts = np.unique(np.frombuffer(keys, np.uint64) if keys else (), return_counts=True)
    if twice := {int(key) for key in found[counts > 1]}:
        _refuse_twice(find_jobs(inputs, output_dir), twice, wanted[0])
    return Survey(jobs, done)


def count_jobs(inputs: Iterable[Path]) -> int:
    """Count the jobs without reading the manifests' lines.

    Raises:
        ConfigError: As of `find_jobs`.
        ManifestError: As of `find_jobs`.
    """
    count = 0
    for path in inputs:
        lines = read_lines(path, "manifest") if path.is_file() and is_manifest(path) else find_jobs([path], Path())
        count += sum(1 for _ in lines)
    return count


def _refuse_twice(jobs: Iterable[Job | ManifestError], keys: set[int], ending: str) -> None:
    """Name the first two jobs of one stem; two stems of one key are no fault."""
    names: dict[str, str] = {}
    for job in jobs:
        if isinstance(job, Job) and _key(job.stem) in keys:
            if job.stem in names:
                raise ConfigError(
                    f"{names[job.stem]} and {job.name} would both be written to {job.stem}.{ending}; transcribe "
                    "them apart, each with its own --output-dir, or name one of them otherwise"
                )
            names[job.stem] = job.name


def _key(stem: str) -> int:
    return int.from_bytes(hashlib.blake2b(stem.encode(errors="surrogateescape"), digest_size=8).digest(), "little")


def find_sources(inputs: Iterable[Path]) -> Iterator[str | Fragment | ManifestError]:
    """Stream what is heard, where outputs have no names: as of `find_jobs`, and any id will do."""
    for path in inputs:
        if path.is_file() and is_manifest(path):
            yield from (item for _, item in read_numbered(path))
        else:
            yield from (job.source for job in find_jobs([path], Path()) if isinstance(job, Job))


def _in_folder(folder: Path, output_dir: Path) -> Iterator[Job]:
    found = False
    for root, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            if not name.startswith(".") and path.suffix.lower() in AUDIO_ENDINGS:
                found = True
                yield Job(str(path), str(path), str(output_dir / path.relative_to(folder).with_suffix("")))
    if not found:
        raise ConfigError(f"folder {folder} holds no audio files ({', '.join(sorted(AUDIO_ENDINGS))})")


def _in_manifest(manifest: Path, output_dir: Path) -> Iterator[Job | ManifestError]:
    for number, item in read_numbered(manifest):
        if isinstance(item, ManifestError):
            yield item
            continue
        stem = output_stem(item.id, output_dir)
        if stem is None:
            yield ManifestError(
                f"fragment id {item.id!r} cannot name a file under the output folder; ids hold no '..'",
                manifest,
                number,
            )
            continue
        yield Job(item, f"fragment {item.id!r} ({manifest}:{number})", stem)


def _raise(error: OSError) -> None:
    raise error
