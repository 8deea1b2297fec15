"""Common Voice folders: clips and table come back as the same fragments, and what is no whole clip is refused."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import ManifestError
from asr.exporters.common_voice import CommonVoiceExportOptions, export_common_voice
from asr.fragment import Fragment
from asr.importers import Row

OPTIONS = CommonVoiceExportOptions()
HELD = ("id", "language", "dialect", "speaker", "gender", "age_band")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_the_table_can_hold_comes_back(
    data: st.DataObject, corpora: st.SearchStrategy[tuple[Fragment, ...]], trip: Callable[..., list[Row]]
) -> None:
    first, *others = data.draw(corpora)
    given_ = (first.replace(start=0.0, duration=None), *others)
    kept: dict[str, Fragment] = {}
    for item in trip("common_voice", given_):
        assert isinstance(item, Fragment)
        kept[item.id] = item
    whole = [item for item in given_ if item.start == 0 and item.duration is None]
    parts = [item for item in given_ if item.start > 0]
    assert not kept.keys() & {item.id for item in parts}
    for before in whole:
        after = kept[before.id]
        # Their dialects are of a language; a tag of another one cannot be told apart from free text.
        fits = before.dialect is None or before.dialect.startswith(before.language)
        names = [name for name in HELD if fits or name != "dialect"]
        assert {name: getattr(after, name) for name in names} == {name: getattr(before, name) for name in names}
        assert after.text == " ".join(before.text.split())
        assert Path(after.audio).is_file()


def test_the_table_is_as_common_voice_has_it(tmp_path: Path, recording: Path) -> None:
    one = Fragment(
        id="fr/a", audio=str(recording), text='dit "oui"\tet\nnon', language="fr", dialect="fr-CH", speaker="s1",
        age_band="40-49", gender="female", custom={"up_votes": 2, "accents": "Romand"},
    )  # fmt: skip
    with export_common_voice(tmp_path / "out", OPTIONS) as add:
        add(one)
        add(one.replace(id="b", duration=2.0))  # whole, and says so
    with (tmp_path / "out" / "validated.tsv").open(newline="", encoding="utf-8") as handle:
        first, _ = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
    assert {key: value for key, value in first.items() if value} == {
        "client_id": "s1", "path": "fr%2Fa.wav", "sentence": 'dit "oui" et non', "up_votes": "2", "age": "fourties",
        "gender": "female", "accents": "Romand", "variant": "fr-CH", "locale": "fr",
    }  # fmt: skip
    assert (tmp_path / "out" / "clips" / "fr%2Fa.wav").read_bytes() == recording.read_bytes()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"start": 0.5}, "a part of its recording"),
        ({"duration": 1.0}, "a part of its recording"),
        ({"audio": "/nowhere.wav"}, "recording does not exist"),
        ({"id": "x" * 300}, "too long to name a file"),
        ({"id": "a"}, "'a' stands twice"),
    ],
)
def test_what_no_clip_can_be_is_refused_and_the_rest_goes_on(
    tmp_path: Path, recording: Path, changes: dict[str, object], sentence: str
) -> None:
    one = Fragment(id="a", audio=str(recording), text="x", language="fr")
    with export_common_voice(tmp_path / "out", OPTIONS) as add:
        add(one)
        with pytest.raises(ManifestError, match=sentence):
            add(one.replace(**{"id": "b", **changes}))
        add(one.replace(id="c"))
    assert len((tmp_path / "out" / "validated.tsv").read_text().splitlines()) == 3


def test_ids_name_no_file_elsewhere(tmp_path: Path, recording: Path) -> None:
    shutil.copy(recording, tmp_path / "a.wav")
    with export_common_voice(tmp_path / "out", OPTIONS) as add:
        for id_ in ("../../a", "/a", "..", "%2e"):
            add(Fragment(id=id_, audio=str(tmp_path / "a.wav"), text="x", language="fr"))
    assert len(list((tmp_path / "out" / "clips").iterdir())) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "out"}
