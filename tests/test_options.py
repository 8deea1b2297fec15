"""Tables as options: what is accepted, and for what is not a sentence with the name, the value and the place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from asr.errors import ConfigError
from asr.options import build_options, read_table


@dataclass(frozen=True, slots=True)
class Inner:
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outer:
    kind: Literal["plain", "fancy"]
    inner: Inner = field(default_factory=Inner)
    pair: tuple[float, float] = (0.0, 1.0)
    table: dict[str, str] = field(default_factory=dict)
    count: int | None = None

    def __post_init__(self) -> None:
        if self.count == 13:
            raise ConfigError("count must not be 13")


def test_types_are_those_of_the_fields() -> None:
    built = build_options(
        Outer,
        {"kind": "fancy", "inner": {"share": 1, "names": ["a", "b"]}, "pair": [1, 2], "table": {"any": "x"}},
        "here",
    )
    assert built == Outer("fancy", Inner(1.0, ("a", "b")), (1.0, 2.0), {"any": "x"})
    assert isinstance(built.inner.share, float)
    assert build_options(Outer, {"kind": "plain"}, "here") == Outer("plain")
    # A dataclass that is there already stays.
    assert build_options(Outer, {"kind": "plain", "inner": Inner(0.25)}, "here").inner.share == 0.25


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "'kind' is missing in here"),
        ({"kind": "other"}, "'kind': input should be 'plain' or 'fancy', found 'other' (here)"),
        (
            {"kind": "plain", "inner": {"share": 1.5}},
            "'inner.share': input should be less than or equal to 1, found 1.5 (here)",
        ),
        (
            {"kind": "plain", "inner": {"shares": 1}},
            "unknown key 'inner.shares' in here; did you mean 'inner.share'? accepted are inner.share, inner.names",
        ),
        (
            {"kind": "plain", "zzz": 1},
            "unknown key 'zzz' in here; accepted are kind, inner, pair, table, count",
        ),
        ({"kind": "plain", 3: 1}, "unknown key '3' in here; accepted are kind, inner, pair, table, count"),
        ({"kind": "plain", "count": 13}, "count must not be 13 (here)"),
    ],
)
def test_what_is_not_accepted(table: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_options(Outer, table, "here")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("key", "value"),
    [("inner", 3), ("inner", None), ("pair", [1]), ("pair", "ab"), ("count", "many"), ("count", 1.5), ("table", [1])],
)
def test_wrong_types_name_the_key_and_the_value(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^'{key}.*here"):
        build_options(Outer, {"kind": "plain", key: value}, "here")


def test_long_values_are_cut() -> None:
    with pytest.raises(ConfigError) as caught:
        build_options(Outer, {"kind": "x" * 1000}, "here")
    assert len(str(caught.value)) < 200


def test_a_table_is_read_with_no_as_norwegian(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("language: no\nshort: true\n")
    assert read_table(tmp_path / "a.yaml", "recipe", "a") == {"language": "no", "short": True}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "the recipe .*a.yaml is no YAML: "),
        (b"- a", "the recipe .*a.yaml must have the keys one and two"),
        (b"", "the recipe .*a.yaml must have the keys one and two"),
        (b"a: \xe9", "the recipe .*a.yaml is not UTF-8"),
        (b"!!python/object/apply:os.getcwd []", "the recipe .*a.yaml is no YAML: "),
        (None, "the recipe .*a.yaml cannot be read: No such file"),
    ],
)
def test_what_is_no_table_is_a_sentence(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_table(tmp_path / "a.yaml", "recipe", "one and two")
