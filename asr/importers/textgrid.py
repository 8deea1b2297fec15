"""Imports Praat TextGrids (long and short text form), each beside its recording."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.errors import ManifestError, MissingExtraError
from asr.fragment import Fragment
from asr.importers.beside import find_files, find_recording, read_text
from asr.importers.tiers import Stretch, Tier, TierOptions, tier_fragments

# How many tiers, and how many entries in each, in the long form and in the short one.
_TIERS = re.compile(r"<exists>[^\d\n]*\n(?:size = )?(\d+)")
_ENTRIES = re.compile(
    r'^\s*(?:intervals|points): size ?= ?(\d+)|^"(?:Interval|Text)Tier" *\n".*" *\n\S+ *\n\S+ *\n(\d+)', re.MULTILINE
)


def import_textgrid(root: Path, options: TierOptions) -> Iterator[Fragment | ManifestError]:
    """Stream the fragments of all TextGrids in a folder: one per interval that has a text.

    Args:
        root: Folder of the corpus.
        options: Speakers and labels of tiers.

    Yields:
        Fragments file by file; an error for an interval, or a whole file, that cannot be used.

    Raises:
        MissingExtraError: praatio is not installed.
    """
    try:
        from praatio.utilities import textgrid_io
    except ImportError as error:
        raise MissingExtraError("to read TextGrids, install the extra: pip install 'dialect-asr[annotate]'") from error
    for path in find_files(root, ".TextGrid"):
        try:
            audio = find_recording(path, root)
            text = read_text(path)
            try:
                grid = textgrid_io.parseTextgridStr(text, includeEmptyIntervals=True)
                _check_whole(text, grid["tiers"], path)
                found = [list(_tier(tier, number, path)) for number, tier in enumerate(grid["tiers"], 1)]
            except ManifestError:
                raise
            except Exception as error:  # whatever it stumbled over: it checks little
                raise ManifestError(
                    "the file is no TextGrid in Praat's text form; save it again from Praat, as text", path
                ) from error
        except ManifestError as error:
            yield error
            continue
        yield from (item for tier in found for item in tier if isinstance(item, ManifestError))
        tiers = [item for tier in found for item in tier if isinstance(item, Tier)]
        yield from tier_fragments(tiers, path, root, audio, options)


def _check_whole(text: str, tiers: list[dict[str, Any]], path: Path) -> None:
    """Compare what was read with what the file says that it has; praatio takes half a file for a whole one.

    Raises:
        ManifestError: Something is missing.
    """
    promised = _TIERS.search(text)
    sizes = [int(long or short) for long, short in _ENTRIES.findall(text)]
    if promised and (int(promised[1]) != len(tiers) or sizes != [len(tier["entries"]) for tier in tiers]):
        raise ManifestError("the file is cut short: it has less than it says; save it again from Praat", path)


def _tier(tier: dict[str, Any], number: int, path: Path) -> Iterator[Tier | ManifestError]:
    """Yield what is wrong with entries, then the tier without them."""
    stretches = []
    for place, entry in enumerate(tier["entries"], 1):
        *times, text = entry
        where = f"text {place} of tier {number}"
        try:
            start, end = float(times[0]), float(times[-1])
        except ValueError:
            yield ManifestError(f"{where} has a time that is no number", path)
            continue
        if text := str(text).strip():
            stretches.append(Stretch(start, end, text, where))
    points = tier["class"] == "TextTier"
    yield Tier(str(tier["name"]), sorted(stretches, key=lambda stretch: stretch.start), speaks=not points)
