"""Lexicons: finding and rendering against a search that tries every place, broken lines, and the committed ones."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.corpus.dialects import tag_fault
from asr.errors import ManifestError
from asr.expressions import Entry, Lexicon, read_lexicon
from asr.importers.sentences import for_dialect, read_sentences

DATASETS = Path(__file__).parents[1] / "datasets"
COMMITTED = sorted((DATASETS / "expressions").glob("*.tsv"))
HEADER = "expression\tstandard\tambiguous\tmeaning\n"

BELGIAN = Lexicon(
    "fr-BE",
    (
        Entry("septante", "soixante-dix", "70"),
        Entry("septante-deux", "soixante-douze", "72"),
        Entry("à tantôt", "à tout à l'heure", "au revoir"),
        Entry("aubette", "abribus", "abri"),
        Entry("GSM", "portable", "téléphone"),
        Entry("dîner", "déjeuner", "repas de midi", ambiguous=True),
        Entry("cuberdon", None, "bonbon"),
        Entry("cœur", "chœur", "pour œ"),
    ),
)


@pytest.mark.parametrize(
    ("text", "found", "standard"),
    [
        ("", [], ""),
        ("Rien de tel.", [], "Rien de tel."),
        ("Septante euros", [("Septante", 0)], "Soixante-dix euros"),
        (
            "septante-deux, septante deux",
            [("septante-deux", 0), ("septante deux", 1)],
            "soixante-douze, soixante-douze",
        ),
        ("cent-septante", [("septante", 0)], "cent-soixante-dix"),
        ("sous l'aubette, sous l’aubette !", [("aubette", 1), ("aubette", 3)], "sous l'abribus, sous l’abribus !"),
        ("Bon.  À TANTÔT…", [("À TANTÔT", 1)], "Bon.  À tout à l'heure…"),
        ("À, tantôt", [], "À, tantôt"),
        ("A tantôt", [], "A tantôt"),
        (" Mon GSM. «\u00a0GSM\u00a0»", [("GSM", 1), ("GSM", 3)], " Mon portable. «\u00a0Portable\u00a0»"),
        ("septantes septante2 aseptante", [], "septantes septante2 aseptante"),
        ("Le dîner, un cuberdon", [("dîner", 1), ("cuberdon", 3)], "Le dîner, un cuberdon"),
        ("le coeur", [("coeur", 1)], "le chœur"),
        ("sep\u00adtante", [("sep\u00adtante", 0)], "soixante-dix"),
    ],
)
def test_what_is_found_and_rendered(text: str, found: list[tuple[str, int]], standard: str) -> None:
    assert [(one.text, one.start_word) for one in BELGIAN.find(text)] == found
    assert BELGIAN.standardise(text) == standard
    decomposed = unicodedata.normalize("NFD", text)
    assert [one.start_word for one in BELGIAN.find(decomposed)] == [word for _, word in found]


def test_an_expression_carries_its_standard_form_and_its_place() -> None:
    (one,) = BELGIAN.find("Bon, à tantôt !")
    assert (one.text, one.standard, one.start_word, one.end_word) == ("à tantôt", "à tout à l'heure", 1, 3)
    (one,) = BELGIAN.find("le dîner")
    assert one.standard == "déjeuner"
    assert "dîner" not in BELGIAN.leads and "cuberdon" in BELGIAN.leads


WORDS = ("a", "b", "c", "d")
phrases = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(tuple)


@settings(deadline=None)
@given(st.sets(phrases, max_size=6), st.lists(st.sampled_from(WORDS), max_size=12))
def test_the_leftmost_and_longest_is_found(entries: set[tuple[str, ...]], words: list[str]) -> None:
    lexicon = Lexicon("fr", tuple(Entry(" ".join(entry), "+".join(entry), "x") for entry in sorted(entries)))
    expected, rendered, at = [], [], 0
    while at < len(words):
        fitting = [entry for entry in entries if tuple(words[at : at + len(entry)]) == entry]
        longest = max(fitting, key=len, default=None)
        if longest is not None:
            expected.append((" ".join(longest), at))
        rendered.append("+".join(longest or words[at : at + 1]))
        at += len(longest or "1")
    text = " ".join(words)
    assert [(one.text, one.start_word) for one in lexicon.find(text)] == expected
    assert lexicon.standardise(text) == " ".join(rendered)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    for one in BELGIAN.find(text):
        assert one.start_word is not None
        assert one.text.split()[0] in text.split()[one.start_word]
    assert BELGIAN.find("") == ()
    BELGIAN.standardise(text)


def test_time_is_linear_in_the_text() -> None:
    # Every place begins the long entry and none completes it, the worst there is.
    lexicon = Lexicon("fr", (Entry("a " * 20 + "b", "x", "x"),))

    def seconds(words: int) -> float:
        times = []
        for _ in range(3):  # a collection of garbage in between may cost more than the search
            began = time.process_time()
            lexicon.find("a " * words)
            times.append(time.process_time() - began)
        return min(times)

    # Twenty times as long takes twenty times as long; in the square of the length it would take four hundred times.
    assert seconds(40_000) < 150 * seconds(2_000)


@pytest.mark.parametrize(
    ("language", "dialect", "served"),
    [
        ("fr", None, True),
        ("fr", "fr-BE", True),
        ("fr", "FR-be", True),
        ("fr", "fr-BE-x-liege", True),
        ("fr", "fr", True),
        ("fr", "fr-CH", False),
        ("en", None, False),
        ("en", "en-GB", False),
    ],
)
def test_whom_a_lexicon_serves(language: str, dialect: str | None, served: bool) -> None:
    assert BELGIAN.serves(language, dialect) is served


def write(folder: Path, *rows: str, name: str = "fr-BE.tsv") -> Path:
    path = folder / name
    path.write_text(HEADER + "".join(row.replace("|", "\t") + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_lexicon_is_read(tmp_path: Path) -> None:
    lexicon = read_lexicon(
        write(tmp_path, "septante|soixante-dix||70", "", "dîner|déjeuner|yes|repas", "kot|||chambre")
    )
    assert lexicon == Lexicon(
        "fr-BE",
        (
            Entry("septante", "soixante-dix", "70"),
            Entry("dîner", "déjeuner", "repas", ambiguous=True),
            Entry("kot", None, "chambre"),
        ),
    )
    assert read_lexicon(str(tmp_path / "fr-BE.tsv")).language == "fr"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["kot|||chambre", "septante|soixante-dix|70"], "3 columns where 4 are expected ({path}:3)"),
        (["kot|||"], "an entry needs an expression and its meaning ({path}:2)"),
        (["…|||points"], "an entry needs an expression and its meaning ({path}:2)"),
        (["kot||no|chambre"], "ambiguous is 'yes' or nothing, found 'no' ({path}:2)"),
        (["l'aubette|||abri", "", "L’Aubette|||abri"], "expression 'L’Aubette' is given twice; keep one ({path}:4)"),
        ([], "the lexicon has no entry ({path})"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, rows: list[str], sentence: str) -> None:
    path = write(tmp_path, *rows)
    with pytest.raises(ManifestError) as caught:
        read_lexicon(path)
    assert str(caught.value) == sentence.format(path=path)


def test_a_lexicon_without_a_dialect(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"a lexicon is named by its dialect, such as fr-CA\.tsv, but 'fr_BE': sub"):
        read_lexicon(write(tmp_path, "kot|||chambre", name="fr_BE.tsv"))


# ---- the committed lexicons


def test_there_is_one_per_dialect() -> None:
    assert [path.stem for path in COMMITTED] == ["en-GB-scotland", "en-IN", "fr-BE", "fr-CA", "fr-CH"]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_lexicon_holds_what_its_card_promises(path: Path) -> None:
    assert tag_fault(path.stem) is None
    lexicon = read_lexicon(path)  # which refuses an expression given twice
    assert len(lexicon.leads) >= 40
    for entry in lexicon.entries:
        assert entry.expression == unicodedata.normalize("NFC", entry.expression).replace("’", "'")
        assert lexicon.find(entry.expression)[0].text == entry.expression
        if entry.standard is not None:
            # Behind a word, where no sentence begins.
            rendered = entry.expression if entry.ambiguous else entry.standard
            assert lexicon.standardise(f"x {entry.expression}") == f"x {rendered}"
            assert entry.standard != entry.expression
            # What is rendered is standard: rendering it again changes nothing.
            assert lexicon.standardise(entry.standard) == entry.standard


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_rendering_leaves_standard_sentences_alone(path: Path) -> None:
    lexicon = read_lexicon(path)
    standard = {"fr": "fr-FR", "en": "en-GB"}[lexicon.language]
    for sentence in for_dialect(read_sentences(DATASETS / "synthetic" / f"sentences.{lexicon.language}.tsv"), standard):
        assert lexicon.standardise(sentence.text) == sentence.text


@pytest.mark.parametrize(("dialect", "share"), [("fr-BE", 0.8), ("fr-CH", 0.75), ("en-GB-scotland", 0.7)])
def test_renderings_are_those_of_the_synthetic_corpus(dialect: str, share: float) -> None:
    # The corpus was written before the lexicons, and also renders what is ambiguous.
    lexicon = read_lexicon(DATASETS / "expressions" / f"{dialect}.tsv")
    sentences = for_dialect(read_sentences(DATASETS / "synthetic" / f"sentences.{lexicon.language}.tsv"), dialect)
    of_dialect = [sentence for sentence in sentences if sentence.text_standard is not None]
    same = [lexicon.standardise(sentence.text) == sentence.text_standard for sentence in of_dialect]
    assert sum(same) >= share * len(of_dialect)
    for sentence in sentences:
        if sentence.text_standard is None:
            assert lexicon.standardise(sentence.text) == sentence.text
