"""Training data where they are given as a packed folder or lie in object storage: a manifest that can be read here."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from asr.addresses import fault_of, is_stored
from asr.data.pack import MANIFEST
from asr.errors import ManifestError
from asr.files import atomic_write
from asr.jsonlines import read_objects


def fetched(given: str, folder: Path) -> str:
    """Return a manifest that can be read here: itself, that of a packed folder, or a copy of one in object storage.

    The copy holds the addresses of its recordings, of which each is read when it is heard. It is named after its own
    address, so that a run that goes on finds it in the same place.

    Args:
        given: A manifest or a packed folder (`asr.data.pack`): a path, or an address such as ``s3://bucket/packed``.
        folder: Where the copy goes.

    Raises:
        ManifestError: It cannot be fetched, the folder holds no finished archives, or a recording in the manifest is
            neither beside it nor in object storage.
    """
    if not is_stored(given):
        if not Path(given).is_dir():
            return given
        if not (manifest := Path(given, MANIFEST)).is_file():
            raise ManifestError(
                f"there is no {MANIFEST} in the folder, which `asr pack` writes when all archives are finished; run it "
                "(again), or name a manifest",
                given,
            )
        return str(manifest)
    address = given if given.endswith((".jsonl", ".jsonl.gz")) else f"{given.rstrip('/')}/{MANIFEST}"
    copy = folder / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    # Several processes of a run may be fetching at once.
    with TemporaryDirectory(dir=folder, prefix=".") as private, atomic_write(copy) as handle:
        for line in _lines(address, Path(private, MANIFEST)):
            handle.write(line)
    return str(copy)


def _lines(address: str, whole: Path) -> Iterator[str]:
    """The lines of a manifest in object storage, with the addresses of its recordings."""
    from fsspec.core import url_to_fs

    try:
        store, path = url_to_fs(address)
        with store.open(path, "rb") as source, whole.open("wb") as target:
            shutil.copyfileobj(source, target)
    except Exception as error:
        raise ManifestError(f"the manifest {address} cannot be fetched: {fault_of(error)}") from None
    base = address.rpartition("/")[0]
    for number, data in read_objects(whole):
        if isinstance(data, ManifestError):
            raise ManifestError(f"the manifest {address} is broken in line {number}; pack it again")
        audio = str(data.get("audio"))
        if not is_stored(audio):
            if audio.startswith("/"):
                raise ManifestError(
                    f"in the manifest {address} line {number} leads to a file of another machine; pack it "
                    "(asr pack), and copy the whole folder"
                )
            audio = f"{base}/{audio}"
        yield json.dumps(data | {"audio": audio}) + "\n"
