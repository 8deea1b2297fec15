"""Recipes: strict keys, registered importers, and the ones that the project brings."""

import json
from collections.abc import Iterator
from pathlib import Path

import langcodes
import pytest
import yaml

from asr.errors import ConfigError
from asr.fragment import Fragment
from asr.importers import IMPORTERS, Importer
from asr.importers.fields import FieldSource
from asr.importers.jsonl import JsonlOptions
from asr.importers.recipe import find_recipe, parse_option, read_recipe

DATASETS = Path(__file__).parents[2] / "datasets"
RECIPES = sorted(DATASETS.glob("*/recipe.yaml"))


def recipe(folder: Path, text: str) -> Path:
    (folder / "recipe.yaml").write_text(text, "utf-8")
    return folder / "recipe.yaml"


def test_a_recipe_becomes_typed_options(tmp_path: Path) -> None:
    read = read_recipe(
        recipe(
            tmp_path,
            "importer: jsonl\noptions:\n  fields:\n    text: transcript\n"
            "    dialect: {field: accent, map: {Norsk: nb-NO, '-': null}}\n  constants: {language: no}\n",
        )
    )
    assert read.name == tmp_path.name
    assert read.options == JsonlOptions(
        fields={
            "text": FieldSource("transcript"),
            "dialect": FieldSource("accent", {"Norsk": "nb-NO", "-": None}),
        },
        constants={"language": "no"},  # Norwegian, not false
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("importer: jsonl\noption: {}", "unknown key 'option'.*did you mean 'options'"),
        (
            "importer: jsonl\noptions: {feilds: {}}",
            "unknown key 'feilds' in the options of .*did you mean 'fields'.*constants",
        ),
        ("importer: os.system", r"importer 'os.system' .* is not known; accepted are .*jsonl"),
        ("options: {}", "'importer' is missing"),
        ("importer: jsonl\noptions: [1]", "'options': .*dictionary, found"),
        ("importer: jsonl\noptions: {manifest: 3}", "'manifest'.*string.*3"),
        ("importer: jsonl\noptions: {fields: {text: {feild: x}}}", r"'fields.text.fe?i?e?ld'"),
        ("importer: jsonl\noptions: {fields: {tekst: x}}", "'tekst' is no field of a fragment"),
        ("importer: jsonl\noptions: {fields: {dialect: {field: a, map: {x: 3}}}}", "fields.dialect.map.x.*3"),
        ("- a", "must have the keys importer and options"),
        ("", "must have the keys importer and options"),
        ("a: b: c", "no YAML"),
    ],
)
def test_what_is_not_accepted_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_recipe(recipe(tmp_path, text))
    assert "recipe.yaml" in str(caught.value)


def test_code_in_yaml_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no YAML"):
        read_recipe(recipe(tmp_path, "importer: !!python/object/apply:os.system ['true']"))


def test_recipes_are_found_by_file_folder_and_name(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    file = recipe(tmp_path / "mine", "importer: jsonl")
    assert find_recipe(file) == find_recipe(file.parent) == find_recipe("mine", tmp_path) == file
    with pytest.raises(ConfigError, match=r"no recipe 'yours'.*which has mine"):
        find_recipe("yours", tmp_path)


def test_an_importer_that_makes_its_corpus_gets_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def speak(root: Path, options: JsonlOptions) -> Iterator[Fragment]:
        assert root.is_dir()
        return iter([Fragment(id="a", audio="/a.wav", text="", language="en")])

    made = Importer(speak, JsonlOptions, source="made")
    monkeypatch.setitem(IMPORTERS, "jsonl", made)
    read = read_recipe(recipe(tmp_path, "importer: jsonl"))
    for _ in range(2):
        assert [fragment.id for fragment in read.fragments(tmp_path / "new" / "corpus")] == ["a"]
    with pytest.raises(ConfigError, match=r"reads a folder, and .*recipe\.yaml is a file"):
        read.fragments(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("{}", ["mine", "mine"]),
        ("{constants: {corpus: ours}}", ["ours", "ours"]),
        ("{fields: {corpus: room}}", ["hall", "mine"]),
    ],
)
def test_a_fragment_comes_from_the_recipes_corpus_unless_its_options_name_another(
    tmp_path: Path, options: str, expected: list[str]
) -> None:
    (tmp_path / "mine").mkdir()
    rows = [{"audio": "a.wav", "text": "", "language": "en", "room": room} for room in ("hall", "")]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    read = read_recipe(recipe(tmp_path / "mine", f"importer: jsonl\noptions: {options}"))
    assert [fragment.corpus for fragment in read.fragments(tmp_path)] == expected


@pytest.mark.parametrize(
    ("text", "value"), [("fr", "fr"), ("no", "no"), ("[a.tsv, b]", ["a.tsv", "b"]), ("{text: said}", {"text": "said"})]
)
def test_an_option_is_written_as_in_a_recipe(text: str, value: object) -> None:
    assert parse_option(text) == value


def test_an_option_runs_no_code() -> None:
    with pytest.raises(ConfigError, match="no YAML"):
        parse_option("!!python/object/apply:os.system ['true']")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_every_recipe_of_the_project_reads_and_has_its_card(path: Path) -> None:
    assert read_recipe(path).importer in IMPORTERS
    card = (path.parent / "README.md").read_text("utf-8").lower()
    for subject in ("source", "licen", "consent", "dialect", "speaker", "bias"):
        assert subject in card, f"the card of {path.parent.name} says nothing about its {subject}"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_dialects_in_tables_are_tags(path: Path) -> None:
    fields = (yaml.safe_load(path.read_text("utf-8")).get("options") or {}).get("fields") or {}
    table = fields["dialect"].get("map", {}) if isinstance(fields.get("dialect"), dict) else {}
    assert [tag for tag in table.values() if tag is not None and not langcodes.tag_is_valid(tag)] == []
