import json
from datetime import date
from pathlib import Path

import pytest

from asr.errors import ConfigError
from asr.privacy.holdings import Figure, count_held, figures_json, read_card, read_cards, read_figures

DATASETS = Path(__file__).parents[2] / "datasets"


def test_a_card_is_read_as_people_write_it(tmp_path: Path, card_text: str) -> None:
    (tmp_path / "README.md").write_text(card_text)
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


def test_consents_are_counted_as_they_are_today(consents: Path) -> None:
    held, broken = count_held([consents], date(2026, 3, 4))
    assert broken == 1 and held.keys() == {"hello"}
    found = held["hello"]
    assert (found.fragments, found.seconds, len(found.speakers)) == (6, 6 * 1800.0, 2)
    # Expire on 1 January of 2026, 27, 28 and 29; one has none, one was withdrawn and has no end.
    assert (found.without_consent, found.expired, found.withdrawn, found.endless) == (1, 1, 1, 1)
    assert found.expires == (date(2026, 1, 1), date(2029, 1, 1))
    assert found.purposes == {"training": 4}


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
