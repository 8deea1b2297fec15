"""NeMo manifests, as NeMo's documentation writes them, and broken ones."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.importers.fields import RowOptions
from asr.importers.nemo import import_nemo

ROW = {"audio_filepath": "a.wav", "text": "bonjour", "duration": 2.5, "offset": 10.25, "lang": "fr-FR"}


def run(folder: Path, *rows: str | dict[str, Any], **options: Any) -> list[Fragment | ManifestError]:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "m.json").write_bytes("".join(f"{line}\n" for line in lines).encode())
    return list(import_nemo(folder / "m.json", RowOptions(**options)))


def test_a_line_becomes_a_fragment(tmp_path: Path) -> None:
    (fragment,) = run(tmp_path, ROW | {"pnc": "yes", "speaker": "s1", "target_lang": "en"})
    assert fragment == Fragment(
        id="a-00010250",
        audio=str(tmp_path / "a.wav"),
        text="bonjour",
        language="fr",
        start=10.25,
        duration=2.5,
        speaker="s1",
        custom={"pnc": "yes", "target_lang": "en", "source_values": {"lang": "fr-FR"}},
    )


def test_a_corpus_without_languages_is_given_one(tmp_path: Path) -> None:
    row = {key: ROW[key] for key in ("audio_filepath", "text", "duration")}
    (fragment,) = run(tmp_path, row, constants={"language": "de", "dialect": "de-AT"})
    assert isinstance(fragment, Fragment)
    assert (fragment.language, fragment.dialect, fragment.id) == ("de", "de-AT", "a")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (ROW | {"duration": -1.0}, "'duration'"),
        (ROW | {"offset": -0.5}, "'start'"),
        (json.dumps(ROW).replace("2.5", "NaN"), "NaN is no JSON value"),
        (json.dumps(ROW).replace("2.5", "1e999"), "'duration'"),
        (ROW | {"duration": "nan"}, "'duration' must be a number"),
        (ROW | {"offset": "-inf"}, "'start' must be a number"),
        (ROW | {"offset": 10**4200}, "'start' must be a number"),
        (ROW | {"audio_filepath": "../b.wav"}, "outside the corpus"),
        (ROW | {"audio_filepath": "/etc/passwd"}, "outside the corpus"),
        (ROW | {"audio_filepath": "a\0.wav"}, "NUL"),
        (ROW | {"id": "a\nb"}, "'id'"),
        (ROW | {"lang": "French"}, "'language'"),
        ({"text": "x", "lang": "fr"}, "'id' is missing"),
        ("[]", "must be an object"),
    ],
)
def test_a_broken_line_is_named_and_the_rest_goes_on(tmp_path: Path, row: str | dict[str, Any], sentence: str) -> None:
    first, fault, last = run(tmp_path, ROW, row, ROW)
    assert isinstance(first, Fragment) and first == last
    assert isinstance(fault, ManifestError) and sentence in str(fault) and "m.json:2)" in str(fault)


def test_a_gzip_that_is_cut_short_gives_what_it_has(tmp_path: Path) -> None:
    lines = "".join(json.dumps(ROW | {"offset": n * n / 100}) + "\n" for n in range(3000))
    (tmp_path / "m.gz").write_bytes(gzip.compress(lines.encode())[:-500])
    *good, last = import_nemo(tmp_path / "m.gz", RowOptions())
    assert len(good) > 1000 and all(isinstance(item, Fragment) for item in good)
    assert isinstance(last, ManifestError) and "cut short" in str(last)


def test_an_empty_file_has_no_fragments(tmp_path: Path) -> None:
    assert run(tmp_path) == []


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from([*ROW, "custom", "words", "id", "end", "unmapped"]), values, max_size=4))
def test_any_values_end_in_a_fragment_or_a_sentence(tmp_path: Path, changes: dict[str, Any]) -> None:
    (item,) = run(tmp_path, ROW | changes)
    assert isinstance(item, Fragment | ManifestError)
