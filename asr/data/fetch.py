"""Manifests in object storage: fetched to where they can be read, their recordings left where they are."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from asr.addresses import is_stored
from asr.errors import ManifestError
from asr.files import atomic_write
from asr.jsonlines import read_objects


def fetched(manifest: str, folder: Path) -> str:
    """Return a manifest that can be read here: itself, or a copy of one in object storage.

    The copy holds the addresses of its recordings, of which each is read when it is heard. It is named after its own
    address, so that a run that goes on finds it in the same place.

    Args:
        manifest: A path, or an address such as ``s3://bucket/packed/fragments.jsonl``.
        folder: Where the copy goes.

    Raises:
        ManifestError: It cannot be fetched, or a recording in it is neither beside it nor in object storage.
    """
    if not is_stored(manifest):
        return manifest
    from fsspec.core import url_to_fs

    copy = folder / f"{hashlib.sha256(manifest.encode()).hexdigest()[:16]}.jsonl"
    whole = copy.with_suffix(".part")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        store, path = url_to_fs(manifest)
        with store.open(path, "rb") as source, atomic_write(whole, "wb") as target:
            shutil.copyfileobj(source, target)
    except (OSError, ImportError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ManifestError(f"the manifest {manifest} cannot be fetched: {reason}") from None
    base = manifest.rpartition("/")[0]
    with atomic_write(copy) as handle:
        for number, data in read_objects(whole):
            if isinstance(data, ManifestError):
                raise ManifestError(f"the manifest {manifest} is broken in line {number}; pack it again")
            audio = str(data.get("audio"))
            if not is_stored(audio):
                if audio.startswith("/"):
                    raise ManifestError(
                        f"in the manifest {manifest} line {number} leads to a file of another machine; pack it "
                        "(asr pack), and copy the whole folder"
                    )
                audio = f"{base}/{audio}"
            handle.write(json.dumps(data | {"audio": audio}) + "\n")
    whole.unlink()
    return str(copy)
