"""Where a recording may lie that is no file of its own: in an archive, by its place there; in object storage."""

from __future__ import annotations

import re
from typing import NamedTuple

# A manifest may lead to these and to nothing else but files: no link in it reaches a web server.
STORES = frozenset({"s3", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss"})

_PACKED = re.compile(r"(?P<archive>.+\.tar)#(?P<first>\d+)\+(?P<size>\d+)", re.DOTALL)


class Packed(NamedTuple):
    """A recording in a tar archive.

    Attributes:
        archive: The archive's path, or its address in object storage.
        first: Its first byte there.
        size: Its length in bytes.
    """

    archive: str
    first: int
    size: int

    def __str__(self) -> str:
        """Return the address, as a fragment's ``audio`` has it."""
        return f"{self.archive}#{self.first}+{self.size}"


def parse_packed(recording: str) -> Packed | None:
    """Read the address of a recording in an archive; None if it is that of a file of its own."""
    found = _PACKED.fullmatch(recording)
    return None if found is None else Packed(found["archive"], int(found["first"]), int(found["size"]))


def is_stored(address: str) -> bool:
    """Whether an address leads to object storage."""
    scheme, found, _ = address.partition("://")
    return bool(found) and scheme in STORES
