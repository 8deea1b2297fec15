"""The page that annotators see: every label of the project, and "cannot tell" beside each."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from asr.annotation.labelling import TUNES, LabelValues, labelling_config, read_choices
from asr.errors import ConfigError
from asr.importers.entries import ANSWERED, CANNOT_TELL, CANNOT_TELL_CONTROL

VALUES = LabelValues(("fr-BE", 'x"<&>'), ("statement", "question"))


def test_there_is_a_control_for_every_field(tmp_path: Path) -> None:
    (tmp_path / "labels.xml").write_text(labelling_config(VALUES))
    found = read_choices(tmp_path / "labels.xml")
    assert set(found) == {*ANSWERED, CANNOT_TELL_CONTROL}
    assert found["dialect"] == ("fr-BE", 'x"<&>', CANNOT_TELL)
    assert found["intonation"] == ("statement", "question", CANNOT_TELL)
    assert found["tune"] == (*TUNES, CANNOT_TELL)
    assert found[CANNOT_TELL_CONTROL] == ("text", "emphasis", "expressions")


def test_answers_about_regions_belong_to_them() -> None:
    view = ElementTree.fromstring(labelling_config(VALUES, regions=True))
    asked = [item for item in view.iter() if item.get("toName") and item.tag != "Labels"]
    assert len(asked) == len(ANSWERED) + 1
    assert all(item.get("perRegion") == "true" for item in asked)
    assert [label.get("value") for label in view.iter("Label")] == ["speech"]
    assert "perRegion" not in labelling_config(VALUES)


@pytest.mark.parametrize("dialects", [(), ("fr-BE", "fr-BE"), ("fr-BE", "cannot tell")])
def test_values_that_cannot_be_chosen_from(dialects: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="dialect"):
        LabelValues(dialects)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<View>",
        "<View/>",
        '<!DOCTYPE d [<!ENTITY x "y">]><View><TextArea name="text" toName="audio"/>&x;</View>',
        None,
    ],
)
def test_what_is_no_labelling_configuration(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "labels.xml").write_text(text)
    with pytest.raises(ConfigError, match=r"labelling configuration .*labels\.xml"):
        read_choices(tmp_path / "labels.xml")
