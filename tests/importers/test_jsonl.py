"""A foreign manifest: names and values are translated by tables, and nothing is lost."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment
from asr.importers.fields import FieldSource
from asr.importers.jsonl import JsonlOptions, import_jsonl

ROW = {"audio": "wav/a.wav", "text": "hello", "language": "en"}


def run(root: Path, *rows: Mapping[str, Any], **options: Any) -> list[Fragment]:
    (root / "manifest.jsonl").write_text("".join(json.dumps(dict(row)) + "\n" for row in rows), "utf-8")
    rows = list(import_jsonl(root, JsonlOptions(**options)))
    assert not any(isinstance(row, ManifestError) for row in rows), rows
    return rows


def test_a_corpus_in_other_words(tmp_path: Path) -> None:
    theirs = {
        "path": "clips/c7.ogg",
        "transcript": "nonante-trois",
        "lang": "French",
        "length": "2.5",
        "accent": "Belgium (Liège)",
        "speaker_no": 17,
        "device": "phone",
    }
    (fragment,) = run(
        tmp_path,
        theirs,
        fields={
            "audio": FieldSource("path"),
            "text": FieldSource("transcript"),
            "language": FieldSource("lang", {"French": "fr"}),
            "duration": FieldSource("length"),
            "dialect": FieldSource("accent", {"Belgium*": "fr-BE", "Switzerland*": "fr-CH"}),
            "speaker": FieldSource("speaker_no"),
        },
        constants={"licence": "CC0-1.0"},
    )
    assert fragment == Fragment(
        id="c7",
        audio=str(tmp_path / "clips/c7.ogg"),
        text="nonante-trois",
        language="fr",
        duration=2.5,
        dialect="fr-BE",
        speaker="17",
        licence="CC0-1.0",
        custom={"device": "phone", "source_values": {"lang": "French", "accent": "Belgium (Liège)"}},
    )


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("fr", "fr"),
        ("fr-x", "prefix"),
        ("fr-xy", "longer"),
        (21, "twenties"),
        ("none", None),
        (None, None),
        ("", None),
    ],
)
def test_tables(tmp_path: Path, theirs: object, ours: str | None) -> None:
    table = {"fr": "fr", "fr*": "prefix", "fr-xy*": "longer", "2*": "twenties", "none": None}
    (fragment,) = run(tmp_path, ROW | {"accent": theirs}, fields={"dialect": FieldSource("accent", table)})
    assert fragment.dialect == ours
    assert "unmapped" not in fragment.custom


@pytest.mark.parametrize("theirs", ["en Scottish", ["en", "fr"], True])
def test_a_value_without_translation_is_kept_and_named(tmp_path: Path, theirs: object) -> None:
    (fragment,) = run(
        tmp_path,
        ROW | {"accent": theirs},
        fields={"dialect": FieldSource("accent", {"Scottish": "en-GB-scotland"})},
    )
    assert fragment.dialect is None
    assert fragment.custom == {"unmapped": {"dialect": theirs}}


def test_one_field_may_feed_two(tmp_path: Path) -> None:
    fields = {
        "intonation": FieldSource("contour", {"rise": "question"}),
        "tune": FieldSource("contour", {"rise": "rise"}),
        "id": FieldSource("audio"),
    }
    (fragment,) = run(tmp_path, ROW | {"contour": "rise"}, fields=fields)
    assert (fragment.intonation, fragment.tune, fragment.id) == ("question", "rise", "wav/a.wav")


def test_ids_of_fragments_that_share_a_recording_differ(tmp_path: Path) -> None:
    first, second = run(tmp_path, ROW | {"start": 0.5, "end": 1.0}, ROW | {"start": 1.0, "end": 2.25})
    assert (first.id, second.id) == ("a-00000500", "a-00001000")
    assert (first.duration, second.duration) == (0.5, 1.25)


def test_an_end_beside_a_duration_is_kept_apart(tmp_path: Path) -> None:
    (fragment,) = run(tmp_path, ROW | {"duration": 2.0, "end": 9.0})
    assert fragment.duration == 2.0
    assert fragment.custom == {"source_values": {"end": 9.0}}


foreign_keys = st.sampled_from(["a", "b", "speaker", "dialect", "source_values", "unmapped", "custom", "licence"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(foreign_keys, st.none() | st.text(min_size=1, max_size=5).filter(str.strip), max_size=6))
def test_no_value_is_lost(tmp_path: Path, extra: dict[str, Any]) -> None:
    row = ROW | extra
    options = {
        "fields": {"speaker": FieldSource("speaker", {"x": "y"})} if "speaker" in extra else {},
        "constants": {"licence": "MIT"},
    }
    (fragment,) = run(tmp_path, row, **options)
    data = fragment.to_dict()
    for key, value in extra.items():
        places = (data, data.get("source_values", {}), data.get("unmapped", {}))
        assert value is None or any(isinstance(place, dict) and place.get(key) == value for place in places)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ('{"audio": "b.wav", "language": "en"}', "'text' is missing"),
        (json.dumps(ROW | {"duration": "long"}), "'duration' must be a number of seconds, found 'long'"),
        (json.dumps(ROW | {"start": 2.0, "end": 1.0}), "ends at 1.0 s, not after its start at 2.0 s"),
        ('{"audio": ', "not JSON"),
    ],
)
def test_a_broken_line_is_named_and_the_rest_goes_on(tmp_path: Path, row: str, sentence: str) -> None:
    (tmp_path / "manifest.jsonl").write_text(f"{json.dumps(ROW)}\n{row}\n{json.dumps(ROW)}\n")
    first, fault, last = import_jsonl(tmp_path, JsonlOptions())
    assert isinstance(first, Fragment) and first == last
    assert isinstance(fault, ManifestError) and sentence in str(fault) and "manifest.jsonl:2)" in str(fault)


def test_a_recipe_that_names_a_field_no_line_has_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'lenght'.*audio, language, length, text"):
        run(tmp_path, ROW | {"length": 1.0}, fields={"duration": FieldSource("lenght")})
    run(tmp_path, ROW, ROW | {"length": 1.0}, fields={"duration": FieldSource("length")})  # on some lines only
    run(tmp_path, fields={"duration": FieldSource("length")})  # nothing to judge by


def test_names_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"'dialekt' is no field.*dialect"):
        JsonlOptions(fields={"dialekt": FieldSource("accent")})
    with pytest.raises(ConfigError, match="'licence' stands in 'fields' and in 'constants'"):
        JsonlOptions(fields={"licence": FieldSource("l")}, constants={"licence": "MIT"})


def test_it_streams(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(f"{json.dumps(ROW)}\nbroken\n")
    first = next(import_jsonl(tmp_path, JsonlOptions()))
    assert isinstance(first, Fragment) and first.id == "a"
