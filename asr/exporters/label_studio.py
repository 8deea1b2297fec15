"""Exports fragments as Label Studio tasks (JSON), their labels as annotations that can be looked at and corrected.

A task's data holds the whole fragment, so that it comes back with everything that nobody was asked about. Recordings
stay where they are: Label Studio serves them as local files out of the folder in which the tasks lie.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from asr.errors import ManifestError
from asr.files import atomic_write
from asr.fragment import Fragment
from asr.importers.entries import CANNOT_TELL_CONTROL, CHOSEN, entries_of
from asr.importers.label_studio import AUDIO_KEY, FRAGMENT_KEY, LOCAL_FILES

# The control that marks a region, and its one label.
REGION = "region"
SPEECH = "speech"

_CHOICES = (*CHOSEN, CANNOT_TELL_CONTROL)


@dataclass(frozen=True, slots=True)
class LabelStudioTaskOptions:
    """Options of `export_label_studio`: there are none."""


@contextmanager
def export_label_studio(output: Path, options: LabelStudioTaskOptions) -> Iterator[Callable[[Fragment], None]]:
    """Write fragments as tasks; a fragment that is a part of its recording becomes a region of it.

    Args:
        output: The JSON file. The recordings must lie under its folder, which Label Studio is told to serve
            (``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``).
        options: None are needed.

    Yields:
        A function that takes a fragment. It raises ManifestError for one whose recording lies elsewhere, or with a
        custom value that JSON cannot hold.
    """
    folder = output.absolute().parent
    with open_tasks(output) as write:
        yield lambda fragment: write(fragment_task(fragment, folder))


def copy_stem(fragment_id: str) -> str:
    """Return the name, without ending, of the copy of a fragment's sound that annotators hear."""
    return hashlib.sha256(fragment_id.encode()).hexdigest()[:20]


def fragment_task(fragment: Fragment, folder: Path) -> dict[str, Any]:
    """Return the task of a fragment, with its labels as an annotation.

    Args:
        fragment: With a recording under ``folder``.
        folder: What Label Studio serves.

    Raises:
        ManifestError: The recording lies elsewhere.
    """
    data = {key: value for key, value in fragment.to_dict().items() if key != "audio"}
    region = None if fragment.end is None else (fragment.start, fragment.end)
    items = results(entries_of(fragment), region)
    return {
        "data": {AUDIO_KEY: audio_address(fragment, folder), FRAGMENT_KEY: data},
        "annotations": [{"result": items}],
    }


def audio_address(fragment: Fragment, folder: Path) -> str:
    """Return the address at which Label Studio serves a fragment's recording.

    Raises:
        ManifestError: The recording does not lie under the folder.
    """
    audio = Path(fragment.audio).absolute()
    if not audio.is_relative_to(folder) or ".." in audio.parts:
        raise ManifestError(
            f"the recording of fragment {fragment.id!r} does not lie under the folder of the tasks, from which Label "
            "Studio serves it; write the tasks to a folder above the recordings"
        )
    return f"{LOCAL_FILES}?d={quote(audio.relative_to(folder).as_posix())}"


def results(entries: Mapping[str, Sequence[str]], region: tuple[float, float] | None = None) -> list[dict[str, Any]]:
    """Return entries as the items of an annotation or a prediction.

    Args:
        entries: By control.
        region: Start and end, in seconds, of the stretch that they are about; None for the whole recording.
    """
    span = {} if region is None else {"start": region[0], "end": region[1], "channel": 0}
    items = []
    if region is not None:
        items.append(_item("region", REGION, "labels", {**span, "labels": [SPEECH]}))
    for name, texts in entries.items():
        kind, key = ("choices", "choices") if name in _CHOICES else ("textarea", "text")
        # What is said of a region carries its id.
        items.append(_item("region" if span else name, name, kind, {**span, key: list(texts)}))
    return items


def _item(identity: str, control: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"id": identity, "from_name": control, "to_name": AUDIO_KEY, "type": kind, "value": value}


@contextmanager
def open_tasks(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Write tasks as one JSON array, a line each; a failure leaves an older file as it was.

    Yields:
        A function that takes a task. It raises ManifestError for a value that JSON cannot hold.
    """
    count = 0
    with atomic_write(path) as handle:

        def write(task: Mapping[str, Any]) -> None:
            nonlocal count
            try:
                # ASCII: half of a surrogate pair is legal in JSON only as an escape.
                line = json.dumps(task, allow_nan=False)
            except ValueError as error:
                raise ManifestError(f"a fragment has a custom value that JSON cannot hold: {error}") from error
            handle.write(("[\n" if count == 0 else ",\n") + line)
            count += 1

        yield write
        handle.write("\n]\n" if count else "[]\n")
