"""Digits become the words that a speaker of the dialect says."""

import re

import pytest
from num2words import num2words

from asr.text.numbers import read_long_numbers, read_plain_numbers, readings

FRENCH = {
    # number: (standard, Belgium, Switzerland)
    1: ("un", "un", "un"),
    60: ("soixante", "soixante", "soixante"),
    70: ("soixante dix", "septante", "septante"),
    71: ("soixante et onze", "septante et un", "septante et un"),
    79: ("soixante dix neuf", "septante neuf", "septante neuf"),
    80: ("quatre vingts", "quatre vingts", "huitante"),
    81: ("quatre vingt un", "quatre vingt un", "huitante et un"),
    88: ("quatre vingt huit", "quatre vingt huit", "huitante huit"),
    90: ("quatre vingt dix", "nonante", "nonante"),
    91: ("quatre vingt onze", "nonante et un", "nonante et un"),
    99: ("quatre vingt dix neuf", "nonante neuf", "nonante neuf"),
    191: ("cent quatre vingt onze", "cent nonante et un", "cent nonante et un"),
    424: ("quatre cent vingt quatre",) * 3,
    1971: (
        "mille neuf cent soixante et onze",
        "mille neuf cent septante et un",
        "mille neuf cent septante et un",
    ),
    80_000: ("quatre vingt mille", "quatre vingt mille", "huitante mille"),
    75_092: (
        "soixante quinze mille quatre vingt douze",
        "septante cinq mille nonante deux",
        "septante cinq mille nonante deux",
    ),
    1_000_000: ("un million",) * 3,
}


@pytest.mark.parametrize("number", FRENCH)
def test_french_in_three_countries(number: int) -> None:
    spoken = [readings("fr", region)[0].cardinal(number) for region in ("FR", "BE", "CH")]
    assert tuple(spoken) == FRENCH[number]


@pytest.mark.parametrize("region", ["BE", "CH"])
def test_regional_tens_follow_the_pattern_of_the_common_ones(region: str) -> None:
    """Septante counts on like soixante does below seventy, wherever in a number it stands."""
    speak = readings("fr", region)[0].cardinal
    for base, ten in ((70, "septante"), (90, "nonante")):
        for unit in range(10):
            sixty = speak(60 + unit)
            for offset in (0, 100, 12_000, 68_000_000):
                prefix = "" if offset == 0 else speak(offset) + " "
                assert speak(offset + base + unit) == prefix + sixty.replace("soixante", ten)


@pytest.mark.parametrize("language", ["fr", "es", "de", "it", "pt", "nl"])
def test_the_standard_reading_is_num2words_without_hyphens(language: str) -> None:
    for number in (0, 7, 21, 100, 180, 1234, 50_000, 10**12):
        expected = re.sub("[- ]+", " ", num2words(number, lang=language)).casefold().replace("éé", "ee")
        assert readings(language)[0].cardinal(number) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10 000 euros", "dix mille euros"),
        ("1.000.000", "un million"),
        ("10'000", "dix mille"),
        ("10 000,5", "dix mille virgule cinq"),
        ("3,14 et 0,05", "trois virgule quatorze et zéro virgule zéro cinq"),
        ("3.5", "trois virgule cinq"),
        ("06 12 34", "zéro six douze trente quatre"),
        ("514 555 1234", "cinq cent quatorze cinq cent cinquante cinq mille deux cent trente quatre"),
        ("1234567890123456", "un deux trois quatre cinq six sept huit neuf zéro un deux trois quatre cinq six"),
        ("le 1er, la 1re, le 21e, la 3ème", "le premier , la première , le vingt et unième , la troisième"),
        ("mp3 a4", "mp3 a4"),
        ("80e", "quatre vingtième"),
    ],
)
def test_numbers_in_a_french_text(text: str, expected: str) -> None:
    numerals = readings("fr")[0]
    spoken = read_plain_numbers(read_long_numbers(text, numerals), numerals)
    assert " ".join(spoken.split()) == expected


def test_a_german_year_has_two_readings() -> None:
    assert [reading.cardinal(1984) for reading in readings("de")] == [
        "eintausendneunhundertvierundachtzig",
        "neunzehnhundertvierundachtzig",
    ]


def test_brazil_reads_its_own_way_first() -> None:
    assert [reading.cardinal(16) for reading in readings("pt", "BR")] == ["dezesseis", "dezasseis"]
    assert readings("pt", "BR")[0].cardinal(1999) == "mil novecentos e noventa e nove"


def test_congo_counts_as_belgium_does() -> None:
    assert readings("fr", "CD")[0].cardinal(90) == "nonante"


def test_other_languages_have_no_reading() -> None:
    assert readings("sv") == ()
