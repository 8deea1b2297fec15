"""One entry of the record: what it holds, the line that is hashed, and what shows that it was changed.

An entry holds no speaker id, no transcript and no path, only the names of files and their hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from asr.jsonlines import read_objects
from asr.sums import sha256_of

Action = Literal["import", "pseudonymise", "listen", "annotate", "train", "evaluate", "export", "erase"]
ACTIONS: tuple[str, ...] = get_args(Action)

# What stands before the first entry.
GENESIS = "0" * 64

# It is printed line by line.
Line = Annotated[str, Field(pattern="^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$")]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ManifestMark(BaseModel):
    """A manifest as it was when something was done with it.

    Attributes:
        name: Of the file, without its folder.
        sha256: Of the file's bytes.
        fragments: Lines that hold an object; whether each is a sound fragment is for ``asr validate``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: Hash
    fragments: int


class Entry(BaseModel):
    """One thing that was done.

    Attributes:
        number: From 1 on, without a gap.
        when: By this machine's clock, UTC.
        who: ``$ASR_USER``, or the name of the system's user.
        action: What.
        why: The purpose.
        manifests: What it was done with.
        details: Anything else about it.
        previous: Hash of the entry before it; zeros before the first.
        hash: SHA-256 of `line`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    when: datetime
    who: Line
    action: Action
    why: Line
    manifests: tuple[ManifestMark, ...] = ()
    details: dict[str, JsonValue] = Field(default_factory=dict)
    previous: Hash
    hash: Hash

    @property
    def line(self) -> str:
        """The canonical JSON that the hash covers: everything but the hash, keys sorted, ASCII, no blanks."""
        data = self.model_dump(mode="json", exclude={"hash"})
        return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def mark(manifest: Path) -> ManifestMark:
    """Return a manifest's name, hash and number of fragments; it is streamed.

    Raises:
        ManifestError: It cannot be read.
    """
    # First, because it says what is wrong with a manifest that is none.
    fragments = sum(isinstance(item, dict) for _, item in read_objects(manifest))
    return ManifestMark(name=manifest.name, sha256=sha256_of(manifest), fragments=fragments)


def sealed(entry: Entry) -> Entry:
    """The entry with the hash that fits it."""
    return entry.model_copy(update={"hash": hashlib.sha256(entry.line.encode()).hexdigest()})


def faults(row: Any, expected: int, previous: str) -> Iterator[str]:
    """Yield what is wrong with one row, given the number and the hash that the rows before ask for."""
    if row.number != expected:
        yield f"after entry {expected - 1} comes entry {row.number}: entries were removed or put in there"
    elif row.previous != previous:
        yield f"entry {row.number} does not follow the one before it: an entry was changed, put in or moved there"
    text = row.entry if isinstance(row.entry, str) else ""
    try:
        data = json.loads(text)
        entry = Entry.model_validate(data | {"hash": row.hash})
    except (ValueError, TypeError):
        yield f"entry {row.number} is no entry any more: somebody changed it"
        return
    fits = hashlib.sha256(text.encode()).hexdigest() == row.hash
    if not fits or (entry.number, entry.previous) != (row.number, row.previous):
        yield f"entry {row.number} was changed after it was written: its hash does not fit"
