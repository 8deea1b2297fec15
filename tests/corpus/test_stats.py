"""Hours, fragments and speakers, against a plain count."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.corpus.stats import corpus_stats
from asr.fragment import Fragment

bare = Fragment(id="a", audio="/nowhere.wav", text="a", language="fr", duration=3.6)
rows = st.lists(
    st.tuples(
        st.sampled_from(["fr", "en"]),
        st.sampled_from([None, "fr-CA", "fr-BE"]),
        st.sampled_from([None, "s1", "s2", "s3"]),
        st.floats(0.1, 100),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(rows)
def test_counts_are_those_of_a_plain_count(data: list[tuple[str, str | None, str | None, float]]) -> None:
    counted = corpus_stats(
        bare.replace(language=language, dialect=dialect, speaker=speaker, duration=seconds)
        for language, dialect, speaker, seconds in data
    )
    assert [(row.language, row.dialect or "") for row in counted.dialects] == sorted({(r[0], r[1] or "") for r in data})
    assert counted.total.hours * 3600 == pytest.approx(sum(row[3] for row in data))
    assert counted.total.speakers == len({row[2] for row in data} - {None})
    for row in counted.dialects:
        mine = [r for r in data if (r[0], r[1]) == (row.language, row.dialect)]
        assert row.fragments == len(mine)
        assert row.hours * 3600 == pytest.approx(sum(r[3] for r in mine))
        assert row.speakers == len({r[2] for r in mine} - {None})
        assert row.without_speaker == sum(r[2] is None for r in mine)


def test_durations_come_from_the_recording_where_there_are_none(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000, np.float32), 8000)
    whole = bare.replace(audio=str(tmp_path / "a.wav"), duration=None)
    counted = corpus_stats([whole, whole.replace(start=1.5), bare.replace(duration=None)]).total
    assert counted.hours * 3600 == pytest.approx(2.5)
    assert (counted.fragments, counted.without_duration) == (3, 1)


def test_json_is_plain() -> None:
    data = corpus_stats([bare]).to_dict()
    assert json.loads(json.dumps(data))["total"]["hours"] == pytest.approx(0.001)
