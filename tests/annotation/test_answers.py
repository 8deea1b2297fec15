"""Answers of several annotators to fragments: majority, adjudicator, conflict."""

import json
from pathlib import Path
from typing import Any

import pytest

from asr.annotation.answers import AnswerReport, merge_answers, read_answers
from asr.errors import AsrError
from asr.exporters.label_studio import results
from asr.fragment import Expression, Fragment

BASE = Fragment(
    id="f", audio="a.wav", text="machine words", language="fr", dialect="fr-FR", speaker="s1", custom={"m": 1}
)


def export(folder: Path, name: str, *answers: tuple[str, int, dict[str, Any]]) -> Path:
    """Write an export: fragment, annotator, entries."""
    tasks: dict[str, list[Any]] = {}
    for fragment, who, entries in answers:
        result = results({key: (value,) if isinstance(value, str) else value for key, value in entries.items()})
        tasks.setdefault(fragment, []).append({"completed_by": who, "result": result})
    data = [{"id": n, "data": {"id": name}, "annotations": made} for n, (name, made) in enumerate(tasks.items(), 1)]
    (folder / name).write_text(json.dumps(data))
    return folder / name


def merge(
    folder: Path, *answers: tuple[str, int, dict[str, Any]], base: Fragment = BASE, adjudicator: str | None = None
) -> tuple[list[Fragment], AnswerReport]:
    failures: list[AsrError] = []
    report = AnswerReport()
    given = read_answers([export(folder, "e.json", *answers)], failures)
    made = list(merge_answers([base], given, report, failures, adjudicator))
    assert failures == []
    return made, report


def test_one_annotator(tmp_path: Path) -> None:
    entries = {"text": "Ça fait septante", "dialect": "fr-BE", "tune": "fall", "emphasis": "septante",
               "expressions": "septante = soixante-dix"}  # fmt: skip
    (made,), report = merge(tmp_path, ("f", 3, entries))
    assert made == BASE.replace(
        text="Ça fait septante",
        dialect="fr-BE",
        tune="fall",
        emphasis=(2,),
        expressions=(Expression(text="septante", standard="soixante-dix", start_word=2),),
        annotator="annotator-3",
        custom={"m": 1, "annotators": ["annotator-3"]},
    )
    assert (report.agreed, report.adjudicated, report.conflicts) == (1, 0, [])


def test_the_same_words_in_two_spellings_are_no_conflict(tmp_path: Path) -> None:
    one, two, three = "Ça fait septante !", "ça fait septante", "Ça fait septante !"
    (made,), _ = merge(tmp_path, ("f", 1, {"text": two}), ("f", 2, {"text": one}), ("f", 3, {"text": three}))
    assert (made.text, made.annotator) == (one, "annotator-2")


def test_two_against_one(tmp_path: Path) -> None:
    (made,), report = merge(
        tmp_path,
        ("f", 1, {"text": "un oeuf", "dialect": "fr-BE", "emphasis": "un"}),
        ("f", 2, {"text": "un oeuf", "dialect": "fr-CH", "emphasis": "un"}),
        ("f", 3, {"text": "un neuf", "dialect": "fr-BE", "emphasis": "neuf"}),
    )
    assert (made.text, made.dialect, made.emphasis) == ("un oeuf", "fr-BE", (0,))
    assert report.agreed == 1


CONFLICT = (("f", 1, {"text": "oui", "dialect": "fr-BE"}), ("f", 2, {"text": "oui", "dialect": "fr-CH"}))


def test_a_conflict_is_left_out_and_listed_for_a_third(tmp_path: Path) -> None:
    made, report = merge(tmp_path, *CONFLICT)
    assert made == []
    (listed,) = report.conflicts
    assert listed.replace(custom=BASE.custom) == BASE
    assert listed.custom["conflicts"] == {"dialect": {"annotator-1": ["fr-BE"], "annotator-2": ["fr-CH"]}}
    assert report.conflicting == {"dialect": 1}


def test_a_third_annotator_ends_it(tmp_path: Path) -> None:
    made, report = merge(tmp_path, *CONFLICT, ("f", 3, {"text": "oui", "dialect": "fr-CH"}))
    assert [item.dialect for item in made] == ["fr-CH"]
    assert (report.agreed, report.adjudicated) == (1, 0)


def test_without_majority_the_adjudicator_decides(tmp_path: Path) -> None:
    third = ("f", 3, {"text": "oui", "dialect": "fr-CA"})
    assert merge(tmp_path, *CONFLICT, third)[0] == []
    made, report = merge(tmp_path, *CONFLICT, third, adjudicator="annotator-3")
    assert [item.dialect for item in made] == ["fr-CA"]
    assert (report.agreed, report.adjudicated) == (0, 1)
    assert merge(tmp_path, *CONFLICT, adjudicator="annotator-3")[0] == []  # who has not answered decides nothing


def test_the_majority_is_not_overruled_by_the_adjudicator(tmp_path: Path) -> None:
    answers = [("f", who, {"text": text}) for who, text in ((1, "oui"), (2, "oui"), (3, "non"))]
    made, _ = merge(tmp_path, *answers, adjudicator="annotator-3")
    assert [item.text for item in made] == ["oui"]


def test_cannot_tell_is_an_answer(tmp_path: Path) -> None:
    text = {"text": "oui"}
    nobody = [("f", who, text | {"dialect": "cannot tell"}) for who in (1, 2)]
    (made,), _ = merge(tmp_path, *nobody)
    assert (made.dialect, made.custom["cannot_tell"]) == (None, ["dialect"])
    assert merge(tmp_path, nobody[0], ("f", 2, text | {"dialect": "fr-BE"}))[0] == []
    # Not answered is no vote.
    (made,), _ = merge(tmp_path, ("f", 1, text), ("f", 2, text | {"dialect": "fr-BE"}))
    assert made.dialect == "fr-BE"


@pytest.mark.parametrize("entries", [{"cannot_tell": "text"}, {"dialect": "fr-BE"}, {"text": " "}])
def test_without_words_there_is_nothing_to_train_on(tmp_path: Path, entries: dict[str, Any]) -> None:
    made, report = merge(tmp_path, ("f", 1, entries), ("f", 2, entries))
    assert (made, report.untold) == ([], 1)


def test_emphasis_counts_from_those_whose_words_were_taken(tmp_path: Path) -> None:
    (made,), _ = merge(
        tmp_path,
        ("f", 1, {"text": "oui oui non", "emphasis": "non"}),
        ("f", 2, {"text": "Oui, oui, non.", "emphasis": "non."}),
        ("f", 3, {"text": "oui", "emphasis": "oui"}),
    )
    assert made.emphasis == (2,)
    made_2, report = merge(
        tmp_path, ("f", 1, {"text": "a b", "emphasis": "a"}), ("f", 2, {"text": "a b", "emphasis": "b"})
    )
    assert made_2 == [] and report.conflicting == {"emphasis": 1}


def test_several_exports_and_who_has_answered_twice(tmp_path: Path) -> None:
    failures: list[AsrError] = []
    exports = [
        export(tmp_path, "1.json", ("f", 1, {"text": "alt"}), ("g", 1, {"text": "x"})),
        export(tmp_path, "2.json", ("f", 1, {"text": "neu"}), ("f", 2, {"text": "neu"})),
    ]
    given = read_answers(exports, failures)
    report = AnswerReport()
    (made,) = merge_answers([BASE], given, report, failures)
    assert (made.text, report.unknown, failures) == ("neu", 1, [])


def test_what_cannot_be_used_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = export(tmp_path, "a.json", ("f", 1, {"text": "oui"}))
    tasks = json.loads(good.read_text())
    span = {"start": 0.0, "end": 1.0}
    tasks += [
        {"id": 2, "data": {}, "annotations": []},
        {
            "id": 3,
            "data": {"id": "g"},
            "annotations": [{"result": [{"from_name": "text", "value": {"text": ["x"], **span}}]}],
        },
        {"id": 4, "data": {"id": "h"}, "annotations": [{"result": "secret"}]},
    ]
    good.write_text(json.dumps(tasks))
    failures: list[AsrError] = []
    found = read_answers([good], failures)
    assert list(found) == ["f"]
    sentences = [str(failure) for failure in failures]
    assert [
        "task 2 has no 'id'" in sentences[0],
        "task 3 is about regions" in sentences[1],
        "task 4" in sentences[2],
    ] == [True] * 3
    assert "secret" not in str(sentences)
