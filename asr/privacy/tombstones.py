"""Tombstones: salted hashes of what was erased, so that it is known again and refused, and cannot be read back.

A hash is the SHA-256 of a random salt, a kind and a value. Whoever has the file can try ids until one fits: it
protects against reading, not against guessing short ids.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from asr.errors import AsrError, ConfigError
from asr.files import atomic_write
from asr.fragment import Fragment

FORMAT_VERSION = 1
Kind = Literal["speaker", "fragment", "audio", "path"]
Row = TypeVar("Row")

_BLOCK = 1 << 20


def state_folder() -> Path:
    """Return the user's folder for what outlives a run, by the XDG rules."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "dialect-asr"


def tombstones_path() -> Path:
    """Return the file that holds the tombstones: ``ASR_TOMBSTONES``, or one in the user's state folder."""
    given = os.environ.get("ASR_TOMBSTONES")
    return Path(given) if given else state_folder() / "tombstones.json"


class Tombstones:
    """What was erased, in a file.

    Args:
        path: The file; where there is none, nothing was erased yet.

    Raises:
        ConfigError: The file is damaged. It is never passed over: what was erased could come back.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._salt = secrets.token_bytes(32)
        self._hashes: dict[str, set[str]] = {"speaker": set(), "fragment": set(), "audio": set()}
        # Of the erased recordings, so that only files of such a size need to be read at import.
        self._sizes: set[int] = set()
        try:
            data = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise _damaged(self.path) from error
        try:
            version = data["format_version"]
            self._salt = bytes.fromhex(data["salt"])
            self._sizes = {int(size) for size in data["audio_bytes"]}
            self._hashes = {kind: set(map(str, data[kind])) for kind in self._hashes}
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(self.path) from error
        if version != FORMAT_VERSION:
            raise ConfigError(f"{self.path} has tombstones of format {version}, this version reads {FORMAT_VERSION}")

    def __len__(self) -> int:
        return sum(map(len, self._hashes.values()))

    def hash(self, kind: Kind, value: str) -> str:
        """Return the salted hash of a value, in hexadecimal."""
        return hashlib.sha256(self._salt + f"{kind}\0{value}".encode("utf-8", "surrogatepass")).hexdigest()

    def bury(
        self, speakers: Iterable[str], fragments: Iterable[str] = (), audio: Iterable[tuple[str, int]] = ()
    ) -> None:
        """Add what is erased and write the file, whole or not at all; what is there already is not added twice.

        Args:
            speakers: Their ids.
            fragments: Ids of fragments.
            audio: SHA-256 of recordings in hexadecimal, and their sizes in bytes.
        """
        recordings = tuple(audio)
        self._hashes["speaker"] |= {self.hash("speaker", value) for value in speakers}
        self._hashes["fragment"] |= {self.hash("fragment", value) for value in fragments}
        self._hashes["audio"] |= {self.hash("audio", digest) for digest, _ in recordings}
        self._sizes |= {size for _, size in recordings}
        data = {"format_version": FORMAT_VERSION, "salt": self._salt.hex(), "audio_bytes": sorted(self._sizes)}
        data |= {kind: sorted(hashes) for kind, hashes in self._hashes.items()}
        with atomic_write(self.path) as handle:
            json.dump(data, handle, indent=1)
            handle.write("\n")
        self.path.chmod(0o600)

    def reason(self, fragment: Fragment) -> Literal["speaker", "fragment", "audio"] | None:
        """Tell by what a fragment is known as erased: its speaker, its id, its recording; None where it is not.

        The id counts only where no speaker is named: many corpora count their fragments from 1.
        """
        if fragment.speaker is not None:
            if self.hash("speaker", fragment.speaker) in self._hashes["speaker"]:
                return "speaker"
        elif self.hash("fragment", fragment.id) in self._hashes["fragment"]:
            return "fragment"
        return "audio" if self._is_erased(fragment.audio) else None

    def _is_erased(self, audio: str) -> bool:
        if not self._hashes["audio"]:
            return False
        try:
            if os.stat(audio).st_size not in self._sizes:  # noqa: PTH116 (a stream of many)
                return False
            digest = hashlib.sha256()
            with open(audio, "rb") as handle:  # noqa: PTH123
                while block := handle.read(_BLOCK):
                    digest.update(block)
        except (OSError, ValueError):  # a missing recording is for `asr validate` to report
            return False
        return self.hash("audio", digest.hexdigest()) in self._hashes["audio"]


def unburied(rows: Iterable[Row], tombstones: Tombstones, refused: Counter[str]) -> Iterator[Row]:
    """Pass a stream on without the fragments that were erased.

    Args:
        rows: Fragments; anything else in the stream (an error, for one) is passed on.
        tombstones: What was erased.
        refused: Counts what was left out, by its reason: ``speaker``, ``fragment`` or ``audio``.
    """
    for row in rows:
        if isinstance(row, Fragment) and (reason := tombstones.reason(row)) is not None:
            refused[reason] += 1
        else:
            yield row


def _damaged(path: Path) -> AsrError:
    return ConfigError(
        f"the tombstones {path} cannot be read, so nobody can say what was erased; restore the file from a copy, or "
        "name another one in ASR_TOMBSTONES"
    )
