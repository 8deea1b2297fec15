from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from asr.errors import ConfigError
from asr.privacy.cells import Cell
from asr.privacy.drafts import Drafts

STATE = {"key": "a", "manifest": "b"}
CANADA, FRANCE = Cell("fr", "fr-CA", "f", None), Cell("fr", "fr-FR", None, "20-29")


@pytest.fixture
def drafts(tmp_path: Path) -> Iterator[Drafts]:
    with Drafts(tmp_path / "drafts.sqlite", STATE) as made:
        yield made


def fill(drafts: Drafts, count: int = 1000) -> list[dict[str, str]]:
    rows = [{"id": f"{n * 7919 % 1009:04d}", "text": f"\ud800 {n}", "speaker": f"s{n % 7}"} for n in range(count)]
    for n, row in enumerate(rows):
        if n % 10 == 0:
            del row["speaker"]
        drafts.add(n + 1, CANADA if n % 3 else FRANCE, row)
    return rows


def test_rows_come_back_by_id_and_by_speaker(drafts: Drafts) -> None:
    rows = fill(drafts)
    cells = [CANADA if n % 3 else FRANCE for n in range(len(rows))]
    expected = sorted(zip(cells, rows, strict=True), key=lambda pair: pair[1]["id"])
    assert list(drafts.by_id()) == expected
    found = list(drafts.by_speaker())
    assert Counter({(speaker, cell): count for speaker, cell, count in found}) == Counter(
        (row.get("speaker"), cell) for cell, row in zip(cells, rows, strict=True)
    )
    assert len(found) == 16 and [row[0] for row in found] == sorted((row[0] for row in found), key=lambda s: s or "")
    assert drafts.line_of(rows[41]["id"]) == 42 and drafts.cell_of(rows[42]["id"]) == FRANCE
    assert drafts.line_of("x") is None and drafts.cell_of("x") is None


def test_an_error_takes_no_row_back(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Drafts(tmp_path / "d", STATE) as drafts:
        fill(drafts, 301)
        raise KeyboardInterrupt
    with Drafts(tmp_path / "d", STATE) as drafts:
        assert len(list(drafts.by_id())) == 301


@pytest.mark.parametrize("name", STATE)
def test_rows_of_another_key_or_manifest_are_not_gone_on_with(tmp_path: Path, name: str) -> None:
    with Drafts(tmp_path / "d", STATE) as drafts:
        fill(drafts, 3)
    with pytest.raises(ConfigError, match=f"begun with another {name}; use that one, or remove the folder"):
        Drafts(tmp_path / "d", STATE | {name: "c"})
    with Drafts(tmp_path / "d", STATE) as drafts:
        assert len(list(drafts.by_id())) == 3


def test_two_cannot_write_at_once(tmp_path: Path) -> None:
    with Drafts(tmp_path / "d", STATE) as drafts:
        with pytest.raises(ConfigError, match="another process is writing"):
            Drafts(tmp_path / "d", STATE)
        fill(drafts, 3)
