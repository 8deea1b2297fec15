"""Normalisers keep what a dialect writes and drop only what nobody pronounces."""

import subprocess
import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.text import get_normalizer

OURS = ["fr", "es", "de", "it", "pt", "nl", "tr", "hi", "zh", "th"]

TABLE = {
    "fr": {
        "L’homme, aujourd'hui : « C’est l'été ! »": "l'homme aujourd'hui c'est l'été",
        "L´homme et l`eau, d＇ici": "l'homme et l'eau d'ici",
        "Est-ce qu'il y a quatre-vingt-dix rendez-vous ?": "est ce qu'il y a quatre vingt dix rendez vous",
        "y'a p'tit gars, j'sais pas, t'as-tu vu": "y'a p'tit gars j'sais pas t'as tu vu",
        "septante, huitante, nonante": "septante huitante nonante",
        "'bonjour' dit-il, l' homme quat'": "bonjour dit il l'homme quat",
        "Euh… le cœur – le cœur": "euh le coeur le coeur",
        "e\u0301te\u0301 fi\u00adnal": "été final",
        "[rires] bonjour (bis) <bruit>": "bonjour",
        "À 14h30, 100 % & 3 €": "à quatorze heures trente cent pour cent et trois euros",
        "Île Ça ÉCOLE": "île ça école",
        "...": "",
    },
    "de": {
        "Die Straße, STRASSE, ẞ": "die strasse strasse ss",
        "Geht’s? Hab' ich Äpfel-Öl": "geht's hab ich äpfel öl",
        "i han's gseit, grüezi": "i han's gseit grüezi",
    },
    "es": {
        "¿Qué hora es, Ñandú?": "qué hora es ñandú",
        "¡Pingüino! 21 más": "pingüino veintiuno más",
    },
    "it": {"L’uomo, un po' perché; dell' arte": "l'uomo un po perché dell'arte"},
    "pt": {"Não, São-João às 2": "não são joão às dois"},
    "nl": {"Zo'n één, Eén en 1 's avonds": "zo'n een een en een s avonds"},
    "tr": {"IŞIK İstanbul": "ışık istanbul"},
    "hi": {"किताब है।": "किताब है"},
    "ar": {"كِتَابٌ، هل؟": "كِتَابٌ هل"},
    "lt": {"İ ir": "i ir"},
    "zh": {"你好，世界。": "你 好 世 界"},
    "th": {"กี่ดี": "กี่ ดี"},
}


@pytest.mark.parametrize(
    ("language", "text", "expected"), [(lang, *pair) for lang, table in TABLE.items() for pair in table.items()]
)
def test_what_a_text_becomes(language: str, text: str, expected: str) -> None:
    assert get_normalizer(language)(text) == unicodedata.normalize("NFC", expected)


@pytest.mark.parametrize(
    ("language", "name"),
    [("fr", "french-1"), ("es", "spanish-1"), ("de", "german-1"), ("sv", "plain-1"), ("ja", "letters-1")],
)
def test_the_name_says_which_rules(language: str, name: str) -> None:
    assert get_normalizer(language).name == name


def test_a_dialect_reads_digits_its_own_way_and_may_be_heard_in_any() -> None:
    belgian = get_normalizer("fr", "fr-BE")
    assert belgian("90 francs") == "nonante francs"
    assert get_normalizer("fr", "fr-CH-x-vaud")("90, 80") == "nonante huitante"
    assert get_normalizer("fr", "fr-x-be")("90") == "quatre vingt dix"
    assert belgian.renderings("80") == ("quatre vingts", "huitante")
    assert belgian.renderings("quatre-vingt-dix") == ("quatre vingt dix",)
    assert belgian.name == get_normalizer("fr").name


def test_a_word_for_a_number_is_never_another_word() -> None:
    for dialect in (None, "fr-BE", "fr-CH", "fr-CA"):
        assert get_normalizer("fr", dialect).renderings("septante nonante huitante soixante-dix") == (
            "septante nonante huitante soixante dix",
        )


@pytest.mark.parametrize("language", OURS)
@settings(max_examples=60, deadline=None)
@given(text=st.text() | st.text(alphabet="019aéíİŉßœ ,.'’´()[]<-%€h\u0301\u200d²½"))
@example(text="1.2.3 / 10 000,5 1'a i\u0307\u0301 l' 'a' ¨'é' 1\ufe0f\u20e3")
def test_normalising_twice_changes_nothing(language: str, text: str) -> None:
    normalize = get_normalizer(language)
    for once in normalize.renderings(text):
        assert normalize(once) == once
        assert once == " ".join(once.split())
        assert all(unicodedata.category(char)[0] in "LMN" for char in once if char not in " '")


@pytest.mark.parametrize(
    ("language", "text"),
    [(language, text) for language in OURS for text in ("", "  ", "…?!", "\u200b")] + [("en", ""), ("en", " ?! ")],
)
def test_nothing_stays_nothing(language: str, text: str) -> None:
    assert get_normalizer(language)(text) == ""


@settings(max_examples=100, deadline=None)
@given(text=st.text() | st.text(alphabet="0123456789.,$€£%¢ -'’abcdefghin ²½"))
def test_english_is_whispers_own(text: str) -> None:
    from whisper.normalizers import EnglishTextNormalizer

    normalize = get_normalizer("en", "en-IN")
    assert normalize.name.startswith("whisper-english-")
    typed = text
    for curly in "’‘‛ʼʻʹˈ′‵`´＇":
        typed = typed.replace(curly, "'")
    assert normalize(text) == EnglishTextNormalizer()(typed).strip()
    assert normalize.renderings(text) == (normalize(text),)


def test_english_keeps_a_typographic_apostrophe() -> None:
    assert get_normalizer("en")("I don’t, Mr. Smith: it’s twenty-one") == "i do not mister smith it is 21"


def test_only_english_needs_torch() -> None:
    code = "import sys; from asr.text import get_normalizer as g; g('fr')('a 90'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
