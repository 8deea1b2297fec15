"""Marked sentences, and scores by hand."""

from pathlib import Path

import pytest

from asr.errors import ManifestError
from asr.privacy.marked import Marked, parse, read_marked, tally
from asr.privacy.spans import Span

FOLDER = Path(__file__).parents[2] / "datasets" / "spoken_personal_data"


def test_marks_are_read() -> None:
    text, spans = parse("C'est [NAME Marie Dupont], au [PHONE zéro six].")
    assert text == "C'est Marie Dupont, au zéro six."
    assert [(text[span.start : span.end], span.type) for span in spans] == [
        ("Marie Dupont", "NAME"),
        ("zéro six", "PHONE"),
    ]
    for wrong in ("[NAM Marie]", "[NAME Marie", "{slot}", "[NAME [PHONE 1]]"):
        with pytest.raises(ManifestError):
            parse(wrong)


def test_scores() -> None:
    text, spans = parse("Ici [NAME Marie Dupont], rue X, au [PHONE un deux trois].")
    sentence = Marked(text, "fr", "fr", spans, 2)
    # "Dupont," and "X," and two of three figures.
    found = [Span(10, 16, "NAME", 1.0), Span(22, 23, "STREET", 1.0), Span(28, 36, "CARD", 1.0)]
    assert [text[span.start : span.end] for span in found] == ["Dupont", "X", "un deux "]
    counted = tally(sentence, found)
    assert counted.wanted == {"NAME": 2, "PHONE": 3}
    assert counted.hit == {"NAME": 1, "PHONE": 2}
    assert (counted.spans, counted.whole) == ({"NAME": 1, "PHONE": 1}, {"NAME": 0, "PHONE": 0})
    assert (counted.other, counted.masked) == (4, 1)
    everything = tally(sentence, [Span(0, len(text), "NAME", 1.0)])
    assert (everything.hit, everything.whole) == ({"NAME": 2, "PHONE": 3}, {"NAME": 1, "PHONE": 1})
    assert everything.masked == 4


def test_bare_is_the_same_words() -> None:
    text, spans = parse("Oui, d'[NAME Anne-Lise], au [PHONE 06.44] : « bien » !")
    bare = Marked(text, "fr", "fr", spans, 2).bare()
    assert bare.text == "oui d'anne-lise au 06 44 bien"
    assert [bare.text[span.start : span.end] for span in bare.spans] == ["anne-lise", "06 44"]


def test_the_same_seed_fills_in_the_same(tmp_path: Path) -> None:
    (tmp_path / "s.tsv").write_text("dialect\tsentence\nfr-CA\tMoé c'est [NAME {first}].\nen\tNothing here.\n", "utf-8")
    (tmp_path / "f.tsv").write_text("language\tslot\tvalue\nfr\tfirst\tLuc\nfr\tfirst\tAnne\n", "utf-8")
    one, two = (list(read_marked(tmp_path / "s.tsv", tmp_path / "f.tsv", seed=3, times=5)) for _ in range(2))
    assert one == two
    assert [(item.language, item.template) for item in one] == [("fr", 2)] * 5 + [("en", 3)]
    (tmp_path / "s.tsv").write_text("dialect\tsentence\nen\tIt's [NAME {first}].\n", "utf-8")
    with pytest.raises(ManifestError, match=r"no values.*s\.tsv:2"):
        list(read_marked(tmp_path / "s.tsv", tmp_path / "f.tsv"))


def test_the_set_is_what_its_card_says() -> None:
    texts = {}
    for part in ("dev", "heldout", "hard"):
        sentences = list(read_marked(FOLDER / f"{part}.sentences.tsv", FOLDER / f"{part}.fillers.tsv"))
        texts[part] = {sentence.text for sentence in sentences}
        templates = {sentence.template: not sentence.spans for sentence in sentences}
        assert sum(templates.values()) >= (0.2 if part == "hard" else 0.3) * len(templates)
        assert {sentence.language for sentence in sentences} == {"fr", "en"}
    assert sum(map(len, texts.values())) >= 400
    assert not texts["dev"] & texts["heldout"]
