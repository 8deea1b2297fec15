"""The tables of the synthetic corpus: reading them, and what the committed ones promise."""

import itertools
import unicodedata
from pathlib import Path

import langcodes
import pytest

from asr.errors import ManifestError
from asr.importers.sentences import (
    for_dialect,
    pronounce,
    read_pronunciations,
    read_sentences,
    read_sounds,
    read_voices,
    respell,
)
from asr.importers.synthetic import ESPEAK_LANGUAGES

TEXTS = Path(__file__).parents[2] / "datasets" / "synthetic"
HEADER = "id\ttype\tdialects\ttext\ttext_standard\texpressions\n"


def _sentences(tmp_path, *rows):
    path = tmp_path / "sentences.tsv"
    path.write_text(HEADER + "".join(row.replace("|", "\t") + "\n" for row in rows), encoding="utf-8")
    return read_sentences(path)


def test_expressions_are_located(tmp_path):
    (one,) = _sentences(
        tmp_path, "a|question|fr-BE|À tantôt, mon GSM ?|À tout à l'heure ?|GSM=portable;À tantôt=plus tard"
    )
    assert [(e.text, e.standard, e.start_word, e.end_word) for e in one.expressions] == [
        ("GSM", "portable", 3, 4),
        ("À tantôt", "plus tard", 0, 2),
    ]


def test_the_closest_tag_wins(tmp_path):
    rows = _sentences(
        tmp_path,
        "a|statement|*|any||",
        "a|statement|en-GB|british||",
        "a|statement|en-GB-scotland|scots||",
        "b|statement|en-US|american||",
    )
    heard = {
        tag: [row.text for row in for_dialect(rows, tag)]
        for tag in ("en-GB", "en-GB-x-lancs", "en-GB-scotland", "en-US", "en-029")
    }
    assert heard == {
        "en-GB": ["british"],
        "en-GB-x-lancs": ["british"],
        "en-GB-scotland": ["scots"],
        "en-US": ["any", "american"],
        "en-029": ["any"],
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a|shout|*|Hello||"], r"type 'shout' .*\(.*sentences.tsv:2\)"),
        (["a|statement|*|Hello||", "a|statement|*|Bye||"], r"given twice for \* .*|given twice for \*; keep one"),
        (["a|statement|*|Hello||wee=small"], "expression 'wee' is not in the text"),
        (["a|statement|*|Hello wee||wee"], "must be written said=standard"),
        (["a|statement|*|Hello"], "4 columns where 6 are expected"),
        (["a|statement||Hello||"], "needs an id, a text and its dialects"),
    ],
)
def test_broken_rows_are_named(tmp_path, rows, message):
    with pytest.raises(ManifestError, match=message):
        _sentences(tmp_path, *rows)


def test_missing_and_headless_tables_are_named(tmp_path):
    with pytest.raises(ManifestError, match=r"cannot be read.*nowhere\.tsv"):
        read_voices(tmp_path / "nowhere.tsv")
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(ManifestError, match="the first line must name the columns variant, split, gender"):
        read_voices(tmp_path / "empty.tsv")


def test_voices_stand_on_one_side(tmp_path):
    path = tmp_path / "voices.tsv"
    path.write_text("variant\tsplit\tgender\nm1\ttrain\tmale\nm1\ttest\tmale\n")
    with pytest.raises(ManifestError, match="'m1' is given twice"):
        read_voices(path)
    path.write_text("variant\tsplit\tgender\nm1\tdevelopment\tmale\n")
    with pytest.raises(ManifestError, match="split 'development' is none of train, dev, test"):
        read_voices(path)


def test_respelling_touches_whole_words_only():
    assert respell("Kot, kots, l'KOT et kot-là", {"kot": "kotte"}) == "kotte, kots, l'kotte et kotte-là"


SOUNDS = "dialects\tspelling\tsound\tinstead\tsource\n"


def test_a_dialect_says_its_words_its_own_way(tmp_path):
    path = tmp_path / "sounds.tsv"
    path.write_text(SOUNDS + "fr-BE fr-CH\tuie$\t(i)$\t\\1:\tsome book\nfr-BE\t.\ty(?=i)\tw\tsome book\n")
    sounds = read_sounds(path)
    assert [sound.dialects for sound in sounds] == [("fr-BE", "fr-CH"), ("fr-BE",)]
    mnemonics = {"La": "la", "pluie": "plyi", "L'ami": "lami", "puis": "pyi", "PLUIE": "plyi"}
    heard = pronounce("La pluie, puis L'ami, PLUIE ?", sounds, mnemonics.__getitem__)
    assert heard == "La [[plwi:]], [[pwi]] L'ami, [[plwi:]] ?"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("fr-BE\t.\ty\tw\t", "and a source"),
        ("fr-BE\t(\ty\tw\tsome book", "a pattern of this row cannot be read: missing"),
    ],
)
def test_broken_sounds_are_named(tmp_path, row, message):
    (tmp_path / "sounds.tsv").write_text(SOUNDS + row + "\n")
    with pytest.raises(ManifestError, match=message + r".*sounds\.tsv:2"):
        read_sounds(tmp_path / "sounds.tsv")


# ---- the committed tables


@pytest.fixture(scope="module", params=["fr", "en"])
def language(request):
    return request.param


@pytest.fixture(scope="module")
def corpus(language):
    return read_sentences(TEXTS / f"sentences.{language}.tsv")


def test_there_are_enough_sentences(corpus):
    assert len({row.id for row in corpus}) >= 120
    types = [row.type for row in corpus]
    assert min(types.count("statement"), types.count("question")) >= 40


def test_every_dialect_speaks_every_sentence(corpus, language):
    wanted = {(row.id, row.type) for row in corpus}
    for dialect in ESPEAK_LANGUAGES:
        if dialect.startswith(language):
            assert {(row.id, row.type) for row in for_dialect(corpus, dialect)} == wanted


def test_dialects_are_language_tags(corpus, language):
    for tag in {tag for row in corpus for tag in row.dialects if tag != "*"} | set(ESPEAK_LANGUAGES):
        assert langcodes.tag_is_valid(tag), tag
    for tag in {tag for row in corpus for tag in row.dialects if tag != "*"}:
        assert tag in ESPEAK_LANGUAGES and tag.startswith(language), tag


def test_no_sentence_stands_under_two_ids(corpus):
    # Else it could stand on both sides of the split.
    def norm(text):
        return "".join(c for c in unicodedata.normalize("NFC", text.casefold()) if c.isalnum())

    owner: dict[str, str] = {}
    for row in corpus:
        assert owner.setdefault(norm(row.text), row.id) == row.id


def test_standard_renderings_differ_and_keep_the_mark(corpus):
    for row in corpus:
        assert row.text[-1] in ".?"
        assert (row.text[-1] == "?") == (row.type == "question") or "?" in row.text, row.id
        if row.text_standard is not None:
            assert row.text_standard != row.text
            assert row.text_standard[-1] == row.text[-1]
            assert row.expressions, f"{row.id}: says what differs"
        for expression in row.expressions:
            assert row.text_standard, row.id
            first = expression.standard.split()[0].lower()
            assert first in row.text_standard.lower(), (row.id, expression)


def test_numbers_are_words(corpus):
    assert not any(char.isdigit() for row in corpus for char in row.text)


def test_dialect_numbers_are_in_the_french_rows():
    french = read_sentences(TEXTS / "sentences.fr.tsv")
    for dialect, word, other in (("fr-BE", "septante", "huitante"), ("fr-CH", "huitante", "quatre-vingt")):
        texts = " ".join(row.text for row in for_dialect(french, dialect))
        assert word in texts and other not in texts.replace("quatre-vingts points", "")
    texts = " ".join(row.text for row in for_dialect(french, "fr-FR"))
    assert not any(word in texts for word in ("septante", "huitante", "nonante"))


def test_voices_and_pronunciations_are_usable():
    pytest.importorskip("espeakng_loader")
    from asr.importers.espeak import variants

    voices = read_voices(TEXTS / "voices.tsv")
    assert {voice.variant for voice in voices} <= variants()
    sides = {side: sum(voice.split == side for voice in voices) for side in ("train", "dev", "test")}
    assert sides["train"] >= 40 and sides["dev"] >= 10 and sides["test"] >= 10
    assert all(any(v.gender == "female" for v in voices if v.split == side) for side in sides)
    table = read_pronunciations(TEXTS / "pronunciations.tsv")
    for language, words in table.items():
        said = {
            word
            for row in read_sentences(TEXTS / f"sentences.{language}.tsv")
            for word in "".join(c if c.isalnum() else " " for c in row.text.lower()).split()
        }
        assert set(words) <= said, "a respelling of a word that nobody says"
    assert list(itertools.chain(*table.values()))


def test_every_sound_is_heard_in_its_dialects():
    pytest.importorskip("espeakng_loader")
    from asr.importers.espeak import phonemes

    french = read_sentences(TEXTS / "sentences.fr.tsv")
    for sound in read_sounds(TEXTS / "sounds.tsv"):
        for dialect in sound.dialects:
            voice = ESPEAK_LANGUAGES[dialect]
            heard = [
                pronounce(row.text, (sound,), lambda word, voice=voice: phonemes(word, voice))
                for row in for_dialect(french, dialect)
            ]
            assert any("[[" in text for text in heard), (sound, dialect)
