"""Recipes: a ``recipe.yaml`` names an importer and its options; the corpus itself lies elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asr.errors import ConfigError
from asr.fragment import Fragment
from asr.importers import IMPORTERS, Row
from asr.importers.intake import read_source
from asr.options import build_options


@dataclass(frozen=True, slots=True)
class _File:
    """A ``recipe.yaml`` as it stands; a key without a value is a key that is not there."""

    importer: str
    options: dict[str, Any] | None = None


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

    def fragments(self, source: str | Path) -> Iterator[Row]:
        """Stream the rows of the corpus that lies in ``source``, or is made there by its importer.

        A fragment's ``corpus`` is the recipe's name, unless the importer gave it one.

        Raises:
            ConfigError: The source is missing or of the wrong kind.
            AsrError: What the importer raises for a corpus it cannot read.
        """
        return (
            row.replace(corpus=self.name) if isinstance(row, Fragment) and row.corpus is None else row
            for row in read_source(self.importer, self.options, source)
        )


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
        raise ConfigError(f"the recipe {file} must have the keys importer and options")
    recipe = build_options(_File, data, str(file))
    if recipe.importer not in IMPORTERS:
        known = ", ".join(sorted(IMPORTERS))
        raise ConfigError(f"importer {recipe.importer!r} in {file} is not known; accepted are {known}")
    options: Any = build_options(IMPORTERS[recipe.importer].options, recipe.options or {}, f"the options of {file}")
    return Recipe(file.absolute().parent.name, recipe.importer, options)


def parse_option(text: str) -> Any:
    """Read one value as it would stand in a recipe: ``fr``, ``[train.tsv, dev.tsv]``, ``{text: transcript}``.

    Raises:
        ConfigError: It is no YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value {text[:40]!r} is no YAML: {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    """YAML in which only ``true`` and ``false`` are truth values: ``language: no`` is Norwegian."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (a class attribute of the parent)
        first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
