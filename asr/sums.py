"""SHA-256 of files, and the list of them in a folder: what is missing or damaged is named before it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from asr.errors import CheckpointError
from asr.files import atomic_write

SUMS = "SHA256SUMS"
"""Name of the list, which ``sha256sum --check`` reads too."""

_BLOCK = 1 << 20


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_sums(folder: Path, sums: Mapping[str, str]) -> None:
    """Write the list of a folder's files, atomically.

    Args:
        folder: Where the files are.
        sums: Their SHA-256 by their names in it.
    """
    with atomic_write(folder / SUMS) as handle:
        handle.writelines(f"{digest}  {name}\n" for name, digest in sums.items())


def check_model(folder: Path) -> None:
    """Check a model's folder against its list; one without a list is not ours, and passes.

    Raises:
        CheckpointError: A file is missing or has changed, or the list is none.
    """
    if not (folder / SUMS).is_file():
        return
    for number, line in enumerate((folder / SUMS).read_text("utf-8", "replace").splitlines(), start=1):
        digest, _, name = line.partition(" ")
        name = name[1:]  # after a space, or a star for what is binary
        if not name:
            raise CheckpointError(f"{folder / SUMS}, line {number}, is damaged; export the checkpoint again")
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} is not complete: {name} is missing; copy or export it again")
        if sha256_of(folder / name) != digest:
            raise CheckpointError(
                f"{folder / name} is damaged: it is not what {SUMS} beside it says; copy or export it again"
            )
