"""TextGrids as Praat writes them, long and short, and what calls itself one."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from praatio import textgrid
from praatio.utilities.constants import Interval, Point

from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.importers import beside
from asr.importers.fields import FieldSource
from asr.importers.textgrid import import_textgrid
from asr.importers.tiers import TierOptions

OPTIONS = TierOptions(constants={"language": "fr"})


def save(path: Path, kind: str, *tiers: tuple[str, list[tuple[float, float, str]]]) -> None:
    grid = textgrid.Textgrid()
    for name, entries in tiers:
        grid.addTier(textgrid.IntervalTier(name, [Interval(*entry) for entry in entries], 0, 100))
    grid.save(str(path), kind, includeBlankSpaces=True)
    path.with_suffix(".wav").write_bytes(b"")


@pytest.mark.parametrize("kind", ["long_textgrid", "short_textgrid"])
def test_both_forms(tmp_path: Path, kind: str) -> None:
    save(tmp_path / "a.TextGrid", kind, ("A", [(0.5, 1.5, 'il a dit "oui"'), (2, 3, "ça va ?")]), ("B", [(1, 2, "ah")]))
    assert list(import_textgrid(tmp_path, OPTIONS)) == [
        Fragment(
            id=name, audio=str(tmp_path / "a.wav"), text=text, language="fr", start=start, duration=1.0, speaker=who
        )
        for name, text, start, who in (
            ("a/t1-00000500", 'il a dit "oui"', 0.5, "A"),
            ("a/t1-00002000", "ça va ?", 2.0, "A"),
            ("a/t2-00001000", "ah", 1.0, "B"),
        )
    ]


def test_praats_own_layout(tmp_path: Path) -> None:
    # As Praat 6 saves it: blanks at the ends of lines, an empty interval, a point tier, UTF-16.
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "a.TextGrid").write_bytes(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = 2.5 \ntiers? <exists> \nsize = 2 \n'
        'item []: \n    item [1]:\n        class = "IntervalTier" \n        name = "s01" \n        xmin = 0 \n'
        "        xmax = 2.5 \n        intervals: size = 2 \n        intervals [1]:\n            xmin = 0 \n"
        '            xmax = 1.25 \n            text = "" \n        intervals [2]:\n            xmin = 1.25 \n'
        '            xmax = 2.5 \n            text = "tu viens ?" \n    item [2]:\n        class = "TextTier" \n'
        '        name = "tones" \n        xmin = 0 \n        xmax = 2.5 \n        points: size = 1 \n'
        '        points [1]:\n            number = 2.4 \n            mark = "H%" \n'.encode("utf-16")
    )
    options = TierOptions(constants={"language": "fr"}, labels={"tune": FieldSource("tones", {"H%": "rise"})})
    (fragment,) = import_textgrid(tmp_path, options)
    assert isinstance(fragment, Fragment)
    assert (fragment.text, fragment.start, fragment.duration, fragment.tune, fragment.speaker) == (
        "tu viens ?", 1.25, 1.25, "rise", "s01",
    )  # fmt: skip


labels = st.lists(
    st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=12), min_size=1, max_size=6
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels, st.sampled_from(["long_textgrid", "short_textgrid"]))
def test_what_praatio_writes_comes_back(tmp_path: Path, texts: list[str], kind: str) -> None:
    save(tmp_path / "a.TextGrid", kind, ("A", [(n, n + 0.5, text) for n, text in enumerate(texts)]))
    found = list(import_textgrid(tmp_path, OPTIONS))
    assert [item.text for item in found if isinstance(item, Fragment)] == [
        " ".join(text.split()) for text in texts if text.strip()
    ]


def test_points_with_a_name_are_no_speech(tmp_path: Path) -> None:
    grid = textgrid.Textgrid()
    grid.addTier(textgrid.IntervalTier("A", [Interval(0, 1, "x")], 0, 2))
    grid.addTier(textgrid.PointTier("events", [Point(0.5, "click")], 0, 2))
    grid.save(str(tmp_path / "a.TextGrid"), "short_textgrid", includeBlankSpaces=True)
    (tmp_path / "a.wav").write_bytes(b"")
    (fragment,) = import_textgrid(tmp_path, OPTIONS)
    assert isinstance(fragment, Fragment)
    assert fragment.custom == {"tiers": {"events": "click"}}


def test_bad_files_are_named_one_by_one_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "MAX_BYTES", 1 << 20)
    save(tmp_path / "z-good.TextGrid", "long_textgrid", ("A", [(0, 1, "bonjour")]))
    good = (tmp_path / "z-good.TextGrid").read_bytes()
    bad = {
        "bomb": b"\x1f\x8b" + bytes(1000),
        "huge": good + b" " * (1 << 20),
        "binary": b"ooBinaryFile\x08TextGrid" + bytes(range(256)),
        "json": b"[1, 2]",
        "deep": b"[" * 100_000,
        "cut": good[: len(good) // 2],
        "number": good.replace(b"xmax = 1 ", b"xmax = one "),
        "empty": b"",
    }
    for name, data in bad.items():
        (tmp_path / f"{name}.TextGrid").write_bytes(data)
        (tmp_path / f"{name}.wav").write_bytes(b"")
    (tmp_path / "alone.TextGrid").write_bytes(good)
    found = list(import_textgrid(tmp_path, OPTIONS))
    assert isinstance(found[-1], Fragment) and found[-1].text == "bonjour"
    faults = {item.path.stem: str(item) for item in found[:-1] if isinstance(item, ManifestError) and item.path}
    assert faults.keys() == bad.keys() | {"alone"}
    assert "packed" in faults["bomb"] and "longer than 1 MiB" in faults["huge"]
    assert "no recording lies beside it" in faults["alone"]
    assert all("\n" not in fault and "Traceback" not in fault for fault in faults.values())


def test_an_interval_that_ends_before_it_begins_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.TextGrid", "short_textgrid", ("A", [(0, 1, "un"), (1, 2, "deux")]))
    text = (tmp_path / "a.TextGrid").read_text().replace('1\n2\n"deux"', '1\n0.5\n"deux"')
    (tmp_path / "a.TextGrid").write_text(text)
    first, second = import_textgrid(tmp_path, OPTIONS)
    kinds = {type(first), type(second)}
    assert kinds == {Fragment, ManifestError}
    fault = first if isinstance(first, ManifestError) else second
    assert "of tier 1 ends at 0.5 s, not after its start at 1 s" in str(fault)
    assert "deux" not in str(fault)
