"""The Asterisk prompts: real lists in small, with a made-up apt-get; nothing is downloaded."""

import gzip
import logging
import stat
from collections.abc import Callable
from pathlib import Path

import langcodes
import pytest

from asr.errors import AsrError, ConfigError
from asr.fragment import Fragment
from asr.importers.asterisk import DIALECTS, AsteriskOptions, fetch, import_asterisk, sentence_keys
from asr.importers.recipe import read_recipe

RECIPE = Path(__file__).parents[2] / "datasets" / "asterisk_prompts" / "recipe.yaml"
BYTES_PER_SECOND = 8000  # of G.722

LIST = """\
; Core Asterisk Sounds in French

agent-pass: Composez votre numero  suivi du dièse.
agent-user: “Ouverture de session. Composez votre numéro suivi du dièse.”
beep: [tones]
conf-in: Pour quitter la conférence...
conf-out: ...pour quitter la conférence
digits/7: sept
dir-welcome:
for: Pour (emphase)
letters/a: a
lost: perdu depuis longtemps
sorry: Nous somme desolé
twice: une fois
twice: deux fois
vm-intro: Laissez un message. (bip)
"""


def corpus(root: Path, listing: str = LIST, seconds: float = 1.5, **other_seconds: float) -> Path:
    """Unpack what the two French packages would have: every prompt that is listed but 'lost', and 'silence/1'."""
    documents = root / "asterisk-core-sounds-fr/usr/share/doc/asterisk-core-sounds-fr"
    documents.mkdir(parents=True)
    (documents / "core-sounds-fr.txt.gz").write_bytes(gzip.compress(listing.encode()))
    sounds = root / "asterisk-core-sounds-fr-g722/usr/share/asterisk/sounds/fr_CA_f_Someone"
    names = {line.partition(":")[0] for line in listing.splitlines() if line and line[0] != ";"} - {"lost"}
    for name in (*names, "silence/1"):
        file = sounds / f"{name}.g722"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(int(BYTES_PER_SECOND * other_seconds.get(name, seconds))))
    return root


def imported(root: Path, **options: object) -> dict[str, Fragment]:
    fragments = import_asterisk(root, AsteriskOptions(languages=("fr",), **options))  # type: ignore[arg-type]
    return {fragment.id: fragment for fragment in fragments}


def test_a_prompt_becomes_a_fragment(tmp_path: Path) -> None:
    fragment = imported(corpus(tmp_path))["fr-CA/digits/7"]
    assert (fragment.text, fragment.language, fragment.dialect) == ("sept", "fr", "fr-CA")
    assert (fragment.speaker, fragment.gender, fragment.licence) == ("asterisk-fr-CA", "female", "CC-BY-SA-3.0")
    assert fragment.duration == pytest.approx(1.5)
    assert Path(fragment.audio).is_file()
    assert fragment.custom == {"prompt": "digits/7"}


def test_what_was_not_said_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asr.importers.asterisk")
    found = imported(corpus(tmp_path, sorry=0.9), left_out=("letters/*",), texts={"fr": {"for": None}})
    names = {name.removeprefix("fr-CA/") for name in found}
    assert names == {"agent-pass", "agent-user", "conf-in", "conf-out", "digits/7"}
    for count in (
        "5 imported",
        "2 described in brackets",
        "1 of a kind that is left out",
        "1 not what is said",
        "1 listed twice",
        "1 without text",
        "1 without recording",
        "1 under 1 s",
        "1 not in the list",
    ):
        assert count in caplog.text


def test_quotation_marks_dots_and_double_spaces_are_no_part_of_the_text(tmp_path: Path) -> None:
    found = imported(corpus(tmp_path))
    assert found["fr-CA/agent-user"].text == "Ouverture de session. Composez votre numéro suivi du dièse."
    assert found["fr-CA/conf-in"].text == "Pour quitter la conférence"
    assert found["fr-CA/conf-out"].text == "pour quitter la conférence"
    assert found["fr-CA/agent-pass"].text == "Composez votre numero suivi du dièse."


def test_corrections_leave_the_text_of_the_list_beside_them(tmp_path: Path) -> None:
    found = imported(
        corpus(tmp_path),
        texts={"fr": {"twice": "deux fois", "vm-intro": "Laissez un message."}},
        spellings={"fr": {"numero": "numéro", "somme": "sommes", "desolé": "désolés", "nous": "nous tous"}},
    )
    assert found["fr-CA/sorry"].text == "Nous tous sommes désolés"  # the capital stays
    assert found["fr-CA/sorry"].custom["source_text"] == "Nous somme desolé"
    assert found["fr-CA/agent-pass"].text == "Composez votre numéro suivi du dièse."
    assert found["fr-CA/vm-intro"].custom["source_text"] == "Laissez un message. (bip)"
    assert found["fr-CA/twice"].custom["source_text"] == "une fois / deux fois"
    assert "source_text" not in found["fr-CA/agent-user"].custom


def test_length_decides_on_both_ends(tmp_path: Path) -> None:
    root = corpus(tmp_path, **{"sorry": 2.5, "digits/7": 0.5})
    assert "fr-CA/digits/7" not in imported(root)
    assert imported(root, min_seconds=0.4, max_seconds=1.0).keys() == {"fr-CA/digits/7"}
    assert "fr-CA/sorry" not in imported(root, max_seconds=2.0)


def test_no_sentence_stands_on_two_sides(tmp_path: Path) -> None:
    root = corpus(tmp_path)
    sides: set[str | None] = set()
    for seed in range(12):
        found = imported(root, seed=seed, dev=0.3, test=0.3)
        # The same words with and without accents, in other company, with dots.
        assert found["fr-CA/agent-pass"].split == found["fr-CA/agent-user"].split
        assert found["fr-CA/conf-in"].split == found["fr-CA/conf-out"].split
        sides.add(found["fr-CA/agent-pass"].split)
    assert sides == {"train", "dev", "test"}


def test_other_limits_move_no_sentence(tmp_path: Path) -> None:
    # agent-user links agent-pass to the session; without it the two keep their sides.
    root = corpus(tmp_path, LIST + "lone: Ouverture de session du matin. Ouverture\n", **{"agent-user": 4.0})
    for seed in range(8):
        whole, short = imported(root, seed=seed), imported(root, seed=seed, max_seconds=2.0)
        assert "fr-CA/agent-user" not in short
        assert {name: whole[name].split for name in short} == {name: short[name].split for name in short}


def test_groups_share_a_clause_of_four_words() -> None:
    texts = {
        "a": "Press 1 to save, press 2 to hear the message.",
        "b": "PRESS 2 TO HEAR THE MESSAGE",
        "c": "Press 1 to save. Goodbye.",
        "d": "Goodbye.",
        "e": "press one, goodbye",
    }
    keys = sentence_keys(texts)
    assert keys["a"] == keys["b"] == keys["c"]
    assert len({keys["a"], keys["d"], keys["e"]}) == 3  # one word is shared by all and links none
    backwards = sentence_keys(dict(reversed(texts.items())))
    assert backwards == keys


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"languages": ("it",)}, "language 'it'; accepted are fr, en, es"),
        ({"texts": {"de": {}}}, "language 'de'"),
        ({"spellings": {"de": {}}}, "language 'de'"),
        ({"min_seconds": 3.0, "max_seconds": 3.0}, "'min_seconds' must be 0 or more and below.* found 3 and 3"),
        ({"dev": 0.5, "test": 0.5}, "'dev' and 'test'"),
    ],
)
def test_values_that_cannot_work_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AsteriskOptions(**options)  # type: ignore[arg-type]


def test_a_correction_of_no_prompt_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'texts' corrects 'digits/seven'.* fr prompts"):
        imported(corpus(tmp_path), texts={"fr": {"digits/seven": "sept"}})


def test_a_package_that_is_not_whole_is_named(tmp_path: Path) -> None:
    root = corpus(tmp_path)
    listing = next(root.rglob("*.txt.gz"))
    listing.write_bytes(listing.read_bytes()[:-9])
    with pytest.raises(AsrError, match=r"core-sounds-fr.txt.gz cannot be read.*delete the folder"):
        imported(root)
    next(root.rglob("fr_CA_*")).rename(root / "elsewhere")
    with pytest.raises(AsrError, match=r"one folder of fr recordings but has 0; delete the folder"):
        imported(root)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put scripts in the place of apt-get and dpkg-deb; each writes its arguments to 'calls'."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(**bodies: str) -> Path:
        for name, body in bodies.items():
            script = folder / name.replace("_", "-")
            script.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\necho "$0 $*" >> {tmp_path}/calls\n{body}\n')
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return tmp_path / "calls"

    return make


DOWNLOAD = "echo archive > $2_1.6_all.deb"
UNPACK = "mkdir -p $3/usr && cp $2 $3/usr/content"


def test_a_missing_package_is_fetched_once(tmp_path: Path, programs: Callable[..., Path]) -> None:
    calls = programs(apt_get=DOWNLOAD, dpkg_deb=UNPACK)
    root = tmp_path / "root"
    root.mkdir()
    assert fetch(root, "sounds") == root / "sounds"
    assert fetch(root, "sounds") == root / "sounds"
    assert (root / "sounds/usr/content").read_text() == "archive\n"
    assert [path.name for path in root.iterdir()] == ["sounds"]
    assert len(calls.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("bodies", "message"),
    [
        (
            {"apt_get": "echo W: old >&2; echo E: Unable to locate package >&2; exit 100", "dpkg_deb": UNPACK},
            "'apt-get download sounds' failed: E: Unable to locate package; run 'apt-get update'.*dpkg-deb -x",
        ),
        (
            {"apt_get": DOWNLOAD, "dpkg_deb": f"{UNPACK}; exit 2"},
            "'dpkg-deb -x sounds_1.6_all.deb unpacked' failed: exit status 2; free some disk space",
        ),
        ({"apt_get": DOWNLOAD}, "sounds is not in .*dpkg-deb, which would fetch it, is not installed.*Debian"),
        ({}, "apt-get, which would fetch it, is not installed"),
    ],
)
def test_a_failed_fetch_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, programs: Callable[..., Path], bodies: dict[str, str], message: str
) -> None:
    programs(**bodies)
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(AsrError, match=message):
        fetch(root, "sounds")
    assert list(root.iterdir()) == []


def test_another_import_may_be_quicker(tmp_path: Path, programs: Callable[..., Path]) -> None:
    root = tmp_path / "root"
    programs(apt_get=DOWNLOAD, dpkg_deb=f"{UNPACK}; mkdir -p {root}/sounds/usr")
    root.mkdir()
    assert fetch(root, "sounds") == root / "sounds"
    assert [path.name for path in root.iterdir()] == ["sounds"]


def test_the_recipe_of_the_project_corrects_what_can_be_found() -> None:
    options = read_recipe(RECIPE).options
    for language, spellings in options.spellings.items():
        # Words are looked up one by one in lower case.
        assert [word for word in spellings if word != word.lower() or not word.isalpha()] == []
        assert [word for word, right in spellings.items() if word == right] == [], language
    assert all(langcodes.tag_is_valid(dialect) for dialect in DIALECTS.values())
