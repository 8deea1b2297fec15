"""Rows per fragment and the groups they fall into."""

from typing import Any

import pytest

from asr.evaluation.tally import Tally
from asr.fragment import Fragment
from asr.metrics import ErrorCounts


def tally(*labels: dict[str, str | None], speakers: tuple[str | None, ...] | None = None) -> Tally:
    made = Tally(compared=False)
    for i, each in enumerate(labels):
        speaker = None if speakers is None else speakers[i]
        fragment = Fragment(id=f"f{i}", audio="a.wav", text="x", language="fr", speaker=speaker)
        counts = ErrorCounts(insertions=i, hits=10)
        made.add(fragment, [(counts, counts)], [False], {"test_set": None, "language": "fr"} | each)
    return made


def groups(made: Tally) -> list[tuple[str, str | None, int]]:
    scores = made.scores("text", worst=0, resamples=20, seed=0)
    return [(group.dimension, group.group, group.fragments) for group in scores.groups]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([{"dialect": None}, {"dialect": None}], []),
        ([{"dialect": "fr-CA"}, {"dialect": "fr-CA"}], [("dialect", "fr-CA", 2)]),
        ([{"dialect": None}, {"dialect": "fr-CA"}], [("dialect", "fr-CA", 1), ("dialect", None, 1)]),
        ([{"language": "fr"}, {"language": "fr"}], []),
        ([{"language": "fr"}, {"language": "en"}], [("language", "en", 1), ("language", "fr", 1)]),
    ],
)
def test_a_dimension_shows_when_it_says_something(labels: list[Any], expected: list[Any]) -> None:
    assert groups(tally(*labels)) == expected


@pytest.mark.parametrize(
    ("speakers", "clusters"),
    [(("a", "a", "b"), 2), (("a", None, None), 3), ((None, None, None), 3), (("a", "a", "a"), 1)],
)
def test_a_fragment_without_speaker_is_a_cluster_of_its_own(speakers: tuple[str | None, ...], clusters: int) -> None:
    made = tally({}, {}, {}, speakers=speakers)
    overall = made.scores("text", worst=0, resamples=20, seed=0).overall
    assert overall.system.wer.clusters == clusters
    assert (overall.system.wer.low is None) == (clusters == 1)


def test_the_worst_come_first_and_the_faultless_not_at_all() -> None:
    scores = tally({}, {}, {}).scores("text", worst=5, resamples=20, seed=0)
    assert [worst.id for worst in scores.worst_fragments] == ["f2", "f1"]


def test_no_fragment_is_no_figure() -> None:
    for compared in (False, True):
        overall = Tally(compared).scores("text", worst=5, resamples=20, seed=0).overall
        assert (overall.fragments, overall.system.wer.value) == (0, None)
        assert (overall.baseline is not None, overall.change is not None) == (compared, compared)
