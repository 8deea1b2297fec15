"""Where a recording may lie that is no file of its own: in an archive, by its place there; in object storage."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

# A manifest may lead to these and to nothing else but files: no link in it reaches a web server.
STORES = frozenset({"s3", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss"})

_PACKED = re.compile(r"(?P<archive>.+\.tar)#(?P<first>\d+)\+(?P<size>\d+):(?P<digest>[0-9a-f]{16})", re.DOTALL)


class Packed(NamedTuple):
    """A recording in a tar archive.

    Attributes:
        archive: The archive's path, or its address in object storage.
        first: Its first byte there.
        size: Its length in bytes.
        digest: What its SHA-256 begins with, 16 digits.
    """

    archive: str
    first: int
    size: int
    digest: str

    def __str__(self) -> str:
        """Return the address, as a fragment's ``audio`` has it."""
        return f"{self.archive}#{self.first}+{self.size}:{self.digest}"


def parse_packed(recording: str) -> Packed | None:
    """Read the address of a recording in an archive; None if it is that of a file of its own."""
    found = _PACKED.fullmatch(recording)
    if found is None:
        return None
    return Packed(found["archive"], int(found["first"]), int(found["size"]), found["digest"])


def digest_of(recording: bytes) -> str:
    """Return what tells a recording in an archive from any other."""
    return hashlib.sha256(recording).hexdigest()[:16]


def fault_of(error: Exception) -> str:
    """Return what an error of a disk or of a store says, in words; every store has errors of its own."""
    # s3fs gives the name of what is missing, and no reason.
    missing = "there is no such file" if isinstance(error, FileNotFoundError) else ""
    return getattr(error, "strerror", None) or missing or str(error) or type(error).__name__


def is_stored(address: str) -> bool:
    """Whether an address leads to object storage."""
    scheme, found, _ = address.partition("://")
    return bool(found) and scheme in STORES
