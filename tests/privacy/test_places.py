"""Where people live, and when they were born."""

import pytest

from asr.privacy.places import births, streets
from asr.privacy.spans import cut


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("fr", "Au douze rue des Lilas, à Lyon.", ["douze rue des Lilas"]),
        ("fr", "habite 7 ter allée du Château d'Eau ici", ["7 ter allée du Château d'Eau"]),
        ("fr", "au dix-sept bis avenue du général leclerc à lyon", ["dix-sept bis avenue du général leclerc"]),
        ("fr", "huit rue du 8 mai 1945, 69003 Lyon", ["huit rue du 8 mai 1945", "69003"]),
        ("fr", "j'habite rue Pasteur", ["rue Pasteur"]),
        ("fr", "j'habite chemin des Vignes huit, à Morges", ["chemin des Vignes huit"]),
        ("fr", "la rue de Rivoli est fermée", []),
        ("fr", "une place de parking et un cours de dessin", []),
        ("fr", "deux places pour demain", []),
        ("fr", "je vis dans une petite rue tranquille", []),
        ("en", "I live at flat three, twenty two Queen's Road, Leeds", ["flat three, twenty two Queen's Road"]),
        ("en", "at forty one mill lane in ripon", ["forty one mill lane"]),
        ("en", "We live on Acacia Avenue", ["Acacia Avenue"]),
        ("en", "Oxford Street is closed", []),
        ("en", "That was a close call on a two way street.", []),
        ("en", "twelve long miles by road", []),
    ],
)
def test_streets(language: str, text: str, found: list[str]) -> None:
    assert [text[span.start : span.end] for span in streets(cut(text), language)] == found


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("fr", "née le trois juin quatre-vingt-douze à Lille", ["trois juin quatre-vingt-douze"]),
        ("fr", "ma date de naissance est le 04/03/1977", ["04/03/1977"]),
        ("fr", "né en mille neuf cent soixante-treize", ["mille neuf cent soixante-treize"]),
        ("fr", "née à Toulouse", []),
        ("fr", "la réunion est le vingt-six avril", []),
        ("en",
         "born on the fourth of March nineteen seventy seven in Hull", ["the fourth of March nineteen seventy seven"]),
        ("en", "my birthday is May 12, 1990", ["May 12, 1990"]),
        ("en",
         "date of birth? December the first two thousand and three.", ["December the first two thousand and three"]),
        ("en", "I was born in Sheffield", []),
        ("en", "we celebrate my birthday at home with three friends", []),
    ],
)  # fmt: skip
def test_births(language: str, text: str, found: list[str]) -> None:
    assert [text[span.start : span.end] for span in births(cut(text), language)] == found
