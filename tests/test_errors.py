"""Errors are sentences that end with their place."""

from pathlib import Path

import pytest

from asr import errors
from asr.errors import AsrError, Faults, ManifestError


@pytest.mark.parametrize("name", [name for name in vars(errors) if name.endswith("Error") and name != "AsrError"])
def test_every_error_is_caught_by_one_name(name: str) -> None:
    assert issubclass(getattr(errors, name), AsrError)


@pytest.mark.parametrize(
    ("path", "line", "text"),
    [
        (None, None, "it is wrong"),
        ("m.jsonl", None, "it is wrong (m.jsonl)"),
        (Path("m.jsonl"), 3, "it is wrong (m.jsonl:3)"),
    ],
)
def test_a_manifest_error_names_its_place(path: str | Path | None, line: int | None, text: str) -> None:
    error = ManifestError("it is wrong", path, line)
    assert str(error) == text
    assert (error.path, error.line) == (path and Path(path), line)


def test_faults_are_all_counted_and_the_first_are_kept() -> None:
    errors = [ManifestError(str(number)) for number in range(50)]
    faults = Faults(errors[:30])
    for error in errors[30:]:
        faults.add(error)
    assert (faults.count, faults.first) == (50, errors[:20])
