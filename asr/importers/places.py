"""Where a corpus's recordings lie: inside a folder, whatever a row or a link says."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from asr.errors import ManifestError


class AudioFolder:
    """The folder from which a corpus's rows count the paths of their recordings, and which these may not leave."""

    def __init__(self, folder: str | Path, within: str | Path | None = None) -> None:
        """Make it.

        Args:
            folder: From which relative paths count.
            within: What they may not leave, where that is a wider folder.
        """
        self._folder = Path(folder).absolute()
        # Many recordings share a folder, whose links need not be followed for each.
        self._real = lru_cache(1024)(os.path.realpath)
        self._root = os.path.realpath(within or folder)

    def place(self, name: str) -> str:
        """Return the path of a recording, whether it is there or not.

        Raises:
            ManifestError: It leads out of the folder: by ``..``, as an absolute path, or over a link.
        """
        if "\0" in name:
            raise ManifestError("the recording's path has a NUL byte")
        # Strings, not pathlib, which would intern every part of every path.
        path = os.path.join(self._folder, name)  # noqa: PTH118
        folder, last = os.path.split(path)
        real = os.path.join(self._real(folder), last)  # noqa: PTH118
        if last in ("", ".", "..") or os.path.islink(real):  # noqa: PTH114
            real = os.path.realpath(real)
        if not real.startswith(os.path.join(self._root, "")):  # noqa: PTH118
            raise ManifestError(
                "the recording lies outside the corpus; if that is meant, give the folder of the recordings as the "
                "option 'audio_root'"
            )
        return real if ".." in path else os.path.normpath(path)


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path, its links followed, is under a folder."""
    return path.resolve().is_relative_to(_real(folder))


@lru_cache(maxsize=16)
def _real(folder: Path) -> Path:
    # Asked for every row of a corpus.
    return folder.resolve()
