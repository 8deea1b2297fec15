"""What heads learn: labels found in manifests, their weights, and that a frozen Whisper stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from sklearn.utils.class_weight import compute_class_weight

from asr.errors import ConfigError
from asr.fragment import Fragment, write_manifest
from asr.training.heads import HeadOptions, head_labels


def manifest(path: Path, *rows: tuple[str, str, str | None], copies: int = 1) -> Path:
    write_manifest(
        [
            Fragment(
                id=f"{number}-{copy}", audio="a.wav", text="x", language=language, dialect=dialect, intonation=kind
            )
            for number, (language, dialect, kind) in enumerate(rows)
            for copy in range(copies)
        ],
        path,
    )
    return path


def test_labels_are_those_of_all_manifests_with_their_languages(tmp_path: Path) -> None:
    one = manifest(tmp_path / "a.jsonl", ("fr", "fr-CA", None), ("en", "en-GB", "question"), copies=3)
    two = manifest(tmp_path / "b.jsonl", ("fr", "fr-FR", "statement"), ("en", "en-GB", "statement"), copies=3)
    found = head_labels([one, two], HeadOptions(dialect=1.0, intonation=0.5, least=3))
    assert found["dialect"].spec.labels == ("en-GB", "fr-CA", "fr-FR")
    assert found["dialect"].spec.languages == ("en", "fr", "fr")
    assert found["intonation"].spec.labels == ("question", "statement")
    assert found["intonation"].spec.dialects == ("en-GB", "fr-FR")
    assert "tune" not in found


def test_weights_are_scikit_learns_balanced_ones(tmp_path: Path) -> None:
    one = manifest(tmp_path / "a.jsonl", *[("en", "en-GB", None)] * 6, *[("en", "en-IN", None)] * 2)
    tags = ["en-GB"] * 6 + ["en-IN"] * 2
    balanced = compute_class_weight("balanced", classes=["en-GB", "en-IN"], y=tags)
    assert head_labels([one], HeadOptions(dialect=1.0, least=1))["dialect"].weights == pytest.approx(tuple(balanced))
    even = head_labels([one], HeadOptions(dialect=1.0, least=1, balance=0.0))["dialect"]
    assert even.weights == (1.0, 1.0)


def test_a_head_with_nothing_to_tell_apart_is_refused(tmp_path: Path) -> None:
    one = manifest(tmp_path / "a.jsonl", *[("en", "en-GB", None)] * 6, ("en", "en-IN", None))
    with pytest.raises(ConfigError, match=r"heads\.dialect .* 1 kinds"):
        head_labels([one], HeadOptions(dialect=1.0))


def test_no_manifest_is_read_without_a_head() -> None:
    assert head_labels(["missing.jsonl"], HeadOptions()) == {}
