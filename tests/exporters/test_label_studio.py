"""Tasks for Label Studio: whatever a fragment says comes back."""

import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import ManifestError
from asr.exporters.label_studio import LabelStudioTaskOptions, audio_address, export_label_studio, results
from asr.fragment import Consent, Expression, Fragment, WordTime
from asr.importers.entries import ANSWERED, CANNOT_TELL_CONTROL
from asr.importers.label_studio import LabelStudioOptions, import_label_studio

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
name = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=8)
label = st.none() | name.filter(str.strip)
seconds = st.floats(0, 1e4, allow_nan=False)
length = st.floats(1e-3, 1e3, allow_nan=False)
json_value = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text, lambda inner: (
    st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2)), max_leaves=4)  # fmt: skip
custom = st.dictionaries(text.filter(lambda key: key not in {*Fragment.model_fields, "end"}), json_value, max_size=3)


@st.composite
def fragments(draw: st.DrawFn) -> Fragment:
    start, duration = draw(st.sampled_from([0.0, 1.25]) | seconds), draw(st.none() | length)
    words = draw(text)
    index = st.integers(0, 5)
    return Fragment(
        id=draw(name), audio="/ROOT/" + draw(st.from_regex(r"[a-zé +%?#&]{1,6}\.wav", fullmatch=True)), text=words,
        language=draw(st.sampled_from(["fr", "en", "gsw"])), start=start, duration=duration, dialect=draw(label),
        text_standard=draw(label), speaker=draw(label), intonation=draw(label), tune=draw(label), annotator=None,
        emphasis=tuple(draw(st.lists(index, max_size=3))),
        words=tuple(draw(st.lists(st.builds(WordTime, text=name, start=seconds, duration=length), max_size=2))),
        expressions=tuple(draw(st.lists(st.builds(Expression, text=name, standard=label), max_size=2))),
        consent=draw(st.none() | st.just(Consent(id="c1", purposes=("training",), granted=date(2024, 1, 2)))),
        custom=draw(custom),
    )  # fmt: skip


def export(made: list[Fragment], path: Path) -> None:
    with export_label_studio(path, LabelStudioTaskOptions()) as write:
        for fragment in made:
            write(fragment)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(fragments(), max_size=4))
def test_a_round_trip_loses_nothing(tmp_path: Path, made: list[Fragment]) -> None:
    placed = [item.replace(audio=item.audio.replace("/ROOT", str(tmp_path))) for item in made]
    export(placed, tmp_path / "tasks.json")
    found = list(import_label_studio(tmp_path / "tasks.json", LabelStudioOptions()))
    # Who annotated is all that an import adds.
    assert [item.replace(annotator=None) if isinstance(item, Fragment) else item for item in found] == placed


def test_a_part_of_a_recording_is_a_region(tmp_path: Path) -> None:
    one = Fragment(
        id="a", audio=str(tmp_path / "b/c d.wav"), text="oui", language="fr", start=1.5, duration=2.0, tune="rise"
    )
    export([one], tmp_path / "tasks.json")
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    assert task["data"]["audio"] == "/data/local-files/?d=b/c%20d.wav"
    items = task["annotations"][0]["result"]
    assert [(item["from_name"], item["type"]) for item in items] == [
        ("region", "labels"), ("text", "textarea"), ("tune", "choices"),
    ]  # fmt: skip
    assert {item["id"] for item in items} == {"region"}
    assert all((item["value"]["start"], item["value"]["end"]) == (1.5, 3.5) for item in items)


def test_choices_and_written_answers_have_their_kinds() -> None:
    made = results(dict.fromkeys((*ANSWERED, CANNOT_TELL_CONTROL), ("x",)))
    assert {item["from_name"]: item["type"] for item in made} == {
        "text": "textarea", "dialect": "choices", "intonation": "choices", "tune": "choices", "emphasis": "textarea",
        "expressions": "textarea", "cannot_tell": "choices",
    }  # fmt: skip
    assert len({item["id"] for item in made}) == len(made)


@pytest.mark.parametrize("audio", ["/elsewhere/a.wav", "{root}/../a.wav", "{root}/x/../../a.wav"])
def test_a_recording_elsewhere_cannot_be_served(tmp_path: Path, audio: str) -> None:
    one = Fragment(id="a", audio=audio.format(root=tmp_path), text="oui", language="fr")
    with pytest.raises(ManifestError, match="fragment 'a' does not lie under the folder"):
        audio_address(one, tmp_path)


def test_a_failure_leaves_the_old_tasks(tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text("[]")
    good = Fragment(id="a", audio=str(tmp_path / "a.wav"), text="oui", language="fr")
    with pytest.raises(ManifestError):
        export([good, good.replace(audio="/elsewhere/a.wav")], tmp_path / "tasks.json")
    assert [path.name for path in tmp_path.iterdir()] == ["tasks.json"]
    assert (tmp_path / "tasks.json").read_text() == "[]"
