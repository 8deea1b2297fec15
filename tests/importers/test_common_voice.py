"""Common Voice: its columns, and its accents, of which half are missing and others are three at once."""

from pathlib import Path
from typing import Any

import pytest

from asr.corpus.dialects import goes_with, tag_fault
from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.importers.common_voice import CommonVoiceOptions, import_common_voice
from asr.tables import read_table

ACCENTS = Path(__file__).parents[2] / "asr" / "importers" / "accents.tsv"
ROW = {"client_id": "c1", "path": "common_voice_fr_1.mp3", "sentence": "Oui.", "locale": "fr"}


def run(folder: Path, *rows: dict[str, str], **options: Any) -> list[Fragment | ManifestError]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["\t".join(columns), *("\t".join(row.get(name, "") for name in columns) for row in rows)]
    (folder / options.get("table", "validated.tsv")).write_text("\n".join(lines) + "\n", "utf-8")
    return list(import_common_voice(folder, CommonVoiceOptions(**options)))


def dialect(folder: Path, accents: str, locale: str = "fr", **row: str) -> tuple[str | None, Any]:
    (item,) = run(folder, ROW | {"locale": locale, "accents": accents, **row})
    assert isinstance(item, Fragment)
    return item.dialect, item.custom.get("unmapped", {}).get("dialect")


def test_a_row_of_a_release(tmp_path: Path) -> None:
    row = ROW | {
        "sentence_id": "9f", "sentence_domain": "", "up_votes": "2", "down_votes": "0", "age": "fourties",
        "gender": "female_feminine", "accents": "Français du Canada", "variant": "", "segment": "",
    }  # fmt: skip
    (fragment,) = run(tmp_path, row | {"sentence": 'Elle dit "oui".'})
    assert fragment == Fragment(
        id="common_voice_fr_1",
        audio=str(tmp_path / "clips" / "common_voice_fr_1.mp3"),
        text='Elle dit "oui".',
        language="fr",
        dialect="fr-CA",
        speaker="c1",
        gender="female",
        age_band="40-49",
        custom={
            "sentence_id": "9f",
            "up_votes": 2,
            "down_votes": 0,
            "source_values": {"accents": "Français du Canada", "age": "fourties", "gender": "female_feminine"},
        },
    )


@pytest.mark.parametrize(
    ("locale", "accents", "tag", "unmapped"),
    [
        ("fr", "", None, None),
        ("fr", "Français d’Algérie", "fr-DZ", None),
        ("fr", "français d'algérie", "fr-DZ", None),
        ("fr", "belgium", "fr-BE", None),
        ("fr", "du Jura", None, "du Jura"),
        ("fr", "Français de Suisse|du Jura", "fr-CH", ["du Jura"]),
        ("fr", "Français de Suisse, Français de Belgique", None, "Français de Suisse, Français de Belgique"),
        ("fr", "du Jura,du Vaud", None, ["du Jura", "du Vaud"]),
        ("en", "England English,Lancashire English", "en-GB-x-lancs", None),
        ("en", "Liverpool English,Lancashire English,England English", None,
         "Liverpool English,Lancashire English,England English"),
        ("en", "India and South Asia (India, Pakistan, Sri Lanka)", "en-034", None),
        ("en", "German English,Non native speaker", "en-DE", None),
        ("en", "Non native speaker", None, None),
        ("es", "Chileno: Chile, Cuyo", "es-CL", None),
        ("es", "México|Chileno: Chile, Cuyo", None, "México|Chileno: Chile, Cuyo"),
        ("de", "Schweizerdeutsch", "de-CH", None),
        ("br", "Français de France", None, "Français de France"),
    ],
)  # fmt: skip
def test_accents(tmp_path: Path, locale: str, accents: str, tag: str | None, unmapped: object) -> None:
    assert dialect(tmp_path, accents, locale) == (tag, unmapped)


def test_a_variant_may_be_a_tag_and_must_agree(tmp_path: Path) -> None:
    assert dialect(tmp_path, "", variant="fr-CH") == ("fr-CH", None)
    assert dialect(tmp_path, "Français de Suisse", variant="fr-CH") == ("fr-CH", None)
    assert dialect(tmp_path, "Français de Suisse", variant="fr-BE") == (None, "Français de Suisse")
    assert dialect(tmp_path, "", variant="en-GB") == (None, "en-GB")
    assert dialect(tmp_path, "", "ca", variant="Nord-occidental") == (None, "Nord-occidental")


def test_old_releases_say_accent(tmp_path: Path) -> None:
    (item,) = run(tmp_path, ROW | {"accent": "canada", "locale": "en"})
    assert isinstance(item, Fragment) and item.dialect == "en-CA"


def test_a_table_of_ones_own_goes_before(tmp_path: Path) -> None:
    own = tmp_path / "own.tsv"
    own.write_text("language\taccent\tdialect\nfr\tdu Jura\tfr-CH-x-jura\nfr\tFrançais de France\t-\n", "utf-8")
    jura, france = run(
        tmp_path, *(ROW | {"accents": name} for name in ("Du Jura", "Français de France")), accents=str(own)
    )
    assert isinstance(jura, Fragment) and jura.dialect == "fr-CH-x-jura"
    assert isinstance(france, Fragment) and france.dialect is None and "unmapped" not in france.custom
    own.write_text("language\taccent\tdialect\nfr\tdu Jura\tfr_CH\n", "utf-8")
    with pytest.raises(ManifestError, match=r"no BCP 47 tag.*own\.tsv:2"):
        run(tmp_path, ROW, accents=str(own))


def test_every_dialect_of_our_table_is_a_tag_of_its_language() -> None:
    rows = [row for _, row in read_table(ACCENTS, ("language", "accent", "dialect"))]
    keys = [(row["language"], row["accent"].casefold()) for row in rows]
    assert len(keys) > 200 and len(set(keys)) == len(keys)
    tags = {(row["language"], row["dialect"]) for row in rows if row["dialect"] != "-"}
    assert [tag for language, tag in tags if tag_fault(tag) or not goes_with(tag, language)] == []


@pytest.mark.parametrize(("table", "split"), [("train.tsv", "train"), ("dev.tsv", "dev"), ("other.tsv", None)])
def test_the_table_makes_the_split(tmp_path: Path, table: str, split: str | None) -> None:
    (item,) = run(tmp_path, ROW, table=table)
    assert isinstance(item, Fragment) and item.split == split


def test_labels_that_are_not_known_are_reported(tmp_path: Path) -> None:
    (item,) = run(tmp_path, ROW | {"age": "old", "gender": "?"})
    assert isinstance(item, Fragment) and item.custom == {"unmapped": {"age_band": "old", "gender": "?"}}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"c1\ta.mp3\tx", "3 columns where 4 are expected"),
        (b"c1\ta.mp3\tx\tfr\ty", "5 columns where 4 are expected"),
        (b"c1\t../../../etc/passwd\tx\tfr", "outside the corpus"),
        (b"c1\t/etc/passwd\tx\tfr", "outside the corpus"),
        (b"c1\tlink.mp3\tx\tfr", "outside the corpus"),
        (b"c1\ta.mp3\t\0\tfr", "NUL byte"),
        (b"c1\ta.mp3\t\xff\tfr", "not UTF-8"),
        (b"c1\ta.mp3\tx\t", "'language' is missing"),
        (b"c1\t\tx\tfr", "'id' is missing"),
    ],
)
def test_a_broken_row_is_named_and_the_rest_goes_on(tmp_path: Path, line: bytes, sentence: str) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "link.mp3").symlink_to("/etc/passwd")
    rows = [b"\t".join(name.encode() for name in ROW), b"c1\ta.mp3\tx\tfr", line, b"c1\tb.mp3\tx\tfr"]
    (tmp_path / "validated.tsv").write_bytes(b"\n".join(rows))
    first, fault, last = import_common_voice(tmp_path, CommonVoiceOptions())
    assert isinstance(first, Fragment) and isinstance(last, Fragment) and (first.id, last.id) == ("a", "b")
    assert isinstance(fault, ManifestError) and sentence in str(fault) and "validated.tsv:3)" in str(fault)


def test_what_is_no_table_of_clips_is_named(tmp_path: Path) -> None:
    (tmp_path / "validated.tsv").write_text("a\tb\n")
    with pytest.raises(ManifestError, match=r"must name the column 'path', it names a, b .*validated\.tsv:1"):
        list(import_common_voice(tmp_path, CommonVoiceOptions()))
    with pytest.raises(ManifestError, match=r"no such table.*train\.tsv"):
        list(import_common_voice(tmp_path, CommonVoiceOptions(table="train.tsv")))
