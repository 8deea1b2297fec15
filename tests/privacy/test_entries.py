"""An entry's hash, and what is noted of a manifest."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from asr.errors import ManifestError
from asr.privacy.entries import GENESIS, mark
from asr.privacy.record import Record


def test_the_hash_is_that_of_the_printed_line(tmp_path: Path) -> None:
    """`asr audit show --json | sha256sum` needs nothing of ours: canonical JSON as RFC 8785 has it for such values."""
    record = Record(str(tmp_path / "r.db"))
    record.append("import", why="first")
    entry = record.append("listen", why="é", details={"b": 1, "a": None})
    data = json.loads(entry.line)
    assert list(data) == sorted(data)
    assert entry.line == json.dumps(data, sort_keys=True, separators=(",", ":"))
    assert entry.hash == hashlib.sha256(entry.line.encode()).hexdigest()
    assert data["previous"] == entry.previous != GENESIS


def test_fragments_of_a_manifest_are_counted_as_a_stream(corpus: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(corpus.read_bytes() + b"\n{broken\n[1]\n"))
    found = mark(packed)
    assert (found.fragments, found.sha256) == (12, hashlib.sha256(packed.read_bytes()).hexdigest())
    with pytest.raises(ManifestError, match="no such manifest"):
        Record(str(tmp_path / "r.db")).append("import", why="x", manifests=[tmp_path / "gone.jsonl"])
    assert not (tmp_path / "r.db").exists()
