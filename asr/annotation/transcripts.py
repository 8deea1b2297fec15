"""Finds what the recogniser has heard in a fragment: the JSON that ``asr transcribe`` wrote for it."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from asr.errors import ManifestError
from asr.importers.beside import read_bytes
from asr.transcript import Transcript
from asr.writers import output_stem

_TRANSCRIPT = TypeAdapter(Transcript)


def find_transcript(fragment: str, folder: Path) -> Transcript | None:
    """Return the transcript of a fragment, or None where there is none.

    Args:
        fragment: Its id.
        folder: The ``--output-dir`` of ``asr transcribe MANIFEST --format json``.

    Raises:
        ManifestError: The file cannot be read, or is no transcript.
    """
    stem = output_stem(fragment, folder)
    if stem is None:
        return None
    path = Path(f"{stem}.json")
    if not path.is_file():
        return None
    try:
        return _TRANSCRIPT.validate_json(read_bytes(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise ManifestError(
            f"this is no transcript as `asr transcribe --format json` writes it ({where}: {first['msg'].lower()}); "
            "transcribe the fragment again",
            path,
        ) from None
