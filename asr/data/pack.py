"""A corpus as lhotse Shar archives: few large files in place of many small ones, read piece by piece from anywhere.

Fragments are dealt to shards at random, so that whoever reads on in order reads them shuffled; what a speaker says in
one go stays together, because what was said before may be told (`asr.data.examples`). Each shard is an archive
of recordings (FLAC, 16 kHz, mono, 16 bit) and a list of cuts, as lhotse writes and reads them
(https://lhotse.readthedocs.io/en/latest/datasets.html). Beside them, ``fragments.jsonl`` is the manifest of it all, in
which a recording is its place in its archive and a checksum (`asr.addresses`), and ``SHA256SUMS`` is what ``sha256sum
--check`` reads.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import soundfile

from asr.addresses import Packed, digest_of
from asr.audio import SAMPLE_RATE, load_audio
from asr.errors import AsrError, AudioError, ManifestError
from asr.files import atomic_write, remove_parts
from asr.fragment import Fragment, read_numbered, write_manifest
from asr.privacy.consent import ConsentCheck
from asr.sums import SUMS, sha256_of, write_sums

log = logging.getLogger(__name__)

# Of what a shard is made of and how; another number makes all shards anew.
_VERSION = 2
# Fragments of a speaker that are dealt together, on average.
_TOGETHER = 16
# Lines that wait in memory to be dealt.
_DEALT = 20_000
# Where the work lies that is not finished, or tells what is.
_WORK = ".work"
MANIFEST = "fragments.jsonl"
# lhotse takes whatever lies beside shards for one.
_SHARDS = "shards"
_SOUND = ".flac"


@dataclass(frozen=True, slots=True)
class Shard:
    """What one shard holds.

    Attributes:
        request: SHA-256 of what it was made of: the fragments, and their recordings' sizes and times of change.
        files: Name and SHA-256 of its archive, its cuts, and its lines of the manifest.
        fragments: Fragments in it.
        seconds: Of audio.
        unreadable: Ids of the fragments whose recordings could not be read.
    """

    request: str
    files: dict[str, str]
    fragments: int
    seconds: float
    unreadable: tuple[str, ...]


# A shard, and whether it was made now.
Made = tuple[Shard, bool]


@dataclass(frozen=True, slots=True)
class Pack:
    """What was packed.

    Attributes:
        shards: In order.
        made: How many of them were made now; the others were there.
        broken: Lines of the manifests that are none.
    """

    shards: tuple[Shard, ...]
    made: int
    broken: int


def pack(
    manifests: Sequence[Path],
    folder: Path,
    *,
    shard_size: int = 1000,
    jobs: int = 1,
    seed: int = 0,
    consent: ConsentCheck | None,
    progress: Callable[[Iterable[Made], int], Iterable[Made]] = lambda shards, _: shards,
) -> Pack:
    """Pack the fragments of some manifests.

    It may be killed at any moment: what is finished then is kept by the next call with the same manifests, if it is
    still what it was. A fragment whose recording cannot be read is named in the log and left out; a later call tries
    it again if the recording has changed.

    Args:
        manifests: Of what is packed.
        folder: Where the archives go.
        shard_size: Fragments of a shard, on average. Which shard a fragment is in depends on their number, the seed and
            its own id or that of the speaker's fragment before it: without it, other shards stay as they are.
        jobs: Processes.
        seed: Of the deal.
        consent: What is asked of the fragments; None was told to ask nothing.
        progress: Shows the shards as they are finished; it is told how many there are.

    Raises:
        ManifestError: A manifest cannot be read, two fragments of a shard have one id, or none may be used.
        AsrError: The folder holds other things, or a process was killed.
    """
    _check_folder(folder)
    work = folder / _WORK
    work.mkdir(parents=True, exist_ok=True)
    remove_parts(folder)
    remove_parts(work)
    count, broken = _deal(manifests, work, shard_size, seed, consent)
    jobs_of = [(number, folder) for number in range(count)]
    shards: list[Shard] = []
    made = 0
    # A fork would copy the locks of other libraries' threads as they are.
    context = multiprocessing.get_context("forkserver")
    with ExitStack() as stack:
        processes = stack.enter_context(ProcessPoolExecutor(jobs, mp_context=context)) if jobs > 1 else None
        try:
            made_of = map(_make, jobs_of) if processes is None else processes.map(_make, jobs_of)
            for shard, new in progress(made_of, count):
                shards.append(shard)
                made += new
        except BrokenProcessPool:
            raise AsrError(
                f"a process that was packing is gone, perhaps for want of memory; {len(shards)} of {count} shards are "
                "finished: the same command goes on, with fewer --jobs perhaps"
            ) from None
    _finish(folder, shards)
    return Pack(tuple(shards), made, broken)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise AsrError(f"{folder} is a file; name a folder for the archives")
    if folder.is_dir() and not (folder / _WORK).is_dir() and any(folder.iterdir()):
        raise AsrError(f"{folder} holds other things; name an empty folder, or one that is to be packed again")


def _deal(
    manifests: Sequence[Path], work: Path, shard_size: int, seed: int, consent: ConsentCheck | None
) -> tuple[int, int]:
    """Deal the fragments to shards, a list of lines each; return how many shards there are, and broken lines."""
    for old in work.glob("*.lines"):
        old.unlink()
    count = broken = 0
    for _, item in _read(manifests, consent):
        if isinstance(item, ManifestError):
            broken += 1
            log.warning("left out: %s", item)
        else:
            count += 1
    if not count:
        raise ManifestError("no fragment in it can be packed; run `asr validate` on it", manifests[0])
    shards = -(-count // shard_size)
    waiting: dict[int, list[str]] = {}
    usable = ((place, item) for place, item in _read(manifests, consent) if isinstance(item, Fragment))
    speaker: tuple[str | None, ...] = ()
    drawn = 0

    def deal() -> None:
        for shard, lines in waiting.items():
            with (work / f"{shard:06d}.lines").open("a", encoding="utf-8") as handle:
                handle.writelines(lines)
        waiting.clear()

    for number, (place, fragment) in enumerate(usable, 1):
        digest = hashlib.sha256(json.dumps([seed, fragment.id]).encode()).digest()
        before, speaker = speaker, (fragment.speaker, fragment.conversation, fragment.language)
        if fragment.speaker is None or speaker != before or digest[0] % _TOGETHER == 0:
            drawn = int.from_bytes(digest[1:8], "big")
        line = json.dumps([drawn, number, place, fragment.to_dict()]) + "\n"
        waiting.setdefault(drawn % shards, []).append(line)
        if number % _DEALT == 0:
            deal()
    deal()
    return shards, broken


def _read(manifests: Sequence[Path], consent: ConsentCheck | None) -> Iterator[tuple[str, Fragment | ManifestError]]:
    """The fragments that may be used, and broken lines, each with its place."""
    for manifest in manifests:
        for number, item in read_numbered(manifest):
            if consent is None or isinstance(item, ManifestError) or consent.allows(item):
                yield f"{manifest.name}:{number}", item


def _make(job: tuple[int, Path]) -> Made:
    """Make a shard, unless it is there; return it, and whether it was made."""
    number, folder = job
    placed = _placed(folder / _WORK / f"{number:06d}.lines")
    fragments = [fragment for _, fragment in placed]
    request = _request(fragments)
    found = _finished(folder, number)
    if (
        found is not None
        and found.request == request
        and all(
            (folder / name).is_file() and sha256_of(folder / name) == digest for name, digest in found.files.items()
        )
    ):
        return found, False
    names = f"{_SHARDS}/recording.{number:06d}.tar", f"{_SHARDS}/cuts.{number:06d}.jsonl.gz"
    making = folder / _WORK / f"{number:06d}"
    shutil.rmtree(making, ignore_errors=True)
    (making / _SHARDS).mkdir(parents=True)
    (folder / _SHARDS).mkdir(exist_ok=True)
    lengths = _write(placed, making / _SHARDS, number)
    places = _places(making / names[0]) if lengths else {}
    if lengths:
        _without_time(making / names[1])
    packed = [
        _in_archive(fragment, Packed(str(folder.absolute() / names[0]), *places[fragment.id]), lengths[fragment.id])
        for fragment in fragments
        if fragment.id in lengths
    ]
    # In this folder, so that what lies in it is written as lying beside the manifest.
    lines = folder / f".{number:06d}.jsonl"
    write_manifest(packed, lines)
    kept = f"{_WORK}/{number:06d}.jsonl"
    files = {kept: sha256_of(lines)}
    lines.replace(folder / kept)
    # The old manifest knows other places in the archive.
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / SUMS).unlink(missing_ok=True)
    for name in names if lengths else ():
        (making / name).replace(folder / name)
        files[name] = sha256_of(folder / name)
    seconds = sum(fragment.duration or 0.0 for fragment in packed)
    unreadable = tuple(fragment.id for fragment in fragments if fragment.id not in lengths)
    shard = Shard(request, files, len(packed), seconds, unreadable)
    # Last: it says that all of it is there.
    with atomic_write(_told(folder, number)) as handle:
        json.dump([getattr(shard, name) for name in Shard.__slots__], handle)
    shutil.rmtree(making)
    return shard, True


def _placed(lines: Path) -> list[tuple[str, Fragment]]:
    """The fragments of a shard in order, each with its place in the manifests."""
    try:
        with lines.open(encoding="utf-8") as handle:
            dealt = sorted((json.loads(line) for line in handle), key=lambda row: (row[0], row[1]))
    except FileNotFoundError:  # chance has dealt it none
        return []
    return [(place, Fragment.from_dict(data)) for _, _, place, data in dealt]


def _request(fragments: Sequence[Fragment]) -> str:
    found = hashlib.sha256(str(_VERSION).encode())
    for fragment in fragments:
        try:
            of = os.stat(fragment.audio)  # noqa: PTH116  pathlib would intern every part of every path
            known = [of.st_size, of.st_mtime_ns]
        except OSError:
            known = []
        found.update(json.dumps([fragment.to_dict(), known], sort_keys=True).encode())
    return found.hexdigest()


def _told(folder: Path, number: int) -> Path:
    return folder / _WORK / f"{number:06d}.json"


def _finished(folder: Path, number: int) -> Shard | None:
    """What is known of a shard that was finished; None if none is."""
    try:
        request, files, fragments, seconds, unreadable = json.loads(_told(folder, number).read_bytes())
    except (OSError, ValueError):
        return None
    return Shard(request, files, fragments, seconds, tuple(unreadable))


def _write(placed: Sequence[tuple[str, Fragment]], making: Path, number: int) -> dict[str, int]:
    """Write one shard with lhotse; return the samples of what could be read, by id."""
    from lhotse import MonoCut, Recording, SupervisionSegment
    from lhotse.shar import SharWriter

    lengths: dict[str, int] = {}
    fields = {"recording": "flac"}
    with SharWriter(str(making), fields, shard_size=len(placed) + 1, shard_offset=number) as writer:
        for place, fragment in placed:
            if fragment.id in lengths:
                raise ManifestError(f"two fragments have the id {fragment.id!r}; run `asr validate` ({place})")
            try:
                samples = load_audio(fragment.audio, fragment.start, fragment.duration)
            except (AudioError, OSError):
                log.warning("left out (%s): the recording of fragment %r cannot be read", place, fragment.id)
                continue
            lengths[fragment.id] = len(samples)
            sound = BytesIO()
            soundfile.write(sound, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
            recording = Recording.from_bytes(sound.getvalue(), fragment.id)
            said = SupervisionSegment(
                fragment.id, fragment.id, 0.0, recording.duration, text=fragment.text, language=fragment.language,
                speaker=fragment.speaker, gender=fragment.gender,
            )  # fmt: skip
            writer.write(MonoCut(fragment.id, 0.0, recording.duration, 0, supervisions=[said], recording=recording))
    return lengths


def _places(archive: Path) -> dict[str, tuple[int, int, str]]:
    """First byte, length and checksum of every recording in an archive, by the fragment's id."""
    places = {}
    with tarfile.open(archive) as members:
        for member in members:
            if member.name.endswith(_SOUND) and (sound := members.extractfile(member)) is not None:
                found = member.offset_data, member.size, digest_of(sound.read())
                places[member.name.removesuffix(_SOUND)] = found
    return places


def _without_time(gzipped: Path) -> None:
    """Take the time out of a gzip file's header: equal content makes equal files."""
    with gzipped.open("r+b") as handle:
        handle.seek(4)
        handle.write(bytes(4))


def _in_archive(fragment: Fragment, place: Packed, samples: int) -> Fragment:
    """A fragment whose recording is its own, and begins where it does."""
    known = fragment.duration is not None and round(fragment.duration * SAMPLE_RATE) == samples
    return fragment.replace(
        audio=str(place),
        start=0.0,
        duration=fragment.duration if known else samples / SAMPLE_RATE,
        words=tuple(word.model_copy(update={"start": word.start - fragment.start}) for word in fragment.words),
    )


def _finish(folder: Path, shards: Sequence[Shard]) -> None:
    """Write the manifest of all shards and their sums, and remove what belonged to more shards of before."""
    work = folder / _WORK
    with atomic_write(folder / MANIFEST, "wb") as manifest:
        for number in range(len(shards)):
            with (work / f"{number:06d}.jsonl").open("rb") as lines:
                shutil.copyfileobj(lines, manifest)
    sums = {name: digest for shard in shards for name, digest in shard.files.items() if not name.startswith(_WORK)}
    for old in (folder / _SHARDS).iterdir():
        if f"{_SHARDS}/{old.name}" not in sums:
            old.unlink()
    for half in folder.glob(".*.jsonl"):  # of a process that was killed
        half.unlink()
    for told in work.iterdir():
        if told.is_dir():
            shutil.rmtree(told)
        elif told.suffix == ".lines" or int(told.stem) >= len(shards):
            told.unlink()
    write_sums(folder, {MANIFEST: sha256_of(folder / MANIFEST), **sums})
