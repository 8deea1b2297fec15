"""Runs a manifest through an exporter: what the format can hold is written, the rest counted and named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import AsrError, Faults, ManifestError
from asr.exporters import EXPORTERS
from asr.fragment import Fragment, read_numbered


@dataclass(frozen=True, slots=True)
class ConvertReport:
    """What was written, and what could not be.

    Attributes:
        fragments: Number written.
        faults: Lines left out.
    """

    fragments: int
    faults: Faults


def convert_manifest(manifest: str | Path, output: str | Path, exporter: str, options: Any) -> ConvertReport:
    """Write a manifest in another layout.

    Args:
        manifest: To read, as a stream.
        output: The file or folder to write.
        exporter: Registered name.
        options: Instance of that exporter's options.

    Raises:
        ManifestError: The manifest cannot be read, or no line of it can be written; nothing is written then.
        AsrError: The output cannot be made.
    """
    faults = Faults()
    count = 0
    with EXPORTERS[exporter].run(Path(output), options) as write:
        for number, item in read_numbered(manifest):
            if not isinstance(item, Fragment):
                faults.add(item)
                continue
            try:
                write(item)
            except AsrError as error:
                faults.add(ManifestError(str(error), manifest, number))
            except UnicodeEncodeError:
                faults.add(ManifestError("the fragment has half of a surrogate pair, no character", manifest, number))
            else:
                count += 1
        if not count:
            first = f"; the first: {faults.first[0]}" if faults.count else ""
            raise ManifestError(f"none of the {faults.count} lines can be written as {exporter}{first}")
    return ConvertReport(count, faults)
