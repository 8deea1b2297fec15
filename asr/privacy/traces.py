"""Finds what tells of a speaker in some folders: their fragments, recordings and words, and the names of these."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import quote, unquote

from ahocorasick_rs import BytesAhoCorasick

from asr.addresses import is_stored, parse_packed
from asr.errors import AsrError, ConfigError
from asr.exporters.label_studio import copy_stem
from asr.privacy.facts import Fact, facts_in, is_list
from asr.sums import sha256_of

Span = tuple[float, float | None]

# Annotated times are rounded: stretches that overlap by less belong to two speakers, one after the other.
TOLERANCE = 0.05
# A text of fewer words is anybody's.
_WORDS = 3
# A random gigabyte holds a given six bytes once in 300 000.
_LEAST_BYTES = 6
# A character has four bytes at the most.
_LAST_BYTES = 4
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Traces:
    """What is known of a speaker. Paths are real ones: absolute, without links.

    Attributes:
        speakers: Their ids.
        fragments: Ids of their fragments that no fragment of another speaker has.
        alone: Their recordings with no other speaker in them, by path, and the SHA-256 of each.
        shared: Recordings in which others speak too, likewise.
        sizes: Bytes of all these recordings.
        spans: Where they speak in each recording, in seconds.
        texts: What nobody but them said, of three words or more.
        protected: Names of others that hold one of these names.
        doubtful: How many of their fragments' ids are ids of others' fragments as well.
        overlapping: How many fragments of others overlap with theirs.
        lists: Files that name the speaker, and the SHA-256 of each.
        archives: Archives in which recordings of theirs lie: paths, or addresses in object storage.
    """

    speakers: tuple[str, ...]
    fragments: tuple[str, ...] = ()
    alone: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    doubtful: int = 0
    overlapping: int = 0
    lists: Mapping[str, str] = field(default_factory=dict)
    archives: tuple[str, ...] = ()


def overlaps(start: float, end: float | None, spans: Iterable[Span]) -> bool:
    """Whether a stretch, in seconds, overlaps with one of some spans by more than rounding does."""
    return any(
        min(end if end is not None else float("inf"), until if until is not None else float("inf")) - max(start, since)
        > TOLERANCE
        for since, until in spans
    )


class AnyOf:
    """Tells whether some bytes hold one of many texts, as JSON or plain text spells them; most lines hold none.

    Args:
        texts: What is looked for, even inside words.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        patterns = {form for text in texts for form in _in_json(text)}
        self._search = BytesAhoCorasick(sorted(patterns)) if patterns else None

    def __call__(self, data: bytes) -> bool:
        """Whether they do."""
        return self._search is not None and bool(self._search.find_matches_as_indexes(data))


class Names:
    """The names and words of a speaker, searched for as bytes in any file.

    A name is found where no letter or digit stands beside it, unless it is part of another's name. A name that is
    too short to tell anything (``7``, ``fr``) is not searched for; it counts only where a field says what it is. In
    binary data six characters are the least, because shorter ones turn up in any recording.

    Args:
        traces: Of the speaker.
    """

    def __init__(self, traces: Traces) -> None:
        self.exact = frozenset((*traces.speakers, *traces.fragments))
        kept = {PurePosixPath(name).name for name in traces.protected}
        # Names of recordings; those of others' recordings as well tell nothing without their folder.
        self.files = frozenset(PurePosixPath(path).name for path in (*traces.alone, *traces.shared))
        self.alone = frozenset(PurePosixPath(path).name for path in traces.alone) - kept
        # Whether a line can have to do with them at all.
        words = sorted({*traces.texts, *traces.alone.values(), *traces.shared.values()})
        self.concern = AnyOf((*self.exact, *self.files, *words))
        names = sorted({name for name in (*self.exact, *self.alone) if is_telling(name)} - set(traces.protected))
        others = [other.encode("utf-8", "surrogatepass") for other in traces.protected]
        self._protected = [
            [(index, other) for other in others if (index := other.find(name.encode("utf-8", "surrogatepass"))) >= 0]
            for name in names
        ]
        # How many bytes behind a name may decide whether it is one.
        self._behind = max([_LAST_BYTES, *map(len, others)])
        # Each pattern, and the number of its name; None for what is found anywhere.
        patterns: dict[bytes, int | None] = {}
        for word in words:
            patterns |= dict.fromkeys(_spellings(word))
        for number, name in enumerate(names):
            patterns |= dict.fromkeys(_spellings(name), number)
        self._patterns = list(patterns.items())
        self._longest = max((len(pattern) for pattern in patterns), default=1)
        self._search = BytesAhoCorasick(list(patterns)) if patterns else None

    def mentions(self, text: str) -> bool:
        """Whether a text holds a name or what was said."""
        return self.in_bytes(text.encode("utf-8", "surrogatepass"))

    def in_bytes(self, data: bytes, binary: bool = False) -> bool:
        """Whether some bytes do, in any of the usual encodings."""
        return self._between(data, 0, len(data), binary)

    def in_stream(self, stream: BinaryIO, binary: bool = False) -> bool:
        """Whether a file does; it is read once, in blocks."""
        # Blocks overlap by a pattern, and by what may stand around it.
        around = self._longest + 2 * self._behind
        rest, block = b"", stream.read(_BLOCK)
        while block:
            following = stream.read(_BLOCK)
            data = rest + block
            # What ends too near to the end to be judged is judged with the next block.
            end = len(data) - (self._behind if following else 0)
            if self._between(data, len(rest) - self._behind if rest else 0, end, binary):
                return True
            rest, block = data[-around:], following
        return False

    def _between(self, data: bytes, first: int, last: int, binary: bool) -> bool:
        """Whether a name or words end behind ``first``, and not behind ``last``."""
        return self._search is not None and any(
            first < end <= last and self._is_name(data, self._patterns[pattern][1], start, end)
            for pattern, start, end in self._search.find_matches_as_indexes(data, overlapping=True)
            if not (binary and end - start < _LEAST_BYTES)
        )

    def _is_name(self, data: bytes, number: int | None, start: int, end: int) -> bool:
        if number is None:
            return True
        before, after = data[max(0, start - _LAST_BYTES) : start].decode(errors="ignore"), data[end : end + _LAST_BYTES]
        if before[-1:].isalnum() or after.decode(errors="ignore")[:1].isalnum():
            return False
        return not any(
            start >= index and data.startswith(other, start - index) for index, other in self._protected[number]
        )


def is_telling(name: str) -> bool:
    """Whether a name is long enough to be nothing else where it is found."""
    mixed = any(char.isdigit() for char in name) and any(char.isalpha() for char in name)
    return len(name) >= 6 or (len(name) >= 3 and mixed)


def _in_json(text: str) -> set[bytes]:
    """The bytes of a text as they are, and in JSON."""
    forms = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return {form.encode("utf-8", "surrogatepass") for form in forms if form}


def _spellings(text: str) -> set[bytes]:
    """The bytes of a text in JSON, XML, a web address, and the encodings that speech tools write."""
    found = _in_json(text) | {form.encode("utf-8", "surrogatepass") for form in (escape(text), quote(text))}
    if len(text) > 5:  # shorter ones would be found in any binary file
        found |= {text.encode(encoding, "ignore") for encoding in ("utf-16-le", "utf-16-be", "latin-1")}
    return {form for form in found if form}


def walk(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield every file and link under some folders once, in order; no link is followed."""
    seen: set[str] = set()
    for folder in folders:
        for root, names, files in os.walk(folder, onerror=_raise):
            names.sort()
            links = [name for name in names if Path(root, name).is_symlink()]
            for name in sorted((*files, *links)):
                path = os.path.join(root, name)  # noqa: PTH118 (pathlib interns every part of every path)
                if path not in seen:
                    seen.add(path)
                    yield Path(path)


def _raise(error: OSError) -> None:
    raise error


class Survey:
    """Looks through folders for one speaker.

    Args:
        folders: Where to look.
        speakers: Ids of the speaker.

    Attributes:
        folders: The same as real paths.
        unreadable: Lists that cannot be read, and why.

    Raises:
        ConfigError: A folder is missing.
    """

    def __init__(self, folders: Iterable[str | Path], speakers: Iterable[str]) -> None:
        self.folders = tuple(dict.fromkeys(Path(folder).resolve() for folder in folders))
        for folder in self.folders:
            if not folder.is_dir():
                raise ConfigError(f"there is no folder {folder}; name folders of data")
        self.speakers = frozenset(speakers)
        self.unreadable: dict[str, str] = {}
        self._ids: set[str] = set()
        self._texts: set[str] = set()
        self._spans: dict[str, set[Span]] = defaultdict(set)
        self._archives: set[str] = set()
        self._by_name: dict[str, list[str]] | None = None

    def traces(self) -> Traces:
        """Find everything: once through for what is theirs, once more for what others share with it.

        Raises:
            OSError: A folder cannot be read.
        """
        lists = [path for path in walk(self.folders) if not path.is_symlink() and is_list(path)]
        naming_them = AnyOf(self.speakers)
        naming = [path for path in lists if self._take_theirs(path, naming_them)]
        files = {PurePosixPath(path).name for path in self._spans}
        stems = {PurePosixPath(path).stem for path in self._spans}
        doubtful: set[str] = set()
        texts = set(self._texts)
        shared: set[str] = set()
        protected: set[str] = set()
        overlapping = 0
        wanted = AnyOf((*self.speakers, *self._ids, *stems, *self._texts))
        for path in lists:
            for fact in self._facts(path, wanted):
                if fact.speaker in self.speakers:
                    continue
                if self._take_copy(fact, path):
                    continue
                known = fact.audio is not None and PurePosixPath(fact.audio).name in files
                audio = self.resolve(str(fact.audio), path) if known else None
                spoken = audio in self._spans and overlaps(fact.start, fact.end, self._spans[audio])
                # A copy of a list that lacks the speakers: it is theirs by when it was said, or by its id alone.
                if fact.speaker is None and (
                    spoken or (fact.audio is None and (fact.id in self._ids or fact.id in files))
                ):
                    self._ids |= {fact.id} - files if fact.id is not None else set()
                    continue
                overlapping += spoken
                texts -= set(fact.texts)
                if fact.id in self._ids:
                    doubtful.add(str(fact.id))
                if audio in self._spans:
                    shared.add(str(audio))
                protected |= self._holding_a_name(fact)
                if audio not in self._spans and PurePosixPath(fact.audio or "").stem in stems:
                    protected.add(PurePosixPath(str(fact.audio)).name)
        hashes = {path: sha256_of(path) for path in sorted(self._spans) if Path(path).is_file()}
        return Traces(
            speakers=tuple(sorted(self.speakers)),
            fragments=tuple(sorted(self._ids - doubtful)),
            alone={path: digest for path, digest in hashes.items() if path not in shared},
            shared={path: digest for path, digest in hashes.items() if path in shared},
            sizes={path: os.stat(path).st_size for path in hashes},  # noqa: PTH116
            spans={path: tuple(sorted(spans, key=_order)) for path, spans in sorted(self._spans.items())},
            texts=tuple(sorted(texts)),
            protected=tuple(sorted(protected)),
            doubtful=len(doubtful),
            overlapping=overlapping,
            lists={str(path): sha256_of(path) for path in naming},
            archives=tuple(sorted(self._archives)),
        )

    def _take_theirs(self, path: Path, wanted: AnyOf) -> bool:
        """Collect the speaker's facts of a list; tell whether there are any."""
        found = False
        for fact in self._facts(path, wanted):
            if fact.speaker not in self.speakers:
                continue
            found = True
            self._ids |= {fact.id} if fact.id is not None else set()
            self._texts |= {text for text in fact.texts if len(text.split()) >= _WORDS}
            if fact.audio is not None and (packed := parse_packed(fact.audio)) is not None:
                archive = packed.archive if is_stored(packed.archive) else self.resolve(packed.archive, path)
                self._archives |= {archive} if archive is not None else set()
            elif fact.audio is not None and (audio := self.resolve(fact.audio, path)) is not None:
                self._spans[audio].add((fact.start, fact.end))
        return found

    def _take_copy(self, fact: Fact, path: Path) -> bool:
        """Collect the sound of a task for annotators, which names no speaker; tell whether it is theirs."""
        if fact.speaker is not None or fact.audio is None or fact.id not in self._ids:
            return False
        if PurePosixPath(fact.audio).stem != copy_stem(fact.id):
            return False
        if (audio := self.resolve(fact.audio, path)) is not None:
            self._spans[audio].add((fact.start, fact.end))
        return True

    def _facts(self, path: Path, wanted: AnyOf) -> Iterator[Fact]:
        try:
            yield from facts_in(path, wanted)
        except (OSError, EOFError, AsrError) as error:
            self.unreadable[str(path)] = str(error)

    def _holding_a_name(self, fact: Fact) -> set[str]:
        """The names in another's fact that hold one of the speaker's: ``s1-b`` holds ``s1``."""
        file = None if fact.audio is None else PurePosixPath(fact.audio).name
        names = [name for name in (fact.speaker, fact.id, file) if name is not None]
        telling = [name for name in self.speakers if is_telling(name)]
        return {
            name
            for name in names
            if name not in self._ids and any(part in name for part in (*telling, *self._pieces(name)))
        }

    def _pieces(self, name: str) -> Iterator[str]:
        """The ids that begin a name or end it, cut where no letter stands."""
        cuts = [index for index, char in enumerate(name) if not char.isalnum()]
        starts, ends = [0, *(cut + 1 for cut in cuts)], [*cuts, len(name)]
        yield from (name[a:b] for a in starts for b in ends if a < b and name[a:b] in self._ids)

    def resolve(self, audio: str, source: Path) -> str | None:
        """Return the real path of a recording that a list names, or None where there is no such file."""
        # Label Studio serves local files as /data/local-files/?d=PATH.
        written = unquote(audio.rpartition("?d=")[2]) if "?d=" in audio else audio.removeprefix("file://")
        if "\0" in written or "://" in written:
            return None
        bases = (source.parent, *self.folders, source.parent / "clips")
        for base in bases:
            real = os.path.realpath(os.path.join(base, written))  # noqa: PTH118
            if os.path.isfile(real):  # noqa: PTH113
                return real
        if self._by_name is None:
            self._by_name = defaultdict(list)
            for path in walk(self.folders):
                self._by_name[path.name].append(os.path.realpath(path))
        named = set(self._by_name.get(PurePosixPath(written).name, ()))
        return named.pop() if len(named) == 1 else None


def _order(span: Span) -> tuple[float, float]:
    return span[0], float("inf") if span[1] is None else span[1]
