"""Cuts: lhotse itself reads them, and nothing of a fragment is lost on the way back."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import AsrError
from asr.exporters.lhotse_cuts import CutsExportOptions, export_cuts
from asr.fragment import Fragment
from asr.importers import Row

OPTIONS = CutsExportOptions()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from([".jsonl", ".jsonl.gz"]))
def test_everything_comes_back(
    data: st.DataObject,
    suffix: str,
    corpora: st.SearchStrategy[tuple[Fragment, ...]],
    trip: Callable[..., list[Row]],
    recording: Path,
) -> None:
    given_ = data.draw(corpora)
    for before, after in zip(given_, trip("lhotse", given_, suffix), strict=True):
        # A cut always has a length: of a fragment without, what is left of the two seconds.
        length = before.duration or round(2.0 - before.start, 9)
        assert after == before.replace(audio=str(recording), duration=length)


def test_lhotse_reads_them(tmp_path: Path, recording: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    words = (
        {"text": "bonjour", "start": 0.6, "duration": 0.2, "score": 0.5},
        {"text": "toi", "start": 0.9, "duration": 0.1},
    )
    one = Fragment(
        id="a", audio=str(recording), text="bonjour toi", language="fr", start=0.5, duration=1.0, speaker="s",
        gender="female", dialect="fr-CA", words=words, custom={"mic": "phone"},
    )  # fmt: skip
    with export_cuts(tmp_path / "cuts.jsonl.gz", OPTIONS) as add:
        add(one)
    (cut,) = lhotse.CutSet.from_file(tmp_path / "cuts.jsonl.gz")
    lhotse.qa.validate(cut, read_data=True)
    (said,) = cut.supervisions
    assert (cut.start, cut.duration, cut.load_audio().shape) == (0.5, 1.0, (1, 8000))
    assert (said.text, said.language, said.speaker, said.gender) == ("bonjour toi", "fr", "s", "female")
    assert (said.custom["dialect"], said.custom["mic"]) == ("fr-CA", "phone")
    assert [(item.symbol, item.start, item.duration, item.score) for item in said.alignment["word"]] == [
        ("bonjour", 0.6, 0.2, 0.5),
        ("toi", 0.9, 0.1, None),
    ]
    # Where lhotse itself finds the words, in seconds of the recording.
    found = [(word.supervisions[0].text, word.start, word.duration) for word in cut.trim_to_alignments("word")]
    assert found == [("bonjour", 0.6, 0.2), ("toi", 0.9, 0.1)]


def test_packed_or_not_and_a_fault_goes_on(tmp_path: Path, recording: Path) -> None:
    one = Fragment(id="a", audio=str(recording), text="\ud800", language="fr")
    for name in ("cuts.jsonl", "cuts.jsonl.gz"):
        with export_cuts(tmp_path / name, OPTIONS) as add:
            add(one)
            for changes in ({"start": 3.0}, {"duration": 2.5}, {"audio": "/nowhere.wav"}):
                with pytest.raises(AsrError):
                    add(one.replace(**changes))
            add(one)
    plain = (tmp_path / "cuts.jsonl").read_bytes()
    assert plain.count(b"\n") == 2
    assert gzip.decompress((tmp_path / "cuts.jsonl.gz").read_bytes()) == plain
