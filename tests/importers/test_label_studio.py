"""Exports as Label Studio writes them: regions, choices, several annotators, and what is broken in between."""

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment
from asr.importers.fields import FieldSource
from asr.importers.label_studio import LabelStudioOptions, audio_path, import_label_studio, read_export

# Keys and order are those of an export of Label Studio 1.23.
EXTRAS = {"lead_time": 12.5, "ground_truth": False, "drafts": [], "unique_id": "15f2", "parent_prediction": None}


def item(
    name: str, kind: str, *values: str, span: tuple[float, float] | None = None, region: str = "r"
) -> dict[str, Any]:
    key = {"textarea": "text"}.get(kind, kind)
    value: dict[str, Any] = {key: list(values)}
    if span:
        value |= {"start": span[0], "end": span[1], "channel": 0}
    return {"id": region, "from_name": name, "to_name": "audio", "type": kind, "value": value, "origin": "manual"}


def annotation(who: object, *items: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"id": 1, "completed_by": who, "result": list(items), "was_cancelled": False, **EXTRAS, **more}


def task(number: int, *annotations: object, **data: object) -> dict[str, Any]:
    made = {"audio": "/data/local-files/?d=rec/a%20b.wav", "language": "fr", **data}
    return {"id": number, "annotations": list(annotations), "predictions": [7], "data": made, "meta": {}, "inner_id": 1}


def run(folder: Path, *tasks: object, **options: Any) -> list[Fragment | ManifestError]:
    (folder / "export.json").write_text(json.dumps(tasks))
    return list(import_label_studio(folder / "export.json", LabelStudioOptions(**options)))


def test_a_transcription_with_choices(tmp_path: Path) -> None:
    whole = annotation(
        3,
        item("text", "textarea", "Tu viens ?"),
        item("dialect", "choices", "fr-BE"),
        item("tune", "choices", "cannot tell"),
        item("quality", "rating"),
    )
    whole["result"][-1]["value"] = {"rating": 4}
    assert run(tmp_path, task(12, whole, id="f1", speaker="s01", mic="phone")) == [
        Fragment(
            id="f1",
            audio=str(tmp_path / "rec/a b.wav"),
            text="Tu viens ?",
            language="fr",
            dialect="fr-BE",
            speaker="s01",
            annotator="annotator-3",
            custom={"mic": "phone", "cannot_tell": ["tune"], "controls": {"quality": {"rating": 4}}},
        )
    ]


def test_regions_of_a_long_recording_in_someone_elses_project(tmp_path: Path) -> None:
    first, second = (0.5, 1.75), (2.0, 3.0)
    result = annotation(
        {"id": 4, "email": "anna@example.org", "first_name": "Anna"},
        item("labels", "labels", "Speech", span=first, region="x"),
        item("transcription", "textarea", "septante", span=first, region="x"),
        item("accent", "choices", "Liège", span=first, region="x"),
        item("labels", "labels", "Speech", span=second, region="y"),
        item("transcription", "textarea", "oui", "non", span=second, region="y"),
        item("accent", "choices", "Mars", span=second, region="y"),
        item("noise", "choices", "quiet"),
    )
    options: dict[str, Any] = {
        "fields": {
            "text": FieldSource("transcription"),
            "dialect": FieldSource("accent", {"Liège": "fr-BE"}),
            "speaker": FieldSource("who"),
            "audio": FieldSource("url"),
        },
        "constants": {"language": "fr"},
        "root": "media",
    }
    broken = task(5, result, who="s02", url="rec.wav")
    del broken["data"]["audio"], broken["data"]["language"]
    found = run(tmp_path, broken, **options)
    common = {"audio": str(tmp_path / "media/rec.wav"), "language": "fr", "speaker": "s02", "annotator": "annotator-4"}
    assert found == [
        Fragment(id="task-5-00000500", text="septante", start=0.5, duration=1.25, dialect="fr-BE",
                 custom={"controls": {"noise": ["quiet"]}}, **common),
        Fragment(id="task-5-00002000", text="oui\nnon", start=2.0, duration=1.0,
                 custom={"unmapped": {"dialect": ["Mars"]}, "controls": {"noise": ["quiet"]}}, **common),
    ]  # fmt: skip
    assert "anna" not in str(found).lower()


def test_several_annotators_and_what_was_skipped(tmp_path: Path) -> None:
    one, two = (annotation(who, item("text", "textarea", text)) for who, text in ((1, "un"), (2, "une")))
    skipped = annotation(3, item("text", "textarea", "x"), was_cancelled=True)
    found = run(tmp_path, task(1, one, two, skipped, id="a"), task(2, one, skipped, id="b"), task(3, id="c"))
    assert [(item.id, item.text, item.annotator) for item in found if isinstance(item, Fragment)] == [
        ("a@annotator-1", "un", "annotator-1"),
        ("a@annotator-2", "une", "annotator-2"),
        ("b", "un", "annotator-1"),
    ]


def test_broken_tasks_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = annotation(1, item("text", "textarea", "secret"))
    tasks: list[object] = [
        task(1, good, id="a"),
        "no task",
        {"id": 2, "data": []},
        {"id": 3, "data": {}, "annotations": None},
        task(4, {"result": "secret"}, good, id="b"),
        task(5, annotation(1, {"from_name": "text", "value": {"text": {"secret": 1}}}), id="c"),
        task(6, good, id="new\nline"),
        task(7, good, audio="/data/local-files/?d=../../etc/passwd", id="d"),
        task(8, good, audio="https://192.0.2.1/secret.wav", id="e"),
        task(9, annotation(1, item("text", "textarea", "secret", span=(2.0, 1.0))), id="f"),
        task(10, good, id="g", language="French"),
        task(11, good, audio=None, id="h"),
        task(12, good, id="z"),
    ]
    found = run(tmp_path, *tasks)
    assert [item.id for item in found if isinstance(item, Fragment)] == ["a", "b", "z"]
    faults = [str(item) for item in found if isinstance(item, ManifestError)]
    expected = ["item 2 is no task", "task 2|item 3", "task 3 has no list", "annotation 1 of task 4",
                "annotation 1 of task 5",
                "task 6: .*id", "task 7: the path of its recording leads out",
                "task 8: its recording lies on another machine",
                "task 9: its region ends at 1 s", "task 10: .*language", "task 11: it names no recording"]  # fmt: skip
    assert len(faults) == len(expected)
    for fault, pattern in zip(faults, expected, strict=True):
        assert re.search(pattern, fault), fault
        assert "secret" not in fault and "\n" not in fault and "export.json" in fault


@pytest.mark.parametrize("cut", [1, 40, 200, -2])
def test_an_export_that_was_cut_short_gives_what_is_whole(tmp_path: Path, cut: int) -> None:
    text = json.dumps([task(n, annotation(1, item("text", "textarea", "x")), id=f"f{n}") for n in range(3)])
    (tmp_path / "export.json").write_text(text[:cut])
    *whole, last = import_label_studio(tmp_path / "export.json", LabelStudioOptions())
    assert isinstance(last, ManifestError) and "damaged or cut short" in str(last)
    assert all(isinstance(item, Fragment) for item in whole)
    assert len(whole) == (3 if cut == -2 else 0) or cut == -2


@pytest.mark.parametrize("content", [b"", b'{"a": 1}', b"id,text\n", b"\x1f\x8b\x08"])
def test_what_is_no_export(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "export.json").write_bytes(content)
    with pytest.raises(ManifestError, match="no Label Studio export"):
        list(read_export(tmp_path / "export.json"))


def test_nesting_that_is_too_deep_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text("[" * 200_000)
    (found,) = read_export(tmp_path / "export.json")
    assert isinstance(found, ManifestError)


def test_an_export_is_read_in_constant_memory(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        one = json.dumps(task(1, annotation(1, item("text", "textarea", "x" * 500)), id="f"))
        (tmp_path / "export.json").write_text("[" + ",".join([one] * count) + "]")
        tracemalloc.start()
        assert sum(1 for _ in read_export(tmp_path / "export.json")) == count
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(10)
    assert peak(2000) < peak(200) + 200_000


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/data/local-files/?d=a/b%20c.wav", "a/b c.wav"),
        ("/data/local-files/?d=a%2Fb%2Bc.wav", "a/b+c.wav"),
        ("/data/upload/3/ab12-x.wav", "upload/3/ab12-x.wav"),
        ("a/x y?.wav", "a/x y?.wav"),
    ],
)
def test_addresses(tmp_path: Path, address: str, path: str) -> None:
    assert audio_path(address, tmp_path) == tmp_path / path


@pytest.mark.parametrize(
    "address",
    ["", None, 3, "/data/local-files/?d=", "/data/local-files/?d=/etc/passwd", "../x", "a/../../x", "file:///etc/passwd",
     "s3://bucket/x.wav", "//host/x", "http://[", "/etc/passwd", "a\x00b", "/data/upload/../../x"],
)  # fmt: skip
def test_addresses_that_lead_elsewhere(tmp_path: Path, address: object) -> None:
    (tmp_path / "served").mkdir()
    with pytest.raises(ManifestError):
        audio_path(address, tmp_path / "served")


def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served/x").symlink_to(tmp_path)
    with pytest.raises(ManifestError, match="leads out"):
        audio_path("x/secret.wav", tmp_path / "served")


def test_names_are_checked() -> None:
    with pytest.raises(ConfigError, match="'dialekt' is no field"):
        LabelStudioOptions(fields={"dialekt": FieldSource("x")})
