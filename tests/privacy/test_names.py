"""Names of people, and words that only look like them."""

import pytest

from asr.privacy.letters import spelled
from asr.privacy.names import names
from asr.privacy.spans import cut


def found(text: str, language: str) -> list[str]:
    words = cut(text)
    return [text[span.start : span.end] for span in names(words, language, spelled(words, language))]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("fr", "Je m'appelle Jean-Philippe de La Tour, et vous ?", ["Jean-Philippe de La Tour"]),
        ("fr", "Bonjour, ici Madame N'Diaye.", ["N'Diaye"]),
        ("fr", "C'est M. Xyzov à l'appareil", ["Xyzov"]),
        ("fr", "c'est michel à l'appareil", ["michel"]),
        ("fr", "je m'appelle nathalie perrin et j'appelle pour kevin", ["nathalie perrin", "kevin"]),
        ("fr", "Marchetti, M A R C H E T T I", ["Marchetti"]),
        ("fr", "Alors Marchetti, M A R C H E T T I", ["Marchetti"]),
        ("fr", "Ma sœur Zoulikha arrive.", ["Zoulikha"]),
        ("en", "Hello, my name is Fiona Mac Donald.", ["Fiona Mac Donald"]),
        ("en", "Mr. O'Connell and Dr Thwaites", ["O'Connell", "Thwaites"]),
        ("en", "This is Zbigniew Quux speaking.", ["Zbigniew Quux"]),
        ("en", "myself Rajesh Kulkarni", ["Rajesh Kulkarni"]),
        ("en", "good morning i am claire bennett from customer service", ["claire bennett"]),
        ("en", "It's Grant, ask for Rose.", ["Grant", "Rose"]),
        ("fr", "je suis content, je m'appelle toujours deux fois", []),
        ("fr", "Ici Paris. C'est Noël, madame la directrice.", []),
        ("fr", "La rue Claire est longue.", []),
        ("en", "call me later, this is great, i am tired", []),
        ("en", "Will you grant the extension in May? The Rose is in bloom.", []),
        ("en", "This is London calling.", []),
    ],
)
def test_names(language: str, text: str, expected: list[str]) -> None:
    assert found(text, language) == expected
