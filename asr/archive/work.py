"""The work itself: a block in, a line for each of its items out."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.archive.blocks import Block, Source
from asr.archive.tally import kind_of
from asr.audio.packed import read_packed
from asr.errors import AsrError, AudioError, ManifestError
from asr.fragment import Fragment
from asr.inference.batches import read_ahead
from asr.transcript import Transcript

if TYPE_CHECKING:
    from asr.inference.transcriber import Transcriber

# Of what a line holds: with another one, what is there is done again.
_FORMAT = 1
# Decimals of every figure in a line.
_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Settings:
    """How an archive is transcribed; the names are those of `asr transcribe`, which says what they mean."""

    model: str
    device: str
    batch_seconds: float
    workers: int
    beam_size: int | None = None
    n_best: int = 1
    adapters: str | None = None
    routing: str = "hard"
    lexicon: str | None = None
    bias: float = 0.0
    tag: str = "auto"
    words: bool = False
    engine: str = "auto"
    replicas: int | None = None
    threads: int | None = None
    language: str | None = None
    dialect: str | None = None

    def load(self) -> Transcriber:
        """Load the model.

        Raises:
            AsrError: As of `Transcriber`; the language or the dialect is not known.
        """
        from asr.inference.decoding import DecodeOptions
        from asr.inference.transcriber import Transcriber

        transcriber = Transcriber(
            self.model,
            engine=self.engine,
            device=self.device,
            batch_seconds=self.batch_seconds,
            options=DecodeOptions(beam_size=self.beam_size, bias=self.bias, tag=self.tag, n_best=self.n_best),
            workers=self.workers,
            adapters=self.adapters,
            routing=self.routing,
            lexicon=self.lexicon,
            words=self.words,
            replicas=self.replicas,
            threads=self.threads,
        )
        transcriber.transcribe_many((), language=self.language, dialect=self.dialect).close()
        return transcriber

    def digest(self) -> str:
        """Return a hash of all that decides on the text: models, adapters and lexicons go by their content.

        Where and how fast it is done (device, batches, threads) is no part of it: a run may go on elsewhere.
        """
        decisive = asdict(self) | {"format": _FORMAT, "model": _content(self.model)}
        for name in ("adapters", "lexicon"):
            decisive[name] = None if decisive[name] is None else _content(decisive[name])
        for name in ("device", "batch_seconds", "workers", "replicas", "threads"):
            del decisive[name]
        return _sha256(json.dumps(decisive, sort_keys=True).encode())


@dataclass(frozen=True, slots=True)
class Mark:
    """By what an item is known again.

    Attributes:
        audio: SHA-256 of its recording's file, in an archive or by itself; None where that cannot be read.
        request: SHA-256 of the fragment's line, without the path of its recording, and of the settings.
    """

    audio: str | None
    request: str


def marks(sources: Iterable[Source], digest: str, workers: int) -> Generator[Mark, None, None]:
    """Read every item and yield its mark, in order; ``digest`` is that of the settings."""

    def mark(source: Source) -> Mark:
        if isinstance(source, ManifestError):
            return Mark(None, _sha256(str(source).encode(errors="replace")))
        line: dict[str, Any] | None = None
        path = source
        if isinstance(source, Fragment):
            line, path = source.to_dict(), source.audio
            del line["audio"]
        return Mark(_audio_sha256(str(path)), _sha256(json.dumps([digest, line], sort_keys=True).encode()))

    return read_ahead(lambda source: [mark(source)], sources, workers=workers, depth=16 * workers)


def head(source: Source) -> dict[str, Any]:
    """Return the keys with which an item's line begins: its id, its recording, where it starts there (seconds).

    The id is the fragment's, or the recording's path as it was found; None in a line of a manifest that is broken.
    """
    if isinstance(source, ManifestError):
        return {"id": None, "audio": None, "start": 0.0}
    if isinstance(source, Fragment):
        return {"id": source.id, "audio": _writable(source.audio), "start": source.start}
    return {"id": _writable(source), "audio": _writable(source), "start": 0.0}


class Worker:
    """Transcribes blocks, with a model that is loaded once.

    Args:
        settings: How.

    Raises:
        AsrError: As of `Settings.load`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._digest = settings.digest()
        self._transcriber = settings.load()

    @property
    def window(self) -> float:
        """Seconds of encoder window that any item takes at least."""
        from whisper.audio import CHUNK_LENGTH

        return float(CHUNK_LENGTH) if self._transcriber.checkpoint.model.window == "padded" else 0.0

    def lines(self, block: Block, known: Sequence[Mark | None]) -> Iterator[tuple[int, bytes | None]]:
        """Yield the place in the block and the line of each item, as soon as it is ready.

        Args:
            block: The items.
            known: For each of them, the mark of the line that is there from an earlier run, if one is. Where it holds,
                there is None in place of a line.
        """
        sources = [item.source for item in block]
        found = list(marks(sources, self._digest, self.settings.workers))
        todo = [place for place, mark in enumerate(found) if mark != known[place]]
        yield from ((place, None) for place, mark in enumerate(found) if mark == known[place])
        # Next to those of like length, the longest first: if that is too much for the device, it is known at once.
        todo.sort(key=lambda place: -block[place].seconds)
        results = self._transcriber.transcribe_many(
            (sources[place] for place in todo), language=self.settings.language, dialect=self.settings.dialect
        )
        with closing(results):
            for place, result in zip(todo, results, strict=True):
                yield place, _line(sources[place], found[place], result)


def encoded(data: dict[str, Any]) -> bytes:
    """Return an object as a line of JSON Lines."""
    try:
        return (json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair in an id, legal in JSON only as an escape
        return (json.dumps(data, allow_nan=False) + "\n").encode()


def _line(source: Source, mark: Mark, result: Transcript | AsrError) -> bytes:
    tail = {"audio_sha256": mark.audio, "request_sha256": mark.request}
    if isinstance(result, Transcript):
        told = _rounded(result.to_dict())
        if _finite(told):
            return encoded({**head(source), **{key: value for key, value in told.items() if key != "id"}, **tail})
        result = AsrError("the model gives figures that are no numbers; its weights are damaged: take another one")
    return encoded({**head(source), "error": _writable(str(result)), "error_kind": kind_of(result), **tail})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


def _finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _writable(text: str) -> str:
    """A path may be bytes that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _content(name_or_path: str) -> list[str]:
    """What a model, a lexicon or adapters are: a file's hash, the names and hashes of a folder's files, or a name."""
    path = Path(name_or_path)
    if not path.exists():
        return [name_or_path]
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [f"{file.relative_to(path).as_posix()} {_file_sha256(str(file))}" for file in files]


def _audio_sha256(path: str) -> str | None:
    try:
        packed = read_packed(path)
    except AudioError:
        return None
    return _file_sha256(path) if packed is None else _sha256(packed)


def _file_sha256(path: str) -> str | None:
    try:
        found = os.stat(path)  # noqa: PTH116
        # A pipe would wait for somebody to write.
        return _read_sha256(path, found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None
    except (OSError, ValueError):
        return None


# Fragments of one recording come one after the other.
@lru_cache(maxsize=1024)
def _read_sha256(path: str, modified: int, size: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:  # noqa: PTH123
        while chunk := handle.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
