"""Reading a recording out of an archive, on disk or in object storage, and nothing else of that archive."""

from __future__ import annotations

from asr.addresses import Packed, digest_of, fault_of, is_stored, parse_packed
from asr.errors import AudioError


def read_packed(recording: str) -> bytes | None:
    """Read a recording that lies in an archive; None if it is a file of its own.

    Raises:
        AudioError: The archive cannot be read, ends before it, or holds something else in its place.
    """
    packed = parse_packed(recording)
    if packed is None:
        return None
    try:
        content = _stored(packed) if is_stored(packed.archive) else _on_disk(packed)
    except Exception as error:
        raise AudioError(f"the archive {packed.archive} cannot be read: {fault_of(error)}") from None
    if len(content) < packed.size:
        raise AudioError(
            f"the archive {packed.archive} ends before the recording at byte {packed.first}; copy it or pack it again"
        )
    if digest_of(content) != packed.digest:
        raise AudioError(
            f"the archive {packed.archive} is damaged, or not that of its manifest: the recording at byte "
            f"{packed.first} has another checksum; copy both again, or pack it again"
        )
    return content


def _on_disk(packed: Packed) -> bytes:
    with open(packed.archive, "rb") as handle:  # noqa: PTH123  pathlib would intern every part of every path
        handle.seek(packed.first)
        return handle.read(packed.size)


def _stored(packed: Packed) -> bytes:
    # fsspec itself knows no store: who uses one installs its package (s3fs, gcsfs, adlfs …), which it asks for.
    from fsspec.core import url_to_fs

    store, path = url_to_fs(packed.archive)
    return bytes(store.cat_file(path, start=packed.first, end=packed.first + packed.size))
