"""Agreement against published examples, and against the definition."""

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.annotation.agreement import Agreement, krippendorff_alpha
from asr.fragment import Fragment

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: nominal data, any number of observers,
# missing values. Observers A to D, units 1 to 12; alpha = .743.
PUBLISHED = """
    1 2 3 3 2 1 4 1 2 . . .
    1 2 3 3 2 2 4 1 2 5 . 3
    . 3 3 3 2 3 4 2 2 5 1 .
    1 2 3 3 2 4 4 1 2 5 1 .
"""
# The same, section B: two observers, nominal, no missing values; alpha = .692.
TWO = "a a b b d c c c e d d a\nb a b b b c c c e d d d"


def units(table: str) -> Counter[tuple[str, ...]]:
    columns = zip(*(line.split() for line in table.strip().splitlines()), strict=True)
    return Counter(tuple(label for label in column if label != ".") for column in columns)


@pytest.mark.parametrize(("table", "alpha"), [(PUBLISHED, 0.743), (TWO, 0.692)])
def test_published_examples(table: str, alpha: float) -> None:
    assert krippendorff_alpha(units(table)) == pytest.approx(alpha, abs=5e-4)


def by_definition(found: Counter[tuple[str, ...]]) -> float:
    """1 - observed over expected disagreement, pair by pair (Krippendorff 2004, chapter 11)."""
    pairs: Counter[tuple[str, str]] = Counter()
    weights: Counter[tuple[str, str]] = Counter()
    for labels, times in found.items():
        for pair in permutations(labels, 2):
            pairs[pair] += times
            weights[pair] += times / (len(labels) - 1)  # type: ignore[assignment]
    total = sum(weights.values())
    sums: Counter[str] = Counter()
    for (first, _), weight in weights.items():
        sums[first] += weight
    observed = sum(weight for (first, second), weight in weights.items() if first != second) / total
    expected = sum(sums[a] * sums[b] for a, b in permutations(sums, 2)) / (total * (total - 1))
    return 1 - observed / expected


label = st.sampled_from("abc")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(label, min_size=1, max_size=4).map(tuple), min_size=1, max_size=20))
def test_as_defined(rows: list[tuple[str, ...]]) -> None:
    found = Counter(rows)
    paired = Counter({row: times for row, times in found.items() if len(row) > 1})
    alpha = krippendorff_alpha(found)
    if len({name for row in paired for name in row}) < 2:
        assert alpha is None
    else:
        assert alpha == pytest.approx(by_definition(paired))


def test_no_labels_no_alpha() -> None:
    assert krippendorff_alpha({}) is None
    assert krippendorff_alpha({("a", "a"): 3}) is None


def said(text: str, dialect: str | None = None, **more: object) -> Fragment:
    given = {"id": "f", "audio": "a.wav", "text": text, "language": "fr", "dialect": dialect}
    return Fragment(**given | more)  # type: ignore[arg-type]


def test_pairs() -> None:
    agreement = Agreement()
    agreement.add({"b": said("Ça fait septante !", "fr-BE"), "a": said("ça fait soixante", "fr-BE")})
    agreement.add({"a": said("oui", "fr-CH"), "b": said("oui oui oui", "fr-BE"), "c": said("", None)})
    agreement.add({"a": said("non", "fr-CH")})
    first, second, third = agreement.pairs()
    assert [(pair.first, pair.second, pair.fragments) for pair in (first, second, third)] == [
        ("a", "b", 2),
        ("a", "c", 0),
        ("b", "c", 0),
    ]
    # One word replaced and two added; 4 words of one and 6 of the other.
    assert (first.errors.substitutions, first.errors.insertions, first.errors.deletions) == (1, 2, 0)
    assert first.wer == pytest.approx(3 / 5)
    assert second.wer is None
    dialect = first.labels[0]
    assert (dialect.field, dialect.units) == ("dialect", 2)
    assert dialect.alpha == pytest.approx(by_definition(Counter([("BE", "BE"), ("CH", "BE")])))
    assert agreement.overall()[0] == dialect


def test_who_is_the_reference_does_not_matter() -> None:
    rates = []
    for names in (("a", "b"), ("b", "a")):
        agreement = Agreement()
        agreement.add(dict(zip(names, (said("un deux trois quatre"), said("un trois")), strict=True)))
        rates.append(agreement.pairs()[0].wer)
    assert rates[0] == rates[1] == pytest.approx(2 / 3)


def test_numbers_in_digits_and_in_words_are_the_same() -> None:
    agreement = Agreement()
    agreement.add({"a": said("quatre-vingt-dix francs"), "b": said("90 francs")})
    assert agreement.pairs()[0].wer == 0


def test_the_units_of_emphasis_are_words() -> None:
    agreement = Agreement()
    agreement.add({"a": said("un deux trois", emphasis=(1,)), "b": said("un deux trois", emphasis=(1, 2))})
    agreement.add({"a": said("un deux"), "b": said("un")})  # words that cannot be paired
    (emphasis,) = [item for item in agreement.overall() if item.field == "emphasis"]
    assert emphasis.units == 3
    assert emphasis.alpha == pytest.approx(by_definition(Counter([("n", "n"), ("y", "y"), ("n", "y")])))
