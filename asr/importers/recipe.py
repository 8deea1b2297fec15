"""Recipes: a ``recipe.yaml`` names an importer and its options; the corpus itself lies elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from asr.errors import ConfigError
from asr.fragment import Consent, Fragment, Purpose
from asr.importers import IMPORTERS, Row
from asr.importers.intake import read_source
from asr.options import build_options, parse_yaml, read_table


@dataclass(frozen=True, slots=True)
class _Consent:
    """The consent under which a whole corpus was collected; purposes are those that this package asks for."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: str
    purposes: tuple[Purpose, ...]
    granted: date | None = None
    expires: date | None = None


@dataclass(frozen=True, slots=True)
class _File:
    """A ``recipe.yaml`` as it stands; a key without a value is a key that is not there."""

    importer: str
    options: dict[str, Any] | None = None
    consent: _Consent | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a corpus becomes fragments.

    Attributes:
        name: Name of the recipe's folder.
        importer: Registered name.
        options: Instance of that importer's options.
        consent: Of the fragments that state none themselves.
    """

    name: str
    importer: str
    options: Any
    consent: Consent | None = None

    def fragments(self, source: str | Path) -> Iterator[Row]:
        """Stream the rows of the corpus that lies in ``source``, or is made there by its importer.

        A fragment's ``corpus`` is the recipe's name, and its ``consent`` the recipe's, unless the importer gave it one.

        Raises:
            ConfigError: The source is missing or of the wrong kind.
            AsrError: What the importer raises for a corpus it cannot read.
        """
        given = {"corpus": self.name, "consent": self.consent}
        return (
            row.replace(**lacking) if isinstance(row, Fragment) and (lacking := _lacking(row, given)) else row
            for row in read_source(self.importer, self.options, source)
        )


def _lacking(fragment: Fragment, given: dict[str, Any]) -> dict[str, Any]:
    """What of some fields' values a fragment does not have yet."""
    return {name: value for name, value in given.items() if value is not None and getattr(fragment, name) is None}


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
    data = read_table(file, "recipe", "importer and options")
    recipe = build_options(_File, data, str(file))
    if recipe.importer not in IMPORTERS:
        known = ", ".join(sorted(IMPORTERS))
        raise ConfigError(f"importer {recipe.importer!r} in {file} is not known; accepted are {known}")
    options: Any = build_options(IMPORTERS[recipe.importer].options, recipe.options or {}, f"the options of {file}")
    consent = None if recipe.consent is None else Consent(**asdict(recipe.consent))
    return Recipe(file.absolute().parent.name, recipe.importer, options, consent)


def parse_option(text: str) -> Any:
    """Read one value as it would stand in a recipe: ``fr``, ``[train.tsv, dev.tsv]``, ``{text: transcript}``.

    Raises:
        ConfigError: It is no YAML.
    """
    return parse_yaml(text, f"the value {text[:40]!r}")
