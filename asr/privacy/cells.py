"""k speakers in every cell of language, dialect, gender and age: rarer cells are made wider, the dialect first.

Attributes that few share single a speaker out. A cell with fewer than k speakers takes the next wider one (see `wider`)
together with whoever is there already, until there are k; a cell that cannot be made wide enough is held back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from asr.corpus.dialects import tag_fault, wider_tag
from asr.fragment import Fragment


class Cell(NamedTuple):
    """What a fragment tells about its speaker, field by field as in `Fragment`."""

    language: str
    dialect: str | None
    gender: str | None
    age_band: str | None


def cell_of(fragment: Fragment) -> Cell:
    """Return the cell that a fragment lies in."""
    return Cell(fragment.language, fragment.dialect, fragment.gender, fragment.age_band)


def wider(cell: Cell) -> Cell | None:
    """Return the next wider cell: the dialect by one subtag, then without age, then without gender; None at the end.

    ``en-GB-x-cumbria`` becomes ``en-GB``, ``en``, and none at all; what is no BCP 47 tag becomes none at once.
    """
    if cell.dialect is not None:
        return cell._replace(dialect=None if tag_fault(cell.dialect) else wider_tag(cell.dialect))
    if cell.age_band is not None:
        return cell._replace(age_band=None)
    if cell.gender is not None:
        return cell._replace(gender=None)
    return None


def safe_cells(seen: Iterable[tuple[Cell, str | None]], k: int) -> dict[Cell, Cell | None]:
    """Say for every cell as which one it may be shown, so that each that is shown has at least k speakers.

    Memory grows with the number of different cells times k, not with speakers or fragments: of a cell that has k,
    no further speaker needs to be remembered.

    Args:
        seen: Cell and speaker of every fragment, in any order. A fragment whose speaker is not known counts for
            nobody, because it may be anyone's; only with k = 1 it is enough.
        k: How many speakers must share a cell, 1 or more.

    Returns:
        For every cell seen, the same or a wider one; None where its fragments must be held back.
    """
    speakers: dict[Cell, set[str]] = {}
    for cell, speaker in seen:
        known = speakers.setdefault(cell, set())
        if speaker is not None and len(known) < k:
            known.add(speaker)
    original = tuple(speakers)

    # From the finest up, so that a cell has met all who join it before it is judged.
    levels: dict[int, set[Cell]] = defaultdict(set)
    for cell in original:
        levels[_depth(cell)].add(cell)
    moved: dict[Cell, Cell | None] = {}
    for depth in range(max(levels, default=0), 0, -1):
        for cell in levels[depth]:
            if max(1, len(speakers[cell])) >= k:
                continue
            moved[cell] = parent = wider(cell)
            if parent is not None:
                speakers[parent] = speakers.get(parent, set()) | speakers[cell]
                levels[depth - 1].add(parent)
    return {cell: _followed(cell, moved) for cell in original}


def _depth(cell: Cell) -> int:
    depth = 0
    step: Cell | None = cell
    while step is not None:
        depth, step = depth + 1, wider(step)
    return depth


def _followed(cell: Cell, moved: dict[Cell, Cell | None]) -> Cell | None:
    step: Cell | None = cell
    while step is not None and step in moved:
        step = moved[step]
    return step
