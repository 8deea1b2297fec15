"""Spoken numbers against num2words, which says them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from num2words import num2words

from asr.privacy.digits import read_group, runs
from asr.privacy.spans import cut


@given(st.integers(0, 999_999), st.sampled_from(["fr", "fr_BE", "fr_CH", "en"]), st.booleans())
def test_a_number_is_read_as_num2words_says_it(number: int, voice: str, hyphens: bool) -> None:
    said = num2words(number, lang=voice).replace(",", "")
    said = said if hyphens else said.replace("-", " ")
    words = cut(said)
    group = read_group(words, 0, voice[:2])
    assert group is not None
    assert (group.digits, group.last) == (str(number), len(words))


@given(st.lists(st.integers(0, 9_999), min_size=1, max_size=6), st.sampled_from(["fr", "en"]))
def test_numbers_with_pauses_stay_apart(numbers: list[int], language: str) -> None:
    words = cut(", ".join(num2words(number, lang=language).replace(",", "") for number in numbers))
    (run,) = runs(words, language)
    assert [int(group.digits) for group in run.groups] == numbers
    assert (run.first, run.last) == (0, len(words))


@pytest.mark.parametrize(
    ("language", "said", "digits"),
    [
        ("fr", "zéro six douze double zéro, quarante-deux", "06120042"),
        ("fr", "zéro six euh dix-sept", "0617"),
        ("fr", "06 quatre-vingt-onze 3", "06913"),
        ("fr-CH", "septante-neuf, huitante et un, nonante", "798190"),
        ("en", "oh seven double four triple six", "0744666"),
        ("en", "seven hundred, nine hundred, four", "7009004"),
        ("en", "treble two nought", "2220"),
    ],
)
def test_what_no_number_book_says(language: str, said: str, digits: str) -> None:
    (run,) = runs(cut(said), language[:2])
    assert run.digits == digits


def test_sentences_and_words_part_runs() -> None:
    assert [run.digits for run in runs(cut("J'en ai deux. Trois sont là, et cinq ici."), "fr")] == ["2", "3", "5"]
    assert runs(cut("rien de tel, double jeu"), "fr") == []


def test_counting_is_seen() -> None:
    assert runs(cut("seize, dix-sept, dix-huit"), "fr")[0].counting
    assert not runs(cut("seize, dix-sept, vingt"), "fr")[0].counting
