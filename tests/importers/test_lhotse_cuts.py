"""Cuts that lhotse itself has written, and what must not be followed: commands, addresses, paths out of the folder."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.importers.fields import FieldSource, RowOptions
from asr.importers.lhotse_cuts import import_cuts

CUT: dict[str, Any] = {
    "id": "c", "start": 1.5, "duration": 2.0, "channel": 0, "type": "MonoCut",
    "supervisions": [
        {"id": "s", "recording_id": "r", "start": 0.1, "duration": 1.0, "channel": 0, "text": "a b", "language": "fr"}
    ],
    "recording": {
        "id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "sampling_rate": 16000,
        "num_samples": 160000, "duration": 10.0, "channel_ids": [0],
    },
}  # fmt: skip


def run(folder: Path, *cuts: Any, **options: Any) -> list[Fragment | ManifestError]:
    (folder / "cuts.jsonl").write_text("".join(json.dumps(cut) + "\n" for cut in cuts))
    return list(import_cuts(folder / "cuts.jsonl", RowOptions(**options)))


def changed(**paths: Any) -> dict[str, Any]:
    """Return the cut with values changed, at keys such as ``recording__sources``."""
    cut = json.loads(json.dumps(CUT))
    for path, value in paths.items():
        *parents, last = path.split("__")
        place = cut
        for parent in parents:
            place = place[int(parent)] if parent.isdecimal() else place[parent]
        place[int(last) if last.isdecimal() else last] = value
    return cut  # type: ignore[no-any-return]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_what_lhotse_writes(tmp_path: Path, suffix: str) -> None:
    lhotse = pytest.importorskip("lhotse")
    from lhotse.supervision import AlignmentItem

    source = lhotse.AudioSource("file", [0], str(tmp_path / "a.wav"))
    recording = lhotse.Recording("r", [source], sampling_rate=16000, num_samples=160000, duration=10.0)
    words = [AlignmentItem("bonjour", 3.1, 0.2, 0.5), AlignmentItem("toi", 3.3, 0.123456789)]
    phones = [AlignmentItem("b", 3.1, 0.05)]
    said = lhotse.SupervisionSegment(
        "s1", "r", 3.0, 1.0, text="bonjour toi", language="fr", speaker="x", gender="female",
        custom={"dialect": "fr-CA", "mic": "phone"}, alignment={"word": words, "phone": phones},
    )  # fmt: skip
    silent = lhotse.SupervisionSegment("s2", "r", 5.0, 0.5, language="fr")
    cuts = lhotse.CutSet.from_manifests(
        lhotse.RecordingSet.from_recordings([recording]), lhotse.SupervisionSet.from_segments([said, silent])
    )
    # A piece out of the middle: its supervisions count from its own start, their words from the recording's.
    cuts = lhotse.CutSet.from_cuts(cut.truncate(offset=2.5, duration=4.0) for cut in cuts)
    cuts.to_file(tmp_path / f"cuts{suffix}")
    first, second = import_cuts(tmp_path / f"cuts{suffix}", RowOptions())
    assert first == Fragment(
        id="s1", audio=str(tmp_path / "a.wav"), text="bonjour toi", language="fr", start=3.0, duration=1.0, speaker="x",
        gender="female", dialect="fr-CA",
        words=({"text": "bonjour", "start": 3.1, "duration": 0.2, "score": 0.5},
               {"text": "toi", "start": 3.3, "duration": 0.123456789}),
        custom={"mic": "phone", "alignment": {"phone": [["b", 3.1, 0.05, None]]}},
    )  # fmt: skip
    assert isinstance(second, Fragment) and (second.text, second.start, second.duration) == ("", 5.0, 0.5)


def test_custom_keys_can_be_translated(tmp_path: Path) -> None:
    cut = changed(supervisions__0__custom={"accent": "Romand"})
    (item,) = run(tmp_path, cut, fields={"dialect": FieldSource("accent", {"Romand": "fr-CH"})})
    assert isinstance(item, Fragment) and item.dialect == "fr-CH"


@pytest.mark.parametrize(
    ("cut", "sentence"),
    [
        (changed(type="MixedCut"), "no MonoCut"),
        (changed(supervisions=[]), "no supervision"),
        (changed(recording__sources=[{"type": "command", "channels": [0], "source": "cat a.wav"}]), "never run"),
        (changed(recording__sources=[{"type": "url", "channels": [0], "source": "http://x/a.wav"}]), "never fetched"),
        (changed(recording__transforms=[{"name": "Speed", "kwargs": {"factor": 0.9}}]), "its transforms"),
        (changed(recording__sources__0__source="../a.wav"), "outside the corpus"),
        (changed(recording__sources__0__source="/etc/passwd"), "outside the corpus"),
        (changed(start=-3.0), "'start'"),
        (changed(supervisions__0__duration=-1.0), "'duration'"),
        (changed(supervisions__0__duration=0), "'duration'"),
        (changed(supervisions__0__start="x"), "no cut as lhotse"),
        (changed(start=10**400), "no cut as lhotse"),
        (changed(supervisions__0__id="a\nb"), "'id'"),
        (changed(supervisions__0__alignment={"word": [["a"]]}), "no cut as lhotse"),
        (changed(supervisions__0__alignment={"word": [["", 0, 1]]}), "'words.0.text'"),
        (changed(recording=None), "no cut as lhotse"),
        ({"id": "c"}, "no cut as lhotse"),
        ([], "must be an object"),
    ],
)
def test_a_broken_cut_is_named_and_the_rest_goes_on(tmp_path: Path, cut: Any, sentence: str) -> None:
    first, fault, last = run(tmp_path, CUT, cut, CUT)
    assert isinstance(first, Fragment) and first == last and (first.start, first.id) == (1.6, "s")
    assert isinstance(fault, ManifestError) and sentence in str(fault) and "cuts.jsonl:2)" in str(fault)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*CUT, "text", "word"]), inner, max_size=2)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=st.sampled_from([*CUT, "recording__sources", "supervisions__0__alignment", "supervisions__0__custom",
                           "supervisions__0__start", "recording__sources__0"]),
    value=json_values,
)  # fmt: skip
def test_any_value_anywhere_ends_in_fragments_or_a_sentence(tmp_path: Path, where: str, value: Any) -> None:
    for item in run(tmp_path, changed(**{where: value})):
        assert isinstance(item, Fragment | ManifestError)
