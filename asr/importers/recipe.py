"""Recipes: a ``recipe.yaml`` names an importer and its options; the corpus itself lies elsewhere."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from asr.errors import ConfigError
from asr.fragment import Fragment
from asr.importers import IMPORTERS

_KEYS = ("importer", "options")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a corpus becomes fragments.

    Attributes:
        name: Name of the recipe's folder.
        importer: Registered name.
        options: Instance of that importer's options.
    """

    name: str
    importer: str
    options: Any

    def fragments(self, root: str | Path) -> Iterator[Fragment]:
        """Stream the fragments of the corpus that lies in ``root``, or is made there by its importer.

        Raises:
            ConfigError: There is no such folder.
            AsrError: What the importer raises for a corpus it cannot read.
        """
        folder = Path(root)
        importer = IMPORTERS[self.importer]
        if importer.makes_corpus and not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            raise ConfigError(f"there is no corpus folder {folder}; give the folder in which {self.name!r} lies")
        return importer.run(folder, self.options)


def find_recipe(name: str | Path, datasets: str | Path = "datasets") -> Path:
    """Return the ``recipe.yaml`` meant by a file, a folder, or the name of a folder under ``datasets``.

    Raises:
        ConfigError: There is none; the message lists those that there are.
    """
    for path in (Path(name), Path(name) / "recipe.yaml", Path(datasets) / name / "recipe.yaml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.parent.name for path in Path(datasets).glob("*/recipe.yaml")))
    raise ConfigError(
        f"no recipe {str(name)!r}: it is neither a folder with a recipe.yaml nor one under {datasets}/"
        + (f", which has {known}" if known else "")
    )


def read_recipe(path: str | Path) -> Recipe:
    """Read a ``recipe.yaml``; a key that is not known is an error.

    Raises:
        ConfigError: The file is missing, no YAML, or a key or value in it is not accepted.
    """
    file = Path(path)
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"the recipe {file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the recipe {file} is not UTF-8; save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"the recipe {file} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"the recipe {file} must have the keys {' and '.join(_KEYS)}")
    _refuse_unknown(data, _KEYS, "key", file)
    name = data.get("importer")
    if name not in IMPORTERS:
        raise ConfigError(f"importer {name!r} in {file} is not known; accepted are {', '.join(sorted(IMPORTERS))}")
    options = data.get("options") or {}
    if not isinstance(options, dict):
        raise ConfigError(f"'options' in {file} must be a table of names and values")
    return Recipe(file.absolute().parent.name, name, _build(IMPORTERS[name].options, options, file))


def count_unmapped(fragments: Iterable[Fragment], counts: Counter[tuple[str, str]]) -> Iterator[Fragment]:
    """Pass fragments on, counting by (field, their value) what an importer could not translate."""
    for fragment in fragments:
        unmapped = fragment.custom.get("unmapped")
        if isinstance(unmapped, dict):
            counts.update((field, str(value)) for field, value in unmapped.items())
        yield fragment


def _build(kind: type, options: dict[str, Any], file: Path) -> Any:
    _refuse_unknown(options, tuple(item.name for item in fields(kind)), "option", file)
    try:
        return TypeAdapter(kind).validate_python(options)
    except ConfigError as error:
        raise ConfigError(f"{error} ({file})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"][0].lower() + first["msg"][1:]
        raise ConfigError(f"option {where!r}: {message}, found {first['input']!r:.60} ({file})") from error


def _refuse_unknown(data: dict[Any, Any], accepted: tuple[str, ...], word: str, file: Path) -> None:
    for key in data:
        if key not in accepted:
            close = difflib.get_close_matches(str(key), accepted, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ConfigError(f"unknown {word} {key!r} in {file}; {hint}accepted are {', '.join(accepted)}")


class _Loader(yaml.SafeLoader):
    """YAML in which only ``true`` and ``false`` are truth values: ``language: no`` is Norwegian."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (a class attribute of the parent)
        first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
