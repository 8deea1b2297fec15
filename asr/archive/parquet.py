"""A file of lines as a Parquet table: a column for every key, typed as `Transcript` is."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from dataclasses import is_dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from asr.errors import MissingExtraError
from asr.files import atomic_write
from asr.transcript import Transcript

if TYPE_CHECKING:
    import pyarrow

# Lines that are in memory at once; a row group.
_ROWS = 10_000


def parquet_schema() -> pyarrow.Schema:
    """Return the columns.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError("to write Parquet, install the extra: pip install 'dialect-asr[ray]'") from error

    def arrow(hint: Any) -> pyarrow.DataType:
        origin, inner = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):  # every column may be null
            return arrow(next(kind for kind in inner if kind is not type(None)))
        if origin is tuple:
            return pyarrow.list_(arrow(inner[0]))
        if origin is dict:
            return pyarrow.map_(arrow(inner[0]), arrow(inner[1]))
        if is_dataclass(hint) or issubclass(hint, BaseModel):
            return pyarrow.struct(
                [(name, arrow(kind)) for name, kind in get_type_hints(hint).items() if known(hint, name)]
            )
        return {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64(), bool: pyarrow.bool_()}[hint]

    def known(hint: Any, name: str) -> bool:
        return is_dataclass(hint) or name in hint.model_fields

    heard = {name: kind for name, kind in get_type_hints(Transcript).items() if name != "id"}
    columns = {"id": str, "audio": str, "start": float, **heard, "dialect_confidence": float, "p_question": float}
    columns |= {"short": bool, "error": str, "error_kind": str, "audio_sha256": str, "request_sha256": str}
    return pyarrow.schema([(name, arrow(kind)) for name, kind in columns.items()])


def write_parquet(lines: Path, path: Path) -> None:
    """Write the lines of a file as a table, whole or not at all.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    schema = parquet_schema()
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    with lines.open("rb") as handle, atomic_write(path, "wb") as out, ParquetWriter(out, schema) as writer:
        while rows := list(islice(_rows(handle), _ROWS)):
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


def _rows(handle: Any) -> Iterator[dict[str, Any]]:
    for line in handle:
        yield json.loads(line)
