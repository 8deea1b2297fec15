"""Exporters: each writes fragments in someone else's layout, and is known by its name here.

An exporter is a context manager ``(output, options)`` that gives a function to call with each fragment. That function
raises an `AsrError` for a fragment that the format cannot hold, and can go on with the next. Nothing is seen at
``output`` before the context ends well.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.exporters.common_voice import CommonVoiceExportOptions, export_common_voice
from asr.exporters.kaldi import KaldiExportOptions, export_kaldi
from asr.exporters.label_studio import LabelStudioTaskOptions, export_label_studio
from asr.exporters.lhotse_cuts import CutsExportOptions, export_cuts
from asr.fragment import Fragment


@dataclass(frozen=True, slots=True)
class Exporter:
    """A registered exporter.

    Attributes:
        run: The context manager; takes the file or folder to write and an instance of ``options``.
        options: The frozen dataclass of its options.
    """

    run: Callable[[Path, Any], AbstractContextManager[Callable[[Fragment], None]]]
    options: type


EXPORTERS: dict[str, Exporter] = {
    "common_voice": Exporter(export_common_voice, CommonVoiceExportOptions),
    "kaldi": Exporter(export_kaldi, KaldiExportOptions),
    "label_studio": Exporter(export_label_studio, LabelStudioTaskOptions),
    "lhotse": Exporter(export_cuts, CutsExportOptions),
}
