"""What is spelled, and e-mail addresses that are read out."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.privacy.letters import emails, read_letter, spelled
from asr.privacy.spans import Span, cut


def quoted(text: str, spans: list[Span]) -> list[str]:
    return [text[span.start : span.end] for span in spans]


@given(st.text(alphabet=string.ascii_uppercase, min_size=4, max_size=12), st.sampled_from([" ", ", ", "-"]))
def test_letters_are_found_whatever_parts_them(letters: str, between: str) -> None:
    written = between.join(letters)
    text = f"So it is spelled {written}, right?"
    found = quoted(text, spelled(cut(text), "en"))
    assert found == [written] or letters.lower() in ("sncf", "ratp")


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("fr", "je l'épelle, M comme Marie, deux L, double u, e accent aigu.",
         "M comme Marie, deux L, double u, e accent aigu"),
        ("fr", "D tiret i grec L", "D tiret i grec L"),
        ("en", "that is W for whiskey, double L, zed", "W for whiskey, double L, zed"),
        ("en", "B as in Bravo, Y", "B as in Bravo, Y"),
        ("fr", "il y a deux places", None),
        ("fr", "C'est l'été, j'y suis.", None),
        ("fr", "la S N C F est en grève", None),
        ("en", "I have a B and a C", None),
        ("en", "it's a U turn", None),
    ],
)  # fmt: skip
def test_spelling(language: str, text: str, found: str | None) -> None:
    assert quoted(text, spelled(cut(text), language)) == ([] if found is None else [found])


def test_letters_carry_what_they_mean() -> None:
    assert read_letter(cut("double u"), 0, "en") == (2, "w", False)
    assert read_letter(cut("triple l"), 0, "en") == (2, "lll", False)
    assert read_letter(cut("M comme Marie"), 0, "fr") == (3, "m", True)
    assert read_letter(cut("maison"), 0, "fr") is None


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("fr", "Mon mail c'est claire point fontaine arobase gmail point com.",
         "claire point fontaine arobase gmail point com"),
        ("fr", "écris à luc tiret b arobase la poste point net demain", "luc tiret b arobase la poste point net"),
        ("fr", "c'est p, a, u, l, arobase free point fr", "p, a, u, l, arobase free point fr"),
        ("fr", "gagnon a commercial videotron point ca", "gagnon a commercial videotron point ca"),
        ("fr", "envoie à luc arobase orange", "luc arobase orange"),
        ("fr", "le point fort, c'est le site example point com", None),
        ("en", "write to dan forty two at mail dot example dot co dot uk, please",
         "dan forty two at mail dot example dot co dot uk"),
        ("en", "it is dan_b @ example.com", "dan_b @ example.com"),
        ("en", "look at example dot com", None),
        ("en", "meet me at the dot", None),
        ("en", "at dot com", None),
    ],
)  # fmt: skip
def test_emails(language: str, text: str, found: str | None) -> None:
    assert quoted(text, emails(cut(text), language)) == ([] if found is None else [found])
