"""Pseudonymises a corpus: a new folder with a manifest and recordings that name nobody, whole or not there at all.

Every fragment becomes one recording of its own. Lines stand in the order of their pseudonymous ids, which are keyed
hashes: another key, another order. The work is done in a hidden folder beside the release, ``.NAME.part``; a run that
was killed, or found the disk full, goes on there when the same command is given again.

Memory does not grow with the corpus: what is done so far lies in a database on disk. Only the numbers of different
cells (see `asr.privacy.cells`) and of different unknown keys take memory.

A speaker whose fragments lie in several cells may be told by their combination though each cell has k speakers; the
report counts these speakers.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from asr.audio import SAMPLE_RATE, load_audio
from asr.audio.sources import Samples
from asr.errors import AsrError, AudioError, ConfigError, ManifestError
from asr.fragment import Fragment, read_numbered, write_manifest
from asr.privacy.cells import Cell, cell_of, safe_cells
from asr.privacy.drafts import Drafts
from asr.privacy.fields import pseudonymous
from asr.privacy.pseudonyms import fingerprint
from asr.privacy.recordings import write_plain

MANIFEST = "manifest.jsonl"
"""Name of the manifest in a release."""

Change = Callable[[Fragment, Samples | None], tuple[Fragment, Samples | None]]
"""Changes a fragment and its samples together; both begin at 0 s. Without recordings the samples are None."""

# A day that no file system or archive refuses: what files tell of when they were made is 1980-01-01, for all of them.
_TIMESTAMP = 315_532_800
# A corpus can be wrong in every line. All are counted, this many are kept.
_KEPT_ERRORS = 1000
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class ReleaseOptions:
    """What may leave.

    Attributes:
        k: Speakers that every cell of language, dialect, gender and age must have; 1 leaves all cells as they are.
        keep: Keys that are no field of a fragment and stay, as in `pseudonymous`.
        audio: Whether the recordings are written; without them, a manifest of texts is.
        root: The folder in which all recordings must lie; None means the manifest's.
        changes: What is changed in words and sound before they are written, by name, in this order.
    """

    k: int = 5
    keep: frozenset[str] = frozenset()
    audio: bool = True
    root: Path | None = None
    changes: Mapping[str, Change] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            ConfigError: k is less than 1.
        """
        if self.k < 1:
            raise ConfigError(f"'k' must be 1 speaker or more in a cell, found {self.k}")


@dataclass(frozen=True, slots=True)
class WidenedCell:
    """A cell that too few speakers share.

    Attributes:
        cell: As it was.
        shown: As which cell its fragments are shown, None where they are held back.
        speakers: How many there are, no more exactly than ``<5``.
    """

    cell: Cell
    shown: Cell | None
    speakers: str


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """What was made. It names rare cells and unknown keys, so it stays with the source.

    Attributes:
        fragments: Fragments released.
        speakers: Different speakers among them.
        without_speaker: Fragments released that name no speaker.
        in_several_cells: Speakers whose fragments lie in more than one cell.
        held_back: Fragments whose cell cannot be made wide enough.
        skipped: Lines that are broken, stand twice, or whose recording cannot be read.
        widened: The cells with fewer than k speakers.
        dropped: Unknown keys that were left out, with the number of fragments that had them.
        changes: Names of the changes that were made.
    """

    fragments: int
    speakers: int
    without_speaker: int
    in_several_cells: int
    held_back: int
    skipped: int
    widened: tuple[WidenedCell, ...]
    dropped: dict[str, int]
    changes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for JSON."""
        widened = [
            {
                "cell": item.cell._asdict(),
                "shown": None if item.shown is None else item.shown._asdict(),
                "speakers": item.speakers,
            }
            for item in self.widened
        ]
        lists = {"widened": widened, "dropped": self.dropped, "changes": list(self.changes)}
        return self.counts() | lists

    def counts(self) -> dict[str, int]:
        """Return the numbers alone, which tell nothing about anybody."""
        names = ("fragments", "speakers", "without_speaker", "in_several_cells", "held_back", "skipped")
        return {name: getattr(self, name) for name in names}


def pseudonymise(
    manifest: str | Path,
    output: str | Path,
    key: bytes,
    options: ReleaseOptions = ReleaseOptions(),
    errors: list[ManifestError] | None = None,
) -> ReleaseReport:
    """Write a release, ``output/manifest.jsonl`` and ``output/audio/``.

    Args:
        manifest: The manifest to pseudonymise; nothing of it is changed.
        output: The folder to make.
        key: Makes the pseudonyms; of `read_key`.
        options: What may leave.
        errors: Receives one error for each of the first 1000 lines that were skipped.

    Raises:
        ConfigError: The folder is there already, or was begun with another key, manifest or options.
        ManifestError: The manifest cannot be read.
        AsrError: Nothing can be released, or the disk is full; what is done is kept then.
    """
    source, target = Path(manifest).absolute(), Path(output).absolute()
    work = target.parent / f".{target.name}.part"
    state = _state(source, key, options)
    if target.exists():
        if not (work / "release").exists():  # killed after the release was put in its place
            shutil.rmtree(work, ignore_errors=True)
        raise ConfigError(f"{target} exists already; a release is made once, name a new folder")
    with _kept(work):
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        with Drafts(work / "drafts.sqlite", state) as drafts:
            release = _Release(source, work / "release", key, options, drafts, [] if errors is None else errors)
            release.draft()
            cells = safe_cells(((cell, speaker) for speaker, cell, _ in drafts.by_speaker()), options.k)
            report = release.report(cells)
            if report.fragments:
                release.finish(cells)
        if report.fragments:
            (work / "release").replace(target)
    shutil.rmtree(work, ignore_errors=True)
    if not report.fragments:
        raise AsrError(
            f"nothing can be released: {report.held_back} fragments are of fewer than {options.k} speakers that can be "
            f"told apart, and {report.skipped} lines were skipped"
        )
    return report


class _Release:
    """One release in the making."""

    def __init__(
        self,
        source: Path,
        folder: Path,
        key: bytes,
        options: ReleaseOptions,
        drafts: Drafts,
        errors: list[ManifestError],
    ) -> None:
        self.source = source
        self.folder = folder
        self.key = key
        self.options = options
        self.drafts = drafts
        self.errors = errors
        self.root = (options.root or source.parent).resolve()
        self.skipped = 0
        self.dropped: Counter[str] = Counter()

    def draft(self) -> None:
        """Pseudonymise every line that is not done yet, its recording included."""
        for number, item in read_numbered(self.source):
            try:
                if isinstance(item, ManifestError):
                    raise item
                self._draft_one(number, item)
            except ManifestError as error:
                self.skipped += 1
                if len(self.errors) < _KEPT_ERRORS:
                    self.errors.append(error)

    def _draft_one(self, number: int, fragment: Fragment) -> None:
        told = pseudonymous(fragment, self.key, self.options.keep, self.dropped)
        done = self.drafts.line_of(told.id)
        if done is not None and done != number:
            raise ManifestError(f"the fragment's id stands in line {done} too; give it its own", self.source, number)
        if done is not None:
            return
        samples = None
        if self.options.audio:
            samples = self._samples(fragment, number)
            told = told.replace(duration=len(samples) / SAMPLE_RATE)
        for change in self.options.changes.values():
            told, samples = change(told, samples)
        # Folders of one in 1024, because file systems are slow with millions of files in one.
        audio = f"audio/{told.id.partition('-')[2][:2]}/{told.id}.flac"
        if samples is not None:
            write_plain(self.folder / audio, samples)
        self.drafts.add(number, cell_of(told), told.to_dict() | {"audio": audio})

    def _samples(self, fragment: Fragment, number: int) -> Samples:
        """Load a fragment's own span. Messages do not repeat the path, which may name somebody."""
        try:
            real = Path(fragment.audio).resolve()
            found = real.is_file()
        except (OSError, RuntimeError) as error:  # too long a name, links in a circle
            raise ManifestError("the recording's path cannot be followed", self.source, number) from error
        if not real.is_relative_to(self.root):
            message = f"the recording lies outside {self.root}; if it may be read, name its folder with --root"
            raise ManifestError(message, self.source, number)
        if not found:
            message = "there is no such recording; check 'audio', which is relative to the manifest's folder"
            raise ManifestError(message, self.source, number)
        try:
            return load_audio(fragment.audio, fragment.start, fragment.duration)
        except AudioError as error:
            raise ManifestError(str(error).replace(fragment.audio, "the recording"), self.source, number) from error

    def report(self, cells: Mapping[Cell, Cell | None]) -> ReleaseReport:
        """Count what will be released."""
        fragments = speakers = nameless = several = held = 0
        for speaker, rows in groupby(self.drafts.by_speaker(), key=lambda row: row[0]):
            shown = Counter[Cell | None]()
            for _, cell, count in rows:
                shown[cells[cell]] += count
            held += shown.pop(None, 0)
            fragments += shown.total()
            if speaker is None:
                nameless = shown.total()
            else:
                speakers += bool(shown)
                several += len(shown) > 1
        widened = [
            WidenedCell(cell, shown, f"<{self.options.k}")
            for cell, shown in sorted(cells.items(), key=lambda item: tuple(part or "" for part in item[0]))
            if shown != cell
        ]
        dropped = dict(sorted(self.dropped.items()))
        return ReleaseReport(
            fragments, speakers, nameless, several, held, self.skipped, tuple(widened), dropped,
            tuple(self.options.changes),
        )  # fmt: skip

    def finish(self, cells: Mapping[Cell, Cell | None]) -> None:
        """Write the manifest; remove what is not in it, and every trace of when it was made."""
        write_manifest(self._released(cells), self.folder / MANIFEST)
        # From the leaves up, because removing a file changes its folder's time.
        for place, _, names in os.walk(self.folder, topdown=False):
            folder = Path(place)
            for name in names:
                path = folder / name
                # Held back, or left by a run that was killed between a recording and its draft.
                if path.suffix == ".flac":
                    cell = self.drafts.cell_of(path.stem)
                    keep = cell is not None and cells[cell] is not None
                else:
                    keep = path == self.folder / MANIFEST
                if keep:
                    os.utime(path, (_TIMESTAMP, _TIMESTAMP))
                else:
                    path.unlink()
            if any(folder.iterdir()):
                os.utime(folder, (_TIMESTAMP, _TIMESTAMP))
            else:
                folder.rmdir()

    def _released(self, cells: Mapping[Cell, Cell | None]) -> Iterator[Fragment]:
        for cell, data in self.drafts.by_id():
            shown = cells[cell]
            if shown is not None:
                audio = str(self.folder / data["audio"])
                yield Fragment.from_dict(data | shown._asdict() | {"audio": audio})


def _state(source: Path, key: bytes, options: ReleaseOptions) -> dict[str, str]:
    """What every draft depends on, by the name that a message gives it."""
    digest = hashlib.sha256()
    try:
        with source.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ManifestError(f"the manifest cannot be read: {error.strerror or error}", source) from error
    choices = (options.k, sorted(options.keep), options.audio, str(options.root), list(options.changes))
    return {"key": fingerprint(key), "manifest": digest.hexdigest(), "choice of options": repr(choices)}


@contextmanager
def _kept(work: Path) -> Iterator[None]:
    """Say in one sentence that the disk is full, and that nothing is lost."""
    try:
        yield
    except sqlite3.Error as error:
        reason = str(error)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        reason = error.strerror or str(error)
    else:
        return
    raise AsrError(
        f"the release cannot be written: {reason}. What is done is kept in {work}: make room and give the same command "
        "again, or remove that folder"
    )
