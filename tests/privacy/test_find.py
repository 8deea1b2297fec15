"""All finders together: the goals on the sentences, what Presidio adds, and what it must not do."""

import logging
import socket
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError, MissingExtraError
from asr.privacy import find
from asr.privacy.find import find_spans, presidio_spans
from asr.privacy.marked import read_marked, tally

FOLDER = Path(__file__).parents[2] / "datasets" / "spoken_personal_data"


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("part", ["dev", "heldout"])
def test_the_goals_hold(part: str, bare: bool) -> None:
    sentences = list(read_marked(FOLDER / f"{part}.sentences.tsv", FOLDER / f"{part}.fillers.tsv"))
    for language in ("fr", "en"):
        form = [one.bare() if bare else one for one in sentences if one.language == language]
        tallies = [tally(one, find_spans(one.text, language)) for one in form]
        wanted = sum(sum(one.wanted.values()) for one in tallies)
        hit = sum(sum(one.hit.values()) for one in tallies)
        other, masked = sum(one.other for one in tallies), sum(one.masked for one in tallies)
        assert wanted > 200 and other > 500
        assert hit >= 0.90 * wanted
        assert masked <= 0.05 * other


def test_another_filling_does_as_well() -> None:
    sentences = read_marked(FOLDER / "heldout.sentences.tsv", FOLDER / "heldout.fillers.tsv", seed=7, times=1)
    tallies = [tally(one, find_spans(one.text, one.language)) for one in sentences]
    assert sum(sum(one.hit.values()) for one in tallies) >= 0.90 * sum(sum(one.wanted.values()) for one in tallies)


@pytest.mark.parametrize(
    ("language", "text", "kind", "found"),
    [
        ("fr", "Écris à claire.fontaine@exemple.fr, merci.", "EMAIL", "claire.fontaine@exemple.fr"),
        ("en", "write to info@mail.example.co.uk", "EMAIL", "info@mail.example.co.uk"),
        ("fr", "La carte 4970101234567890.", "CARD", "4970101234567890"),
        ("en", "GB33BUKB20201555555555", "IBAN", "GB33BUKB20201555555555"),
        ("fr", "Hier Zéphirine Kowalczyk est venue à Paris.", "NAME", "Zéphirine Kowalczyk"),
    ],
)
def test_what_is_written(language: str, text: str, kind: str, found: str) -> None:
    assert [(text[span.start : span.end], span.type) for span in find_spans(text, language)] == [(found, kind)]


def test_presidio_alone_knows_no_spoken_number() -> None:
    text = "mon numéro c'est zéro six douze trente-quatre cinquante-six dix"
    assert presidio_spans(text, "fr") == ()
    assert [span.type for span in find_spans(text, "fr")] == ["PHONE"]


@pytest.mark.parametrize(
    "text", ["[PHONE]", "Appelle [NAME] au [PHONE].", "au [STREET], [POSTCODE] Lyon", "j'habite rue [STREET]"]
)
def test_earlier_masks_are_left_alone(text: str) -> None:
    assert find_spans(text, "fr") == ()


def test_what_stands_beside_an_earlier_mask_is_found() -> None:
    text = "Je m'appelle Marie [NAME] Dupont."
    assert [text[span.start : span.end] for span in find_spans(text, "fr")] == ["Marie"]


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["[NAME]", "Marie", "06 12", "a@b.fr", "\x00", "’", " "])).map("".join)
)
@settings(max_examples=25, deadline=None)
def test_any_text_gives_spans_in_order_outside_masks(text: str) -> None:
    masked = [place for match in find.MASK.finditer(text) for place in range(*match.span())]
    end = 0
    for span in find_spans(text, "fr"):
        assert end <= span.start < span.end <= len(text)
        assert not text[span.start].isspace() and not text[span.end - 1].isspace()
        assert not set(masked) & set(range(span.start, span.end))
        end = span.end


def test_a_long_text_takes_its_time_and_no_more() -> None:
    text = "a.b- x@y 06 12 " * 2_500
    begin = time.process_time()
    find_spans(text, "en")
    assert time.process_time() - begin < 20
    beyond = "rien " * 3_000 + "claire@exemple.fr"
    assert [beyond[span.start : span.end] for span in presidio_spans(beyond, "fr")] == ["claire@exemple.fr"]


def test_nothing_is_fetched_and_no_text_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    find._analyzer.cache_clear()
    with caplog.at_level(logging.INFO):
        assert find_spans("write to zebulon@example.org", "en")
        assert find_spans("Je suis Zébulon Kowalczyk.", "fr")
    assert "kowalczyk" not in caplog.text.lower() and "example" not in caplog.text


def test_other_languages_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"French \(fr\) and English \(en\), not in 'de'"):
        find_spans("Ich heiße Anna.", "de")


@pytest.mark.parametrize("package", ["presidio_analyzer", "spacy"])
def test_a_missing_extra_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    find._analyzer.cache_clear()
    with pytest.raises(MissingExtraError, match=r"dialect-asr\[privacy\]"):
        presidio_spans("bonjour", "fr")
