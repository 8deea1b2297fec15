import json
import re
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from asr.errors import ConfigError
from asr.fragment import Fragment, write_manifest
from asr.privacy.page import to_html, to_markdown
from asr.privacy.register import (
    Figure,
    count_held,
    figures_json,
    make_register,
    read_card,
    read_cards,
    read_figures,
)

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=timezone.utc)
DATASETS = Path(__file__).parents[2] / "datasets"
CARD = """# hello [link](https://example.org)

Read `speech` of **few** people.

| | |
|---|---|
| source | a [place](https://example.org/a) |
| licence | CC0 1.0 (`CC0-1.0`) |
| consent | asked <script>alert(1)</script> |
| kept | until 2030 |
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    fragments = []
    for number in range(6):
        consent = {"id": f"c{number}", "purposes": ["training"], "expires": f"{2025 + number}-01-01"}
        fragments.append(
            Fragment(
                id=f"f{number}",
                audio=str(tmp_path / "a.wav"),
                text="oui",
                language="fr",
                duration=1800.0,
                speaker=f"speaker-{number % 2}",
                corpus="hello",
                consent=consent if number else None,  # type: ignore[arg-type]
            )
        )
    fragments[5] = fragments[5].replace(consent={"id": "c", "withdrawn": "2026-01-01"})
    write_manifest(fragments, tmp_path / "m.jsonl")
    with (tmp_path / "m.jsonl").open("a") as handle:
        handle.write("{broken\n")
    return tmp_path / "m.jsonl"


def test_a_card_is_read_as_people_write_it(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    card = read_card(tmp_path)
    assert (card.title, card.about) == ("hello link", "Read speech of few people.")
    assert card.stated["source"] == "a place"
    assert card.stated["licence"] == "CC0 1.0 (CC0-1.0)"
    assert card.stated["kept"] == "until 2030"


def test_every_card_of_this_repository_states_source_licence_and_consent() -> None:
    cards = {card.name: card for card in read_cards(DATASETS)}
    assert cards.keys() == {path.parent.name for path in DATASETS.glob("*/recipe.yaml")}
    for card in cards.values():
        assert {"source", "licence", "consent", "size"} <= card.stated.keys(), card.name


def test_consents_are_counted_as_they_are_today(manifest: Path) -> None:
    held, broken = count_held([manifest], date(2026, 3, 4))
    assert broken == 1 and held.keys() == {"hello"}
    found = held["hello"]
    assert (found.fragments, found.seconds, len(found.speakers)) == (6, 6 * 1800.0, 2)
    # Expire on 1 January of 2026, 27, 28 and 29; one has none, one was withdrawn and has no end.
    assert (found.without_consent, found.expired, found.withdrawn, found.endless) == (1, 1, 1, 1)
    assert found.expires == (date(2026, 1, 1), date(2029, 1, 1))
    assert found.purposes == {"training": 4}


def test_the_page_says_what_is_known_and_what_is_not(manifest: Path, tmp_path: Path, file_record: Any) -> None:
    (tmp_path / "README.md").write_text(CARD)
    # What came of an action is counted with it, and is no action of its own.
    file_record.append("annotate", why="transcripts", manifests=["a" * 64], details={"stage": "begin"})
    file_record.append("annotate", why="transcripts", manifests=["b" * 64], details={"stage": "end", "begun": 1})
    file_record.append("erase", why="a wish", details={"fragments": 3, "models": [{}], "recordings_removed": 2})
    figures = [Figure(name="recall", value=0.93, command="python scripts/x.py --seed 0", interval=(0.9, 0.96), n=240)]
    held, broken = count_held([manifest], NOW.date())
    card = read_card(tmp_path)
    page = make_register(
        file_record.entries(), [card], held, figures, now=NOW, controller="A lab", chain="It holds.", broken=broken
    )
    text = to_markdown(page)
    rows = {
        tuple(cell.strip() for cell in line.strip("|").split("|")) for line in text.splitlines() if line.startswith("|")
    }
    assert ("tester", "annotate", "1", "1", "2026-01-02", "2026-01-02") in rows
    assert ("2026-01-02", "annotate", "1", "tester", "transcripts", "train.jsonl", "2") in rows
    assert ("2026-01-02", "erase", "1", "tester", "a wish", "", "0") in rows
    assert ("recall", "0.93", "0.9 to 0.96", "240", "python scripts/x.py --seed 0") in rows
    assert ("hello", "not stated", "2026-01-01 to 2029-01-01", "1", "1", "2") in rows
    assert "3 fragments, 2 recordings removed, ? silenced in part; trained on them: 1 model files" in text
    assert "A lab" in text and "It holds." in text and "1 lines of the manifests cannot be read" in text
    # Nobody is named.
    assert "speaker-0" not in text and "speaker-0" not in to_html(page)


def test_a_page_of_nothing_is_a_page(tmp_path: Path) -> None:
    text = to_markdown(make_register([], [], {}, now=NOW))
    assert "not stated" in text and "The record is empty." in text and "Nobody by the record." in text
    assert text.count("\n## ") == 9


def test_what_others_wrote_is_shown_and_not_run(tmp_path: Path, file_record: Any) -> None:
    (tmp_path / "README.md").write_text(CARD)
    file_record.append("listen", why="<script>alert(2)</script>", manifests=[])
    figure = Figure(name="<img src=x onerror=alert(3)>", value="<b>", command="`x` | <script>")
    page = make_register(file_record.entries(), [read_card(tmp_path)], {}, [figure], now=NOW, controller="<i>me</i>")
    html = to_html(page)
    assert not re.search(r"<(script|img|i|b)[ >]", html)
    for number in (1, 2):
        assert f"&lt;script&gt;alert({number})&lt;/script&gt;" in html


def test_figures_need_their_command(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    figure = Figure(name="recall", value=0.93, command="python scripts/x.py", interval=(0.9, 0.96), n=240)
    path.write_text(figures_json([figure]))
    assert read_figures(path) == (figure,)
    path.write_text(json.dumps([{"name": "recall", "value": 0.9}]))
    with pytest.raises(ConfigError, match=r"0\.command"):
        read_figures(path)
    for broken in ("", "{}", "[1]"):
        path.write_text(broken)
        with pytest.raises(ConfigError, match="no list of figures"):
            read_figures(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_figures(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="--datasets"):
        list(read_cards(tmp_path / "none"))
