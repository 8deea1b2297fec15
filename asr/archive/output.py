"""The file of lines: it grows by whole blocks, in the order of the items, and what is in it need not be done again.

Beside it, while a run is under way, lie ``FILE.block`` (where the block begins that is being written: what a kill left
of it is cut off) and ``FILE.previous`` (lines of an earlier run from the first one on that no longer holds, until the
run has taken over what still does).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from asr.archive.blocks import Source
from asr.archive.work import Mark, encoded, head
from asr.errors import ConfigError
from asr.files import atomic_write, remove_parts

# Read backwards at once, to find where the last whole line ends.
_TAIL = 2**16


class Output:
    """A file of lines that this process alone writes, until it is closed.

    Args:
        path: The file; it is made if there is none.
        overwrite: Whether to begin anew, whatever it holds.

    Raises:
        ConfigError: Another process writes it, or it holds something else.
        OSError: It cannot be written.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        self._previous = path.with_name(f"{path.name}.previous")
        self._pending = path.with_name(f"{path.name}.block")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if overwrite:
                self._file.truncate(0)
                self._previous.unlink(missing_ok=True)
            elif self._pending.exists():
                self._file.truncate(json.loads(self._pending.read_text()))
            self._pending.unlink(missing_ok=True)
            whole = _whole_lines(self._file)
            if whole < self._size():
                next(_lines(path))  # nothing is cut off that is no run's
                self._file.truncate(whole)
            for beside in (self._previous, self._pending):
                remove_parts(path.parent, beside.name)
        except BlockingIOError:
            self._file.close()
            raise ConfigError(f"another run is writing {path}; let it end, or name another file") from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def empty(self) -> bool:
        """Whether there is no line yet, and none of an earlier run."""
        return not self._size() and not self._previous.exists()

    def lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield every line, with the place in the file (bytes) where it ends.

        Raises:
            ConfigError: One is no line of a run.
        """
        return _lines(self.path)

    def cut(self, end: int, sources: Iterable[Source]) -> None:
        """Leave the lines up to ``end`` (bytes), and put the others aside, for `kept` to find.

        Args:
            end: Where they end.
            sources: The items, to see whether the others are of any of them.

        Raises:
            ConfigError: There are lines, and none is of any of the items.
        """
        if end == self._size():
            return
        if not end:
            ids = _Index(self.path)
            if not any(ids.find(head(source)["id"]) for source in sources):
                raise ConfigError(
                    f"{self.path} holds transcripts of none of these items; name another file, or begin anew with "
                    "--overwrite"
                )
        with atomic_write(self._previous, "wb") as out, self.path.open("rb") as rest:
            rest.seek(end)
            older = (self._previous,) if self._previous.exists() else ()
            for chunk in chain(_chunks(rest), *(_chunks(path.open("rb")) for path in older)):
                out.write(chunk)
        self._file.truncate(end)

    def earlier(self) -> Earlier:
        """Return the lines that were put aside."""
        return Earlier(self._previous)

    def append(self, block: Iterable[bytes]) -> None:
        """Add the lines of a block; when it returns, they are on disk."""
        with atomic_write(self._pending) as handle:
            json.dump(self._size(), handle)
        self._file.write(b"".join(block))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._pending.unlink()

    def done(self) -> None:
        """Forget what was put aside: all items have their lines."""
        self._previous.unlink(missing_ok=True)

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size


class Earlier:
    """Lines of an earlier run, found by the id of their item.

    Args:
        path: The file of them; there may be none.
    """

    def __init__(self, path: Path) -> None:
        self._index = _Index(path) if path.exists() else None

    def line(self, source: Source) -> dict[str, Any] | None:
        """Return the latest line of an item; None if there is none."""
        name = head(source)["id"]
        return None if self._index is None or name is None else self._index.find(name)


def mark_of(line: dict[str, Any]) -> Mark:
    """Return by what the item of a line is known again."""
    return Mark(line["audio_sha256"], line["request_sha256"])


def moved(line: dict[str, Any], source: Source) -> bytes:
    """Return an earlier line as the line of an item, whose recording may lie elsewhere now."""
    return encoded(line | head(source))


class _Index:
    """Where in a file the first line of each id is; 16 bytes of memory for a line."""

    def __init__(self, path: Path) -> None:
        keys, begins = array("Q"), array("Q")
        begin = 0
        for end, line in _lines(path):
            keys.append(_key(line["id"]))
            begins.append(begin)
            begin = end
        order = np.argsort(np.frombuffer(keys, np.uint64), kind="stable") if keys else np.empty(0, np.intp)
        self._keys = np.frombuffer(keys, np.uint64)[order] if keys else np.empty(0, np.uint64)
        self._begins = np.frombuffer(begins, np.uint64)[order] if keys else np.empty(0, np.uint64)
        self._file = path.open("rb")

    def find(self, name: str | None) -> dict[str, Any] | None:
        key = np.uint64(_key(name))
        place = int(np.searchsorted(self._keys, key))
        if place == len(self._keys) or self._keys[place] != key:
            return None
        self._file.seek(int(self._begins[place]))
        line: dict[str, Any] = json.loads(self._file.readline())
        # Two ids may have one key.
        return line if line["id"] == name else None


def _key(name: str | None) -> int:
    return int.from_bytes(
        hashlib.blake2b((name or "").encode(errors="surrogatepass"), digest_size=8).digest(), "little"
    )


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    end = 0
    with path.open("rb") as handle:
        for number, text in enumerate(handle, start=1):
            end += len(text)
            try:
                line = json.loads(text)
                sound = {"id", "audio", "start", "audio_sha256", "request_sha256"} <= line.keys()
            except (ValueError, AttributeError):
                sound = False
            if not sound:
                raise ConfigError(
                    f"{path} holds something else than transcripts of `asr transcribe --output` (line {number}); name "
                    "another file, or begin anew with --overwrite"
                )
            yield end, line


def _whole_lines(handle: IO[bytes]) -> int:
    """Where the last line ends that has an end."""
    end = handle.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - _TAIL)
        handle.seek(begin)
        found = handle.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _chunks(handle: IO[bytes]) -> Iterator[bytes]:
    with handle:
        while chunk := handle.read(2**20):
            yield chunk
