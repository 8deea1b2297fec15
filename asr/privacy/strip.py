"""Takes a speaker out of a file: the records, lines and cues that tell of them go, all else stays as it is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote

from asr.errors import ManifestError
from asr.files import atomic_write
from asr.privacy.facts import (
    ID_KEYS,
    JSON,
    LINES,
    TABLES,
    TEXT_KEYS,
    lines_of,
    open_bytes,
    read_json,
    rows_of,
    span_of,
    speakers_of,
)
from asr.privacy.timed import CUES, Counts, strip_cues, strip_eaf, strip_textgrid
from asr.privacy.traces import Names, Span, Traces, overlaps

# Kaldi's lists have no ending; their first column is an utterance's id, or the speaker's.
_KALDI: Final = {"utt2spk", "spk2utt", "spk2gender", "text", "segments", "wav.scp", "utt2dur", "feats.scp", "cmvn.scp"}
_GONE: Final = object()


class Stripper:
    """Takes one speaker out of files.

    Args:
        traces: Of the speaker.
        names: Of the same.
        resolve: Finds the real path of a recording that a list names.
    """

    def __init__(self, traces: Traces, names: Names, resolve: Callable[[str, Path], str | None]) -> None:
        self.traces = traces
        self.names = names
        self.resolve = resolve

    def count(self, path: Path, spans: tuple[Span, ...] = ()) -> Counts:
        """Tell what `strip` would do; nothing is written."""
        counts = Counts()
        for _ in self._pieces(path, spans, counts):
            pass
        return counts

    def strip(self, path: Path, spans: tuple[Span, ...] = ()) -> None:
        """Write a file anew without the speaker; readers see the old file or the new one.

        Args:
            path: The file.
            spans: Where they speak, in seconds, in the one recording that the file is about.

        Raises:
            ManifestError: The file cannot be taken apart; it is as it was.
            OSError: The disk is full, or the file cannot be read.
        """
        with path.open("rb") as handle:
            packed = handle.read(2) == b"\x1f\x8b"
        mode = path.stat().st_mode & 0o777
        counts = Counts()
        with atomic_write(path, "wb") as handle:
            if packed:
                with gzip.GzipFile("", "wb", fileobj=handle, mtime=0) as out:
                    for piece in self._pieces(path, spans, counts):
                        out.write(piece)
            else:
                for piece in self._pieces(path, spans, counts):
                    handle.write(piece)
        path.chmod(mode)

    def _pieces(self, path: Path, spans: tuple[Span, ...], counts: Counts) -> Iterator[bytes]:
        try:
            if path.name.endswith(JSON):
                yield from self._json(path, spans, counts)
            elif path.suffix == ".tsv" and spans:
                yield from self._timed_table(path, spans, counts)
            elif path.name.endswith(LINES) or path.suffix in TABLES:
                yield from self._rows(path, spans, counts)
            elif path.suffix.lower() in CUES:
                yield from strip_cues(path, spans, self.names, counts)
            elif path.suffix.lower() == ".textgrid":
                yield from strip_textgrid(path, spans, self.names, counts)
            elif path.suffix.lower() == ".eaf":
                yield from strip_eaf(path, spans, self.names, counts)
            else:
                yield from self._lines(path, counts)
        except EOFError:
            raise ManifestError("the gzip stream is cut short; repair or remove the file", path) from None

    def _rows(self, path: Path, spans: tuple[Span, ...], counts: Counts) -> Iterator[bytes]:
        for raw, row in rows_of(path, None if spans else self.names.concern):
            if row is None:
                # A broken line is no record, but it may be what was left of one.
                if raw.strip() and self.names.in_bytes(raw):
                    counts.gone += 1
                else:
                    counts.kept += path.suffix not in TABLES and bool(raw.strip())
                    yield raw
                continue
            if path.suffix in TABLES:
                stays = raw if not self._is_their_row(row, path) else None
            else:
                pruned = self._prune(row, path, spans)
                stays = None if pruned is _GONE else raw if pruned == row else _line(pruned)
            if stays is None:
                counts.gone += 1
                continue
            counts.kept += stays is raw
            counts.changed += stays is not raw
            yield stays

    def _is_their_row(self, row: dict[str, Any] | list[str], path: Path) -> bool:
        if isinstance(row, list):
            return any(self._is_hit(cell, "", path) for cell in row)
        speakers = speakers_of(row)
        if speakers & set(self.traces.speakers):
            return True
        return not speakers and any(self._is_hit(cell, key, path) for key, cell in row.items())

    def _timed_table(self, path: Path, spans: tuple[Span, ...], counts: Counts) -> Iterator[bytes]:
        """A transcript as the ``whisper`` command lays it out: start and end in milliseconds, then the text."""
        for line in lines_of(path):
            cells = line.split(b"\t")
            timed = len(cells) >= 3 and cells[0].isdigit() and cells[1].isdigit()
            if self.names.in_bytes(line) or (timed and overlaps(int(cells[0]) / 1000, int(cells[1]) / 1000, spans)):
                counts.gone += 1
            else:
                counts.kept += timed
                yield line

    def _json(self, path: Path, spans: tuple[Span, ...], counts: Counts) -> Iterator[bytes]:
        data = read_json(path)
        if data is None:
            raise ManifestError("the file is no JSON; repair or remove it", path)
        if isinstance(data, list):
            parts = [self._prune(item, path, spans) for item in data]
            pruned: Any = [part for part in parts if part is not _GONE]
            counts.gone += len(parts) - len(pruned)
            counts.changed += sum(part is not _GONE and part != item for part, item in zip(parts, data, strict=True))
            counts.kept += sum(part is not _GONE and part == item for part, item in zip(parts, data, strict=True))
        else:
            # One object is the whole file: only its parts go.
            pruned = self._prune(data, path, spans, whole=True)
            gone = pruned is _GONE or (isinstance(data, dict) and bool(data) and not pruned)
            counts.gone += gone
            counts.changed += not gone and pruned != data
            counts.kept += not gone and pruned == data
        if pruned is not _GONE:
            with open_bytes(path) as handle:
                indented = b"\n" in handle.read(4096).strip()
            yield json.dumps(pruned, ensure_ascii=False, indent=2 if indented else None).encode(
                "utf-8", "surrogatepass"
            )
            yield b"\n"

    def _prune(self, value: Any, path: Path, spans: tuple[Span, ...] = (), key: str = "", whole: bool = False) -> Any:
        """Return a JSON value without what tells of the speaker, or `_GONE` if all of it does.

        What tells of them takes the object with it that it stands in, up to the next list; an object that names
        another speaker, or is a whole file, loses only the key.
        """
        if isinstance(value, str):
            return _GONE if self._is_hit(value, key, path) else value
        if isinstance(value, list):
            parts = [part for item in value if (part := self._prune(item, path, spans, key)) is not _GONE]
            # Names alone, or nobody who speaks in the cut any more.
            emptied = bool(value) and not parts and (isinstance(value[0], str) or key == "supervisions")
            return _GONE if emptied else parts
        if not isinstance(value, dict):
            return value
        speakers = speakers_of(value)
        if speakers & set(self.traces.speakers):
            return _GONE
        others = bool(speakers)
        spans = () if others else spans or self._spans_of(value, path)
        timed = "start" in value and ("end" in value or "duration" in value)
        if timed and not whole and overlaps(*span_of(value), spans):
            return _GONE
        kept: dict[str, Any] = {}
        for name, item in value.items():
            # A text without times, of a recording in which they speak, may hold their words.
            if self._is_hit(name, "", path) or (spans and name in TEXT_KEYS and (whole or not timed)):
                continue
            pruned = self._prune(item, path, spans, name)
            if pruned is not _GONE:
                kept[name] = pruned
            elif not (others or whole):
                return _GONE
        return kept

    def _is_hit(self, text: str, key: str, path: Path) -> bool:
        """Whether a string tells of the speaker; ``key`` is what the record calls it."""
        if text in self.names.exact and (key in ID_KEYS or self.names.mentions(text)):
            return True
        name = PurePosixPath(unquote(text)).name if len(text) < 4096 else ""
        if name in self.names.files:
            real = self.resolve(text, path)
            if real in self.traces.alone or (real is None and name in self.names.alone):
                return True
        return self.names.mentions(text)

    def _spans_of(self, value: dict[str, Any], path: Path) -> tuple[Span, ...]:
        """Where the speaker speaks in the shared recording that an object, or the data of a task, names."""
        parts = [value, value["data"]] if isinstance(value.get("data"), dict) else [value]
        for text in (text for part in parts for text in part.values()):
            if isinstance(text, str) and len(text) < 4096 and PurePosixPath(unquote(text)).name in self.names.files:
                return self.traces.spans.get(self.resolve(text, path) or "", ())
        return ()

    def _lines(self, path: Path, counts: Counts) -> Iterator[bytes]:
        ids = {name.encode() for name in self.names.exact} if path.name in _KALDI else set()
        for line in lines_of(path):
            cells = line.split()
            if path.name == "spk2utt" and cells and cells[0] not in ids and ids & set(cells):
                counts.changed += 1
                yield b" ".join(cell for cell in cells if cell not in ids) + b"\n"
            elif self.names.in_bytes(line) or (cells and ids and (cells[0] in ids or cells[-1] in ids)):
                counts.gone += 1
            else:
                counts.kept += bool(cells)
                yield line


def _line(data: Any) -> bytes:
    return (json.dumps(data, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def is_text(path: Path) -> bool:
    """Whether a file, unpacked, begins like text."""
    with open_bytes(path) as handle:
        head = handle.read(8192)
    return b"\0" not in head or head[:2] in (b"\xff\xfe", b"\xfe\xff")
