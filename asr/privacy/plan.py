"""Plans an erasure: what is to be done with every file that tells of a speaker, and what has to be left."""

from __future__ import annotations

import os
import secrets
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, Literal

from ahocorasick_rs import BytesAhoCorasick

from asr.audio import AUDIO_ENDINGS
from asr.errors import AsrError
from asr.privacy.facts import facts_in, is_list, open_bytes
from asr.privacy.strip import Stripper, is_text
from asr.privacy.timed import CUES
from asr.privacy.traces import Names, Span, Survey, Traces, walk
from asr.sums import sha256_of

# fmt: off
# What is made of a recording and named after it: transcripts, labels, pictures, features.
_DERIVED: Final = AUDIO_ENDINGS | {
    ".txt", ".srt", ".vtt", ".tsv", ".json", ".lab", ".ctm", ".rttm", ".stm", ".trs", ".textgrid", ".eaf", ".png",
    ".svg", ".pdf", ".jpg", ".jpeg", ".npy", ".npz", ".pt", ".pkl", ".h5", ".f0", ".csv", ".jsonl",
}
# What has times, so that the speaker's stretches can be cut out of it.
_TIMED: Final = {*CUES, ".tsv", ".json", ".textgrid", ".eaf"}
# fmt: on
_MODELS: Final = (".pt", ".pth", ".ckpt", ".state", ".bin", ".safetensors")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Deed:
    """What is done with one file; doing it twice changes nothing more.

    Attributes:
        do: ``strip`` takes records out of it, ``silence`` stretches of sound, ``remove`` is for the whole file.
        path: The file.
        what: ``list``, ``recording``, ``file`` or ``link``.
        records: How many records, lines or cues go.
        spans: Where the speaker speaks, in seconds, where that counts.
    """

    do: Literal["strip", "silence", "remove"]
    path: str
    what: Literal["list", "recording", "file", "link"]
    records: int = 0
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Left:
    """A file that still tells of the speaker, or may, and that a person must look at.

    Attributes:
        path: The file.
        why: A sentence.
    """

    path: str
    why: str


@dataclass(frozen=True)
class Plan:
    """Everything that an erasure is going to do; written down before it begins.

    Attributes:
        id: Random, tells this erasure from others.
        when: Time at which it was planned, UTC.
        folders: Real paths.
        traces: Of the speaker.
        deeds: In the order in which they are done: lists first, so that no reader meets a fragment without audio.
        left: What is not touched.
        models: Files that hold the hash of a list that named the speaker: checkpoints trained on it.
    """

    id: str
    when: datetime
    folders: tuple[str, ...]
    traces: Traces
    deeds: tuple[Deed, ...]
    left: tuple[Left, ...]
    models: tuple[str, ...]


class Planner:
    """Looks at every file under some folders.

    Args:
        survey: Of the folders.
        traces: What it found.
        older: Lists that held who another one holds, the SHA-256 of both: what it was before an earlier erasure, or
            what was made of it.
    """

    def __init__(self, survey: Survey, traces: Traces, older: Iterable[tuple[str, str]] = ()) -> None:
        self.survey = survey
        self.folders = survey.folders
        self.traces = traces
        self.names = Names(traces)
        self.stripper = Stripper(traces, self.names, survey.resolve)
        self.hashes = _with_older(traces.lists.values(), older)
        self._models = BytesAhoCorasick([digest.encode() for digest in self.hashes] or [b"\0no hash\0"])
        # What lies in each recording of theirs, by its content: copies bear other names.
        self._contents = {digest: path for path, digest in (*traces.alone.items(), *traces.shared.items())}
        self._sizes = set(traces.sizes.values())
        kept = {Path(name).stem for name in traces.protected}
        self._alone_stems = {Path(path).stem for path in traces.alone} - kept
        self._shared_stems = {Path(path).stem: path for path in traces.shared if Path(path).stem not in kept}

    def plan(self) -> Plan:
        """Make the plan; nothing is written.

        Raises:
            OSError: A folder cannot be read.
        """
        deeds: list[Deed] = []
        left = [Left(path, f"cannot be read: {reason}") for path, reason in self.survey.unreadable.items()]
        left += [
            Left(path, "is an archive with recordings of theirs; pack the corpus again (asr pack)")
            for path in self.traces.archives
        ]
        models: list[str] = []
        for path in walk(self.folders):
            if str(path) in self.survey.unreadable or os.path.realpath(path) in self.traces.archives:
                continue
            try:
                deed = self._deed(path)
                if not path.is_symlink() and path.name.endswith(_MODELS) and self._is_model(path):
                    models.append(str(path))
            except (AsrError, OSError, EOFError, zipfile.BadZipFile) as error:
                deed = Left(str(path), f"cannot be taken apart: {error}")
            if isinstance(deed, Left):
                left.append(deed)
            elif deed is not None:
                deeds.append(deed)
        left += [
            Left(path, "lies outside the folders, and is not touched")
            for path in (*self.traces.alone, *self.traces.shared)
            if not self.is_inside(path)
        ]
        if self.traces.doubtful:
            why = (
                f"{self.traces.doubtful} ids of their fragments are ids of others' as well; what has only the id stays"
            )
            left.append(Left("", why))
        order = ("strip", "silence", "remove")
        return Plan(
            id=secrets.token_hex(8),
            when=datetime.now(timezone.utc).replace(microsecond=0),
            folders=tuple(map(str, self.folders)),
            traces=self.traces,
            deeds=tuple(sorted(deeds, key=lambda deed: order.index(deed.do))),
            left=tuple(left),
            models=tuple(models),
        )

    def is_inside(self, path: str | Path) -> bool:
        """Whether a real path lies in one of the folders."""
        return any(Path(path).is_relative_to(folder) for folder in self.folders)

    def relative(self, path: Path) -> str:
        """Return a path from its folder on, for what its name tells."""
        return next(str(path.relative_to(folder)) for folder in self.folders if path.is_relative_to(folder))

    def tells_by_name(self, path: str | Path) -> bool:
        """Whether the name of a file or folder, from its folder on, tells of the speaker."""
        return self.names.mentions(self.relative(Path(path)) if self.is_inside(path) else str(path))

    def _deed(self, path: Path) -> Deed | Left | None:
        named = self.tells_by_name(path)
        if path.is_symlink():
            return self._link(path, named)
        real = os.path.realpath(path)
        if real in self.traces.alone:
            return Deed("remove", str(path), "recording")
        origin = real if real in self.traces.shared else self._copied(path)
        if origin in self.traces.alone:
            return Deed("remove", str(path), "recording")
        if origin is not None:
            return Deed("silence", str(path), "recording", spans=self.traces.spans[origin])
        return self._by_name(path, named) or self._by_content(path, named)

    def _link(self, path: Path, named: bool) -> Deed | Left | None:
        target = os.path.realpath(path)
        if not (named or target in self.traces.alone):
            return None
        if not self.is_inside(target):
            return Left(str(path), "is a link that leads out of the folders, and is not touched")
        return Deed("remove", str(path), "link")

    def _copied(self, path: Path) -> str | None:
        """The recording of theirs that has this content."""
        return self._contents.get(sha256_of(path)) if path.stat().st_size in self._sizes else None

    def _by_name(self, path: Path, named: bool) -> Deed | Left | None:
        """What is named after the speaker, a fragment or a recording of theirs."""
        ending = path.suffix.lower()
        stems = {path.name[:index] for index, char in enumerate(path.name) if char == "." and index}
        derived = ending in _DERIVED
        parts = Path(self.relative(path)).parts[:-1]
        # An id may hold slashes, which make folders.
        ids = {"/".join((*parts[start:], stem)) for stem in stems for start in range(len(parts) + 1)}
        exactly = derived and bool(ids & self.names.exact or stems & self._alone_stems)
        shared = next((self._shared_stems[stem] for stem in stems if derived and stem in self._shared_stems), None)
        if not (exactly or named or shared) or (path.name.endswith(_MODELS) and not exactly):
            return None
        if is_list(path) and self._holds_others(path):
            return None  # by its content
        if exactly or named:
            listed: Literal["list", "file"] = "list" if str(path) in self.traces.lists else "file"
            return Deed("remove", str(path), "recording" if ending in AUDIO_ENDINGS else listed)
        spans = self.traces.spans[str(shared)]
        if ending not in _TIMED:
            return Deed("remove", str(path), "file")
        counts = self.stripper.count(path, spans)
        if counts.empty:
            return Deed("remove", str(path), "file", counts.gone)
        return Deed("strip", str(path), "file", counts.gone + counts.changed, spans) if counts.touched else None

    def _holds_others(self, path: Path) -> bool:
        return any(fact.speaker is not None and fact.speaker not in self.traces.speakers for fact in facts_in(path))

    def _by_content(self, path: Path, named: bool) -> Deed | Left | None:
        binary = not is_text(path)
        listed = str(path) in self.traces.lists or (
            # What its bytes tell nothing of may still be theirs by a field, or by when it was said.
            is_list(path) or str(path.with_name("utt2spk")) in self.traces.lists
        )
        if not listed and not self.tells(path, binary):
            return Left(str(path), "bears a name of theirs, and holds other things") if named else None
        if binary:
            return Left(str(path), "holds a name of theirs and cannot be taken apart; remove it, or make it anew")
        counts = self.stripper.count(path)
        what: Literal["list", "file"] = "list" if str(path) in self.traces.lists else "file"
        if counts.empty:
            return Deed("remove", str(path), what, counts.gone)
        if counts.touched:
            return Deed("strip", str(path), what, counts.gone + counts.changed)
        return Left(str(path), "bears a name of theirs, and holds other things") if named else None

    def tells(self, path: Path, binary: bool) -> bool:
        """Whether the bytes of a file, unpacked where it is an archive, hold a name or words of the speaker."""
        with open_bytes(path) as handle:
            if self.names.in_stream(handle, binary):
                return True
        if binary and not path.name.endswith(_MODELS) and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    with archive.open(member) as unpacked:
                        if self.names.in_stream(unpacked, binary=True):  # type: ignore[arg-type]
                            return True
        return False

    def _is_model(self, path: Path) -> bool:
        """Whether a file holds the hash of one of their lists, as a checkpoint does of what it was trained on.

        The hash is a plain string in it: found as bytes, with no need to load, or trust, what is in the file.
        """
        rest = b""
        with path.open("rb") as handle:
            while block := handle.read(_BLOCK):
                if self._models.find_matches_as_indexes(rest + block):
                    return True
                rest = block[-64:]
        return False


def remains(planner: Planner, passed: Iterable[str]) -> Iterator[Left]:
    """Search everything again, names and content, for what still tells of the speaker.

    Args:
        planner: Of the erasure.
        passed: Paths that are known to remain.
    """
    known = set(passed)
    for path in walk(planner.folders):
        if str(path) in known:
            continue
        if planner.tells_by_name(path):
            yield Left(str(path), "bears a name of theirs")
        elif not path.is_symlink() and path.is_file():
            try:
                tells = planner.tells(path, not is_text(path))
            except (OSError, EOFError, zipfile.BadZipFile) as error:
                yield Left(str(path), f"cannot be searched: {error}")
            else:
                if tells:
                    yield Left(str(path), "holds a name or words of theirs")


def _with_older(hashes: Iterable[str], older: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Follow lists to all that held the same people: what a list holds now, it held before others were taken out."""
    others = defaultdict(set)
    for before, after in older:
        others[after].add(before)
    found: set[str] = set()
    waiting = list(hashes)
    while waiting:
        digest = waiting.pop()
        if digest not in found:
            found.add(digest)
            waiting += others[digest]
    return frozenset(found)
