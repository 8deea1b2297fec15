"""Importers: each turns a corpus in someone else's layout into fragments, and is known by its name here.

An importer is a function ``(source, options) -> Iterator[Row]``: ``source`` is the file or folder in which the corpus
lies, ``options`` a frozen dataclass. It streams, gives audio paths that can be opened, and keeps what it does not
understand in ``Fragment.custom``. A value it could not translate stands in ``custom["unmapped"]`` (our field name to
their value), so that whoever reads the stream can report it. A row that it cannot use it yields as a `ManifestError`
with file and line, and goes on; it raises only where the corpus cannot be read at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.importers.asterisk import AsteriskOptions, import_asterisk
from asr.importers.audiofolder import import_audiofolder
from asr.importers.common_voice import CommonVoiceOptions, import_common_voice
from asr.importers.elan import import_elan
from asr.importers.fields import RowOptions
from asr.importers.jsonl import JsonlOptions, import_jsonl
from asr.importers.kaldi import import_kaldi
from asr.importers.label_studio import LabelStudioOptions, import_label_studio
from asr.importers.lhotse_cuts import import_cuts
from asr.importers.nemo import import_nemo
from asr.importers.subtitles import SubtitleOptions, import_subtitles
from asr.importers.synthetic import SyntheticOptions, import_synthetic
from asr.importers.textgrid import import_textgrid
from asr.importers.tiers import TierOptions

Row = Fragment | ManifestError
"""A row of a corpus: its fragment, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Importer:
    """A registered importer.

    Attributes:
        run: The function; takes the source and an instance of ``options``.
        options: The frozen dataclass of its options; its fields are the accepted keys of a recipe and of ``--option``.
        source: What it reads: a ``file``, a ``folder``, ``any`` of both, or a folder in which it fetches or makes the
            corpus itself (``made``), which need not be there.
    """

    run: Callable[[Path, Any], Iterator[Row]]
    options: type
    source: Literal["file", "folder", "any", "made"] = "folder"

    @property
    def wanted(self) -> str:
        """What it reads, in words."""
        return {"file": "file", "any": "file or folder"}.get(self.source, "folder")


IMPORTERS: dict[str, Importer] = {
    "asterisk": Importer(import_asterisk, AsteriskOptions, source="made"),
    "audiofolder": Importer(import_audiofolder, RowOptions),
    "common_voice": Importer(import_common_voice, CommonVoiceOptions),
    "elan": Importer(import_elan, TierOptions),
    "jsonl": Importer(import_jsonl, JsonlOptions),
    "kaldi": Importer(import_kaldi, RowOptions),
    "label_studio": Importer(import_label_studio, LabelStudioOptions, source="file"),
    "lhotse": Importer(import_cuts, RowOptions, source="file"),
    "nemo": Importer(import_nemo, RowOptions, source="file"),
    "subtitles": Importer(import_subtitles, SubtitleOptions),
    "synthetic": Importer(import_synthetic, SyntheticOptions, source="made"),
    "textgrid": Importer(import_textgrid, TierOptions),
}
