"""Plain tables (from YAML, from Hydra) as frozen dataclasses: every key known, every value of its type."""

from __future__ import annotations

import difflib
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from asr.errors import ConfigError

Options = TypeVar("Options")


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
