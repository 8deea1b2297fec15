"""Annotation files that lie beside their recordings: found, read under a limit, and matched with the recording.

Nothing outside the corpus folder is opened, whatever a file or a link names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from asr.audio import AUDIO_ENDINGS
from asr.errors import ConfigError, ManifestError
from asr.importers.fields import check_fields
from asr.importers.places import lies_in

# An hour of dense annotation is about a megabyte; more than this is none, and parsing it would fill the memory.
MAX_BYTES = 64 * 2**20

# The recording itself rather than a compressed copy or a video of it, where several lie there.
_ENDINGS = (".wav", ".flac", *sorted(AUDIO_ENDINGS - {".wav", ".flac"}))
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ")


@dataclass(frozen=True, slots=True)
class BesideOptions:
    """Options of the importers of annotation files.

    Attributes:
        constants: Our fields whose value is the same for the whole corpus; ``language`` is needed.
    """

    constants: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ConfigError: A name is no field of a fragment, or the language is missing.
        """
        check_fields(self.constants)
        if "language" not in self.constants:
            raise ConfigError("the files do not say their language; give it in 'constants', such as {language: fr}")


def find_files(folder: Path, *endings: str) -> Iterator[Path]:
    """Yield the annotation files of a folder and those under it, in the order of their paths.

    Hidden files are passed over, and so are links that lead out of the folder.

    Args:
        folder: Of the corpus.
        endings: Such as ``.TextGrid``, in any case.
    """
    wanted = {ending.lower() for ending in endings}
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in wanted and not hidden and path.is_file() and lies_in(path, folder):
            yield path


def read_bytes(path: Path) -> bytes:
    """Read an annotation file.

    Raises:
        ManifestError: It is longer than `MAX_BYTES`, packed, or cannot be read.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"the file cannot be read: {error.strerror or error}", path) from error
    if len(data) > MAX_BYTES:
        raise ManifestError(f"the file is longer than {MAX_BYTES // 2**20} MiB; no annotation is, so split it", path)
    if data.startswith(_PACKED):
        raise ManifestError("the file is packed, not text; unpack it first", path)
    return data


def read_text(path: Path) -> str:
    """Read an annotation file as text: UTF-8, or UTF-16 where it says so.

    Raises:
        ManifestError: As for `read_bytes`, or the text is neither.
    """
    data = read_bytes(path)
    try:
        return data.decode(_MARKS.get(data[:2], "utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ManifestError("the file is neither UTF-8 nor UTF-16; save it as UTF-8", path, line) from error


def find_recording(path: Path, folder: Path, *named: str) -> Path:
    """Return the recording of an annotation file.

    Args:
        path: The annotation file.
        folder: Of the corpus.
        named: What the file says of its recording: paths relative to it, or addresses, of which the last part is looked
            for beside it. The best first.

    Raises:
        ManifestError: There is none in the corpus.
    """
    outside = False
    for name in named:
        relative = PurePosixPath(name.replace("\\", "/"))
        for candidate in (path.parent / relative, path.parent / relative.name):
            try:
                if not candidate.is_file():
                    continue
            except (OSError, ValueError):  # a name that no file can have
                continue
            if lies_in(candidate, folder):
                return candidate
            outside = True
    for ending in _ENDINGS:
        for spelt in (ending, ending.upper()):
            if (candidate := path.with_name(path.stem + spelt)).is_file() and lies_in(candidate, folder):
                return candidate
    if outside:
        raise ManifestError(
            "the recording that it names lies outside the corpus folder; copy it beside this file", path
        )
    raise ManifestError("no recording lies beside it; put one of the same name there, such as .wav", path)


class Ids:
    """Makes the ids of one file's fragments: its path in the corpus, where in it, and the start in milliseconds."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._stem = path.relative_to(folder).with_suffix("").as_posix()
        self._taken: Counter[str] = Counter()

    def make(self, start: float, part: str = "") -> str:
        """Return a new id.

        Args:
            start: Seconds.
            part: Of the file, such as a tier's number; never a name, which may be a person's.
        """
        made = f"{self._stem}{part}-{round(start * 1000):08d}"
        self._taken[made] += 1
        # Two subtitles may begin together.
        return made if self._taken[made] == 1 else f"{made}-{self._taken[made]}"
