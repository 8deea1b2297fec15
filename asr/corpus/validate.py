"""Checks manifests before anything is trained on them, and says for every fault where it is and what to do."""

from __future__ import annotations

import hashlib
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from asr.addresses import parse_packed
from asr.audio import AudioInfo, probe
from asr.corpus.dialects import WHISPER_LANGUAGES, goes_with, tag_fault
from asr.errors import AsrError, AudioError, ConfigError, ManifestError
from asr.fragment import Fragment, read_numbered

Severity = Literal["error", "warning"]

CHECKS: dict[str, Severity] = {
    "broken-line": "error",
    "empty-manifest": "error",
    "duplicate-id": "error",
    "missing-audio": "error",
    "unreadable-audio": "error",
    "outside-recording": "error",
    "over-30-seconds": "warning",
    "empty-text": "error",
    "label-too-long": "error",
    "annotation": "error",
    "language": "error",
    "dialect-tag": "error",
    "dialect-language": "error",
    "speaker-across-splits": "error",
    # Prompted corpora repeat their sentences over speakers; a split by speaker cannot always avoid it.
    "sentence-across-splits": "warning",
}
"""Every check by the code that its issues carry, with its severity."""

# Whisper's decoder has this many positions; the label takes them with its control tokens.
MAX_LABEL_TOKENS = 448
# <|startoftranscript|>, language, task, <|notimestamps|> (or a begin and an end time), <|endoftext|>.
_CONTROL_TOKENS = 6
_WINDOW_SECONDS = 30.0
# Annotation tools and containers round; less than this is no fault.
_TOLERANCE_SECONDS = 0.05
# A corpus can be wrong in every line. All are counted, this many of each kind are kept.
_KEPT_PER_CODE = 1000


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault.

    Attributes:
        code: Its kind, a key of `CHECKS`.
        severity: ``error`` or ``warning``.
        message: A sentence with what was found and what to do.
        file: The manifest.
        line: 1-based line, or None when the whole manifest is meant.
        fragment: The fragment's id, where there is one.
    """

    code: str
    severity: Severity
    message: str
    file: str
    line: int | None = None
    fragment: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.severity}: {self.message} [{self.code}]"


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What the checks found.

    Attributes:
        fragments: Fragments that could be read.
        counts: Number of issues by code, all of them.
        issues: The issues in order, at most 1000 of each code.
    """

    fragments: int
    counts: dict[str, int]
    issues: tuple[Issue, ...]

    @property
    def errors(self) -> int:
        """Number of errors."""
        return sum(count for code, count in self.counts.items() if CHECKS[code] == "error")

    @property
    def warnings(self) -> int:
        """Number of warnings."""
        return sum(count for code, count in self.counts.items() if CHECKS[code] == "warning")

    @property
    def ok(self) -> bool:
        """Whether nothing but warnings was found."""
        return self.errors == 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for JSON."""
        return {"ok": self.ok, "errors": self.errors, "warnings": self.warnings} | asdict(self)


def validate_manifest(*paths: str | Path, ignore: Collection[str] = (), audio: bool = True) -> ValidationReport:
    """Check one or several manifests of one corpus.

    Ids must be unique over all of them. The side of a split is a fragment's ``split``, or its manifest when it has
    none and several manifests are given. Nothing is changed, and nothing but the manifest raises.

    Args:
        paths: The manifests.
        ignore: Codes of checks that should not count, such as ``empty-text`` for a corpus with silence.
        audio: Whether to open the recordings.

    Raises:
        ManifestError: A manifest is missing, a folder, or cannot be read at all.
        ConfigError: ``ignore`` names a check that there is not.
    """
    if unknown := sorted(set(ignore) - CHECKS.keys()):
        raise ConfigError(f"there is no check {unknown[0]!r}; accepted are {', '.join(CHECKS)}")
    corpus = _Corpus(by_file=len(paths) > 1, audio=audio)
    fragments = 0
    counts: Counter[str] = Counter()
    kept: list[Issue] = []
    for path in map(Path, paths):
        lines = 0
        for number, item in read_numbered(path):
            lines += 1
            fragments += isinstance(item, Fragment)
            for code, message in corpus.faults(item, str(path), number):
                if code not in ignore:
                    counts[code] += 1
                    if counts[code] <= _KEPT_PER_CODE:
                        name = item.id if isinstance(item, Fragment) else None
                        kept.append(Issue(code, CHECKS[code], message, str(path), number, name))
        if not lines and "empty-manifest" not in ignore:
            counts["empty-manifest"] += 1
            message = "the manifest has no fragments; write one JSON object per line"
            kept.append(Issue("empty-manifest", CHECKS["empty-manifest"], message, str(path)))
    return ValidationReport(fragments, dict(counts), tuple(kept))


Fault = tuple[str, str]


class _Firsts:
    """Where keys stood first. They lie on disk, so that memory does not grow with the lines."""

    def __init__(self) -> None:
        # Without a name, SQLite keeps a private file that is gone with the connection; it needs no journal.
        self._store = sqlite3.connect("", isolation_level=None)
        for command in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE firsts (key BLOB PRIMARY KEY, side BLOB, place BLOB) WITHOUT ROWID",
            "BEGIN",
        ):
            self._store.execute(command)

    def note(self, key: str | bytes, side: str, place: str) -> tuple[str, str] | None:
        """Remember the side and place of a new key; return those of a known one."""
        # Bytes: JSON may have halves of surrogate pairs, which SQLite does not take as text.
        row = [part if isinstance(part, bytes) else part.encode(errors="surrogatepass") for part in (key, side, place)]
        try:
            if self._store.execute("INSERT OR IGNORE INTO firsts VALUES (?, ?, ?)", row).rowcount:
                return None
            first = self._store.execute("SELECT side, place FROM firsts WHERE key = ?", row[:1]).fetchone()
        except sqlite3.Error as error:
            raise AsrError(
                f"what was read cannot be remembered on disk: {error}; make room for temporary files"
            ) from error
        side, place = (part.decode(errors="surrogatepass") for part in first)
        return side, place


@dataclass
class _Corpus:
    """What has to be remembered from line to line: ids, speakers, sentences and recordings."""

    by_file: bool
    audio: bool
    ids: _Firsts = field(default_factory=_Firsts)
    speakers: dict[str, tuple[str, str]] = field(default_factory=dict)
    sentences: _Firsts = field(default_factory=_Firsts)
    crossing: set[str | bytes] = field(default_factory=set)
    recordings: dict[str, AudioInfo | Fault] = field(default_factory=dict)

    def faults(self, item: Fragment | ManifestError, file: str, line: int) -> Iterator[Fault]:
        """Yield (code, message) for every fault of one line."""
        if isinstance(item, ManifestError):
            # The place is a field of the issue.
            yield "broken-line", str(item).removesuffix(f" ({file}:{line})")
            return
        place = f"{file}:{line}"
        name = f"fragment {item.id!r}"
        if before := self.ids.note(item.id, "", place):
            yield "duplicate-id", f"{name} stands at {before[1]} too; give every fragment its own id"
        yield from _text_faults(item, name)
        yield from _language_faults(item, name)
        yield from self._split_faults(item, name, file, place)
        yield from self._time_faults(item, name)

    def _split_faults(self, item: Fragment, name: str, file: str, place: str) -> Iterator[Fault]:
        side = item.split or (file if self.by_file else None)
        if side is None:
            return
        if item.speaker is not None:
            other, first = self.speakers.setdefault(item.speaker, (side, place))
            if other != side and item.speaker not in self.crossing:
                self.crossing.add(item.speaker)
                yield (
                    "speaker-across-splits",
                    f"the speaker of {name} is in {side!r} here and in {other!r} at {first}; "
                    "split again by speaker (asr split)",
                )
        if words := _bare(item.text):
            key = hashlib.blake2b(f"{item.language} {words}".encode(), digest_size=16).digest()
            other, first = self.sentences.note(key, side, place) or (side, place)
            if other != side and key not in self.crossing:
                self.crossing.add(key)
                yield (
                    "sentence-across-splits",
                    f"the sentence of {name} is in {side!r} here and in {other!r} at {first}; "
                    "scores on it say nothing about new sentences",
                )

    def _time_faults(self, item: Fragment, name: str) -> Iterator[Fault]:
        length = item.duration
        if self.audio:
            if item.audio not in self.recordings:
                self.recordings[item.audio] = _probe(item.audio)
            found = self.recordings[item.audio]
            if not isinstance(found, AudioInfo):
                code, fault = found
                yield code, f"the recording of {name} {fault}"
            elif item.start >= found.duration or (item.end or 0.0) > found.duration + _TOLERANCE_SECONDS:
                when = f"starts at {item.start:.2f} s" if item.start >= found.duration else f"ends at {item.end:.2f} s"
                yield "outside-recording", f"{name} {when} but its recording lasts {found.duration:.2f} s"
            elif length is None:
                length = found.duration - item.start
        if length is not None and length > _WINDOW_SECONDS:
            yield (
                "over-30-seconds",
                f"{name} lasts {length:.1f} s; Whisper hears 30 s at a time, so cut it before training",
            )


def _probe(audio: str) -> AudioInfo | Fault:
    if parse_packed(audio) is None and not Path(audio).is_file():
        return "missing-audio", "does not exist; check 'audio', which is relative to the manifest's folder"
    try:
        return probe(audio)
    except AudioError as error:
        return "unreadable-audio", f"cannot be read: {error}"


def _text_faults(item: Fragment, name: str) -> Iterator[Fault]:
    if not item.text.strip():
        yield (
            "empty-text",
            f"{name} has no text; write what is said, or ignore this check if nothing is (a fragment of silence)",
        )
    for kind, text in (("text", item.text), ("text_standard", item.text_standard or "")):
        if (tokens := label_tokens(text)) > MAX_LABEL_TOKENS:
            yield (
                "label-too-long",
                f"the {kind} of {name} makes a label of {tokens} tokens and Whisper has room for {MAX_LABEL_TOKENS}; "
                "cut the fragment",
            )
    words = item.text.split()
    if any(index >= len(words) for index in item.emphasis):
        yield "annotation", f"{name} has {len(words)} words and emphasis on word {max(item.emphasis)} (counted from 0)"
    for expression in item.expressions:
        first, last = expression.start_word, expression.end_word
        if first is not None and _bare(" ".join(words[first:last])) != _bare(expression.text):
            yield "annotation", f"{name} has an expression at word {first} (counted from 0) that is not there"
    for word in item.words:
        if word.start < item.start - _TOLERANCE_SECONDS or (
            item.end is not None and word.end > item.end + _TOLERANCE_SECONDS
        ):
            yield (
                "annotation",
                f"{name} has a word at {word.start:.2f}-{word.end:.2f} s, outside it; "
                "times of words count from the start of the recording",
            )
            break


def _language_faults(item: Fragment, name: str) -> Iterator[Fault]:
    if item.language not in WHISPER_LANGUAGES:
        yield "language", f"{name} has the language {item.language!r}, which Whisper does not know"
    if item.dialect is None:
        return
    if fault := tag_fault(item.dialect):
        yield (
            "dialect-tag",
            f"{name} has the dialect {item.dialect!r}, no BCP 47 tag: {fault}; write one such as 'fr-CA'",
        )
    elif item.language in WHISPER_LANGUAGES and not goes_with(item.dialect, item.language):
        yield "dialect-language", f"{name} has the language {item.language!r} but the dialect {item.dialect!r}"


def label_tokens(text: str) -> int:
    """Return the length of a label in tokens, control tokens included; an upper bound where that is enough.

    Imports whisper's tokenizer, and with it torch, when a text is long enough to matter.
    """
    # A token of Whisper's vocabulary stands for at least one byte; one more for the blank in front.
    bound = len(text.encode(errors="replace")) + 1 + _CONTROL_TOKENS
    if bound <= MAX_LABEL_TOKENS:
        return bound
    from whisper.tokenizer import get_tokenizer

    # Whisper's own tokens may stand in a text by mistake; here they are letters like others, and no reason to stop.
    tokens = get_tokenizer(multilingual=True).encode(" " + text.strip(), disallowed_special=())
    return len(tokens) + _CONTROL_TOKENS


def _bare(text: str) -> str:
    """Return the letters and digits of a text, one blank between words, in lower case."""
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(kept).split())
