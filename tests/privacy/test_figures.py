"""What numbers are, and what they are not."""

import pytest

from asr.privacy.figures import figures
from asr.privacy.spans import cut


@pytest.mark.parametrize(
    ("language", "text", "kind", "found"),
    [
        ("fr", "rappelle au zéro six, douze, trente, seize, onze", "PHONE", "zéro six, douze, trente, seize, onze"),
        ("fr", "C'est 06.44.12.80.93.", "PHONE", "06.44.12.80.93"),
        ("fr", "au plus trente-trois six douze vingt quatorze dix", "PHONE",
         "plus trente-trois six douze vingt quatorze dix"),
        ("en", "ring five five five, oh one four two", "PHONE", "five five five, oh one four two"),
        ("fr", "ma carte 4970 1012 3456 7890", "CARD", "4970 1012 3456 7890"),
        ("en", "the card ending in forty seven twelve", "CARD", "forty seven twelve"),
        ("fr", "mon IBAN est FR 76 trente mille six, douze trente-quatre", "IBAN",
         "FR 76 trente mille six, douze trente-quatre"),
        ("en", "GB82 WEST 1234 5698 7654 32", "IBAN", "GB82 WEST 1234 5698 7654 32"),
        ("en", "my postcode is L S two, nine J T", "POSTCODE", "L S two, nine J T"),
        ("en", "Leeds LS2 9JT", "POSTCODE", "LS2 9JT"),
        ("fr-CA", "au H2X 1Y4", "POSTCODE", "H2X 1Y4"),
        ("fr", "code postal trente-trois mille", "POSTCODE", "trente-trois mille"),
        ("en", "social security, one two three, four five, six seven", "ID", "one two three, four five, six seven"),
        ("en", "national insurance Q Q one two three four C", "ID", "Q Q one two three four C"),
    ],
)  # fmt: skip
def test_whose_number_it_is(language: str, text: str, kind: str, found: str) -> None:
    spans = [span for span in figures(cut(text), language[:2]) if span.type == kind]
    assert [text[span.start : span.end] for span in spans] == [found]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("fr", "mille deux cent cinquante euros"),
        ("fr", "un, deux, trois, quatre, cinq, six, sept, huit, neuf"),
        ("fr", "en mille neuf cent soixante-huit"),
        ("fr", "seize, dix-sept et dix-huit sur vingt"),
        ("fr", "trente-cinq mille deux cents habitants"),
        ("fr", "ma carte a cent points"),
        ("en", "one two three four five six seven eight"),
        ("en", "ten past three on the fourth of may two thousand"),
        ("en", "we called twenty two people"),
        ("en", "number twelve won in two hours ten"),
    ],
)
def test_nobody_s_number(language: str, text: str) -> None:
    assert figures(cut(text), language) == []
