"""Plain tables (from YAML, from Hydra) as frozen dataclasses: every key known, every value of its type."""

from __future__ import annotations

import difflib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from asr.errors import ConfigError

Options = TypeVar("Options")


class _Loader(yaml.SafeLoader):
    """YAML in which only ``true`` and ``false`` are truth values: ``language: no`` is Norwegian."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (a class attribute of the parent)
        first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse_yaml(text: str, what: str) -> Any:
    """Read YAML, or one value of it.

    Args:
        text: The YAML.
        what: It is, for messages.

    Raises:
        ConfigError: It is no YAML.
    """
    try:
        # Its constructors are SafeLoader's.
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} is no YAML: {' '.join(str(error).split())}") from error


def read_table(path: str | Path, what: str, keys: str) -> dict[str, Any]:
    """Read a YAML file that holds a table.

    Args:
        path: The file.
        what: It is, for messages, such as ``"recipe"``.
        keys: What it must have, for messages, in words.

    Raises:
        ConfigError: It cannot be read, is not UTF-8, no YAML, or no table.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the {what} {file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the {what} {file} is not UTF-8; save it as UTF-8") from error
    data = parse_yaml(text, f"the {what} {file}")
    if not isinstance(data, dict):
        raise ConfigError(f"the {what} {file} must have the keys {keys}")
    return data


def build_options(kind: type[Options], table: dict[str, Any], place: str) -> Options:
    """Make an options object of a table.

    Args:
        kind: A dataclass, whose fields may be dataclasses again.
        table: Names and values.
        place: Where the table stands, for messages.

    Raises:
        ConfigError: A key is not known (the nearest one is named), or a value is not accepted.
    """
    _refuse_unknown(kind, table, "", place)
    try:
        return TypeAdapter(kind).validate_python(table)
    except ConfigError as error:  # from a __post_init__
        raise ConfigError(f"{error} ({place})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise ConfigError(f"{where!r} is missing in {place}") from error
        message = first["msg"][0].lower() + first["msg"][1:]
        raise ConfigError(f"{where!r}: {message}, found {first['input']!r:.60} ({place})") from error


def _refuse_unknown(kind: type, table: dict[str, Any], prefix: str, place: str) -> None:
    accepted = tuple(item.name for item in fields(kind))
    hints = get_type_hints(kind)
    for key, value in table.items():
        if key not in accepted:
            close = difflib.get_close_matches(str(key), accepted, 1)
            hint = f"did you mean {prefix + close[0]!r}? " if close else ""
            names = ", ".join(prefix + name for name in accepted)
            raise ConfigError(f"unknown key {f'{prefix}{key}'!r} in {place}; {hint}accepted are {names}")
        if is_dataclass(hints[key]) and isinstance(value, dict):
            _refuse_unknown(hints[key], value, f"{prefix}{key}.", place)
