"""Writing files and folders so that a reader never sees half of one."""

from __future__ import annotations

import glob
import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, Literal

from asr.errors import AsrError


@contextmanager
def atomic_write(path: str | Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path``; on success it is synced and renamed over ``path``.

    If the body raises (a full disk included) the temporary file is removed and an older ``path`` stays as it was.

    Args:
        path: The file to write; missing parent folders are created.
        mode: ``"w"`` for UTF-8 text, ``"wb"`` for bytes.

    Yields:
        The open temporary file.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        # mkstemp makes files private; a manifest or checkpoint follows the user's umask like any other file.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove_parts(folder: str | Path, name: str | None = None) -> None:
    """Remove what `atomic_write` was writing in a folder when its process was killed; nobody may be writing there.

    Args:
        folder: Where.
        name: Only of the file of that name; None for all.
    """
    for part in Path(folder).glob(".*.part" if name is None else f".{glob.escape(name)}.*.part"):
        part.unlink(missing_ok=True)


def packer(path: Path, handle: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    """Return what writes to ``handle``, gzipped when the name of ``path`` ends in ``.gz``."""
    if path.suffix != ".gz":
        return nullcontext(handle)
    # A fixed name and time in the header: equal content makes equal files.
    return gzip.GzipFile("", "wb", fileobj=handle, mtime=0)  # type: ignore[return-value]


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Make a folder beside ``path``; on success it is synced and renamed to ``path``, which must not hold anything yet.

    If the body raises, the folder is removed.

    Args:
        path: The folder to make; missing parent folders are created.

    Yields:
        The folder to fill.

    Raises:
        AsrError: ``path`` is there and is no empty folder.
    """
    target = Path(path)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise AsrError(f"{target} is there already and not an empty folder; remove it or name another")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        temporary.replace(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
