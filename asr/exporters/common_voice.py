"""Exports a folder as Mozilla Common Voice releases them: a table of clips, and the ``clips`` beside it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from asr.audio import END_TOLERANCE, probe
from asr.errors import ManifestError
from asr.files import atomic_folder
from asr.fragment import Fragment
from asr.importers.common_voice import AGE_BANDS

# https://github.com/common-voice/cv-dataset#fields
_COLUMNS = (
    "client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes", "age", "gender",
    "accents", "variant", "locale", "segment",
)  # fmt: skip
# As it is in releases; where two words mean a band, the last one is theirs.
_AGES = {band: word for word, band in AGE_BANDS.items()}
_CUSTOM = ("sentence_id", "sentence_domain", "up_votes", "down_votes", "accents", "segment")
# What no file name and no cell can have.
_UNSAFE = re.compile(r"[%/\\\s]")
# Names of files may have this many bytes on common systems.
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class CommonVoiceExportOptions:
    """Options of `export_common_voice`.

    Attributes:
        table: Name of the table.
    """

    table: str = "validated.tsv"


@contextmanager
def export_common_voice(output: Path, options: CommonVoiceExportOptions) -> Iterator[Callable[[Fragment], None]]:
    """Copy recordings into ``clips`` and write the table; the dialect stands in ``variant``.

    A clip is named after its fragment's id, in which a slash is written as ``%2F``, a blank as ``%20``. Several
    blanks of a text become one. What the table has no column for is left out.

    Args:
        output: The folder to make.
        options: The table's name.

    Yields:
        A function that takes a fragment. It raises ManifestError for one that is a part of its recording, because a
        clip is whole, and for one whose recording is missing.
    """
    with atomic_folder(output) as folder:
        (folder / "clips").mkdir()
        with (folder / options.table).open("w", encoding="utf-8", newline="\n") as handle:
            handle.write("\t".join(_COLUMNS) + "\n")
            yield lambda fragment: _write(fragment, folder / "clips", handle.write)


def _write(fragment: Fragment, clips: Path, write: Callable[[str], object]) -> None:
    audio = Path(fragment.audio)
    name = _UNSAFE.sub(lambda found: quote(found[0], safe=""), fragment.id) + audio.suffix
    if len(name.encode()) > _LONGEST_NAME:
        raise ManifestError("the fragment's id is too long to name a file")
    if not audio.is_file():
        raise ManifestError("the fragment's recording does not exist")
    if fragment.start > 0 or (
        fragment.duration is not None and fragment.duration < probe(audio).duration - END_TOLERANCE
    ):
        raise ManifestError("the fragment is a part of its recording, and a clip is whole; cut the recordings first")
    if (clips / name).exists():
        raise ManifestError(f"the id {fragment.id!r} stands twice, and clips are named after it")
    row = dict.fromkeys(_COLUMNS, "")
    row |= {key: str(fragment.custom[key]) for key in _CUSTOM if key in fragment.custom}
    row |= {
        "client_id": fragment.speaker or "",
        "path": name,
        "sentence": fragment.text,
        "age": _AGES.get(fragment.age_band or "", fragment.age_band or ""),
        "gender": fragment.gender or "",
        "variant": fragment.dialect or "",
        "locale": fragment.language,
    }
    line = "\t".join(" ".join(cell.split()) for cell in row.values()) + "\n"
    line.encode()  # before anything is kept of a fragment that cannot be written
    shutil.copyfile(audio, clips / name)
    write(line)
