"""Importers: each turns a corpus in someone else's layout into fragments, and is known by its name here.

An importer is a function ``(root, options) -> Iterator[Fragment]``: ``root`` is the folder in which the
corpus lies, ``options`` a frozen dataclass. It streams, gives audio paths that can be opened, and keeps what
it does not understand in ``Fragment.custom``. A value it could not translate stands in
``custom["unmapped"]`` (our field name to their value), so that whoever reads the stream can report it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.fragment import Fragment
from asr.importers.asterisk import AsteriskOptions, import_asterisk
from asr.importers.jsonl import JsonlOptions, import_jsonl
from asr.importers.synthetic import SyntheticOptions, import_synthetic


@dataclass(frozen=True, slots=True)
class Importer:
    """A registered importer.

    Attributes:
        run: The function; takes the corpus root and an instance of ``options``.
        options: The frozen dataclass of its options; its fields are the accepted keys of a recipe.
        makes_corpus: It fetches or makes the corpus itself; the root need not be there.
    """

    run: Callable[[Path, Any], Iterator[Fragment]]
    options: type
    makes_corpus: bool = False


IMPORTERS: dict[str, Importer] = {
    "asterisk": Importer(import_asterisk, AsteriskOptions, makes_corpus=True),
    "jsonl": Importer(import_jsonl, JsonlOptions),
    "synthetic": Importer(import_synthetic, SyntheticOptions, makes_corpus=True),
}
