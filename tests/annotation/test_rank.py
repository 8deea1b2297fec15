"""What to annotate next, against a sort of everything, and what is held meanwhile."""

import math
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.annotation.rank import RankCounts, RankOptions, rank
from asr.errors import ConfigError
from asr.fragment import Fragment
from asr.transcript import Segment, Transcript


def fragment(name: str, speaker: str | None, dialect: str | None, **more: object) -> Fragment:
    given = {"id": name, "audio": "a.wav", "text": "", "language": "fr", "speaker": speaker, "dialect": dialect}
    return Fragment(**given | more)  # type: ignore[arg-type]


def heard(unsure: float, dialect: str | None = None) -> Transcript:
    segment = Segment(0.0, 1.0, "oui", math.log(1 - unsure), 0.0, 1.0)
    return Transcript("", "oui", "fr", dialect, 1.0, (segment,))


rows = st.lists(
    st.tuples(st.sampled_from([None, "s1", "s2", "s3"]), st.sampled_from([None, "fr-BE", "fr-CA"]), st.integers(0, 9)),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(rows, st.integers(1, 8), st.integers(1, 4), st.sampled_from([0.0, 0.5, 1.0]), st.randoms())
def test_as_a_sort_of_everything_would_choose(
    made: list[tuple[str | None, str | None, int]], count: int, cap: int, rarity: float, shuffle: random.Random
) -> None:
    unsure = {f"f{n:02}": row[2] / 10 for n, row in enumerate(made)}
    fragments = [fragment(f"f{n:02}", speaker, dialect) for n, (speaker, dialect, _) in enumerate(made)]
    frequent = Counter(item.dialect for item in fragments)

    def worth(item: Fragment) -> float:
        mean = len(fragments) / len(frequent)
        return (1 - math.exp(math.log(1 - unsure[item.id]))) * (mean / frequent[item.dialect]) ** rarity

    wanted: list[str] = []
    taken: Counter[str | None] = Counter()
    for item in sorted(fragments, key=lambda item: (-worth(item), item.id)):
        if taken[item.speaker] < cap and len(wanted) < count:
            taken[item.speaker] += 1
            wanted.append(item.id)
    shuffle.shuffle(fragments)
    options = RankOptions(count, cap, rarity)
    found = list(rank(lambda: fragments, lambda item: heard(unsure[item.id]), options))
    assert [item.fragment.id for item in found] == wanted
    assert [item.score for item in found] == pytest.approx([worth(item.fragment) for item in found])


def test_the_rare_dialect_comes_first_among_equals_and_not_without_rarity() -> None:
    fragments = [fragment(f"a{n}", f"s{n}", "fr-FR") for n in range(9)] + [fragment("z", "s9", "fr-CH")]
    first = next(rank(lambda: fragments, lambda _: heard(0.5), RankOptions()))
    assert first.fragment.id == "z"
    assert first.score == pytest.approx(0.5 * math.sqrt(5 / 1))
    assert next(rank(lambda: fragments, lambda _: heard(0.5), RankOptions(rarity=0))).fragment.id == "a0"


def test_what_is_annotated_counts_for_its_dialect_and_is_passed_over() -> None:
    fragments = [
        fragment("done", "s1", "fr-CH", annotator="annotator-1"),
        fragment("mute", "s1", "fr-CH"),
        fragment("told", "s2", None),
        fragment("plain", "s3", None),
    ]
    transcripts = {"told": heard(0.5, "fr-CH"), "plain": heard(0.5, "fr-CA")}
    counts = RankCounts()
    found = list(rank(lambda: fragments, lambda item: transcripts.get(item.id), RankOptions(rarity=1), counts))
    assert [item.fragment.id for item in found] == ["plain", "told"]
    assert (counts.annotated, counts.untranscribed, counts.ranked) == (1, 1, 2)
    assert counts.dialects == {"fr-CH": 2, "": 2}


def test_a_big_corpus_is_not_held() -> None:
    def corpus(size: int) -> Iterator[Fragment]:
        return (fragment(f"f{n}", f"s{n % 20}", "fr-BE", text="x" * 300) for n in range(size))

    def peak(size: int) -> int:
        tracemalloc.start()
        list(rank(lambda: corpus(size), lambda item: heard(int(item.id[1:]) % 97 / 100), RankOptions(50, 5)))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(200)
    assert peak(4000) < 1.5 * peak(400)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"per_speaker": 0}, {"rarity": -0.1}, {"rarity": 1.1}])
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must"):
        RankOptions(**wrong)  # type: ignore[arg-type]
