from collections import defaultdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asr.fragment import Fragment
from asr.privacy.cells import Cell, cell_of, safe_cells, wider

DIALECTS = (None, "en", "en-GB", "en-IN", "en-GB-x-cumbria", "en-GB-x-cumbria-kendal", "en-GB-x-devon", "gsw-CH", "?!")
cells = st.builds(
    Cell,
    language=st.sampled_from(("en", "de")),
    dialect=st.sampled_from(DIALECTS),
    gender=st.sampled_from((None, "f", "m")),
    age_band=st.sampled_from((None, "20-29", "70-79")),
)
speakers = st.one_of(st.none(), st.integers(0, 12).map(str))
Seen = list[tuple[Cell, str | None]]
corpora = st.lists(st.tuples(cells, speakers), max_size=60)


def by_cell(shown: list[tuple[Cell | None, str | None]]) -> dict[Cell, set[str]]:
    sharing = defaultdict(set)
    for cell, speaker in shown:
        if cell is not None:
            sharing[cell] |= {speaker} - {None}
    return sharing


def brute_force(seen: Seen, k: int) -> list[Cell | None]:
    """Widen all fragments of one deepest rare cell by one step, and look at everything again, until none is rare."""

    def depth(cell: Cell | None) -> int:
        return 0 if cell is None else 1 + depth(wider(cell))

    shown: list[tuple[Cell | None, str | None]] = list(seen)
    while rare := [cell for cell, sharing in by_cell(shown).items() if max(1, len(sharing)) < k]:
        deepest = max(rare, key=depth)
        shown = [(wider(cell) if cell == deepest else cell, speaker) for cell, speaker in shown]
    return [cell for cell, _ in shown]


@given(corpora, st.integers(2, 6))
@example([(Cell("en", "en-GB-x-cumbria", "f", "20-29"), str(n)) for n in range(4)], 5)
@example([(Cell("en", f"en-GB-x-town{n}", "f", "20-29"), str(n)) for n in range(5)], 5)
def test_whatever_is_shown_is_shared_by_k_speakers(seen: Seen, k: int) -> None:
    mapping = safe_cells(seen, k)
    shown = [(mapping[cell], speaker) for cell, speaker in seen]
    assert all(len(sharing) >= k for sharing in by_cell(shown).values())


@given(corpora, st.integers(1, 6))
def test_nothing_is_made_wider_than_it_must_be(seen: Seen, k: int) -> None:
    mapping = safe_cells(seen, k)
    assert [mapping[cell] for cell, _ in seen] == brute_force(seen, k)


@given(corpora, st.integers(1, 6), st.randoms())
def test_the_order_does_not_matter(seen: Seen, k: int, random: object) -> None:
    mixed = list(seen)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert safe_cells(mixed, k) == safe_cells(seen, k)


def test_only_the_rare_town_is_widened() -> None:
    cumbria, devon, britain = (Cell("en", f"en-GB{town}", "f", "20-29") for town in ("-x-cumbria", "-x-devon", ""))
    seen = [(cumbria, f"c{n}") for n in range(5)] + [(devon, f"d{n}") for n in range(4)] + [(britain, "b")]
    assert safe_cells(seen, 5) == {cumbria: cumbria, devon: britain, britain: britain}


def test_age_and_gender_go_when_no_dialect_is_left_and_the_lonely_are_held_back() -> None:
    seen = [(Cell("fr", "fr-CA", "f" if n % 2 else "m", f"{n}0-{n}9"), str(n)) for n in range(2, 8)]
    assert set(safe_cells(seen, 3).values()) == {Cell("fr", None, "f", None), Cell("fr", None, "m", None)}
    assert set(safe_cells(seen, 5).values()) == {Cell("fr", None, None, None)}
    assert set(safe_cells(seen, 7).values()) == {None}


def test_a_voice_without_a_name_counts_for_nobody() -> None:
    cell = Cell("fr", None, None, None)
    assert safe_cells([(cell, None)] * 100, 2) == {cell: None}
    assert safe_cells([(cell, None)], 1) == {cell: cell}


@pytest.mark.parametrize(
    ("dialect", "steps"),
    [
        ("en-GB-x-cumbria-kendal", ["en-GB-x-cumbria", "en-GB", "en", None]),
        ("gsw-CH", ["gsw", None]),
        ("the town of Kendal", [None]),
    ],
)
def test_the_steps_of_a_dialect(dialect: str, steps: list[str | None]) -> None:
    fragment = Fragment(id="a", audio="a.wav", text="a", language="en", dialect=dialect, gender="f", age_band="20-29")
    cell, found = cell_of(fragment), []
    while (cell := wider(cell)) is not None and cell.age_band:
        found.append(cell.dialect)
    assert found == steps
