"""Tasks for Label Studio: what annotators hear, cut out and stripped of its origin, with the recogniser's own answers.

An annotator gets a copy of the fragment alone: no tag, no file name and no neighbouring speech of the recording. The
task names the fragment by its id; who speaks, and what consent there is, stays in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.annotation.uncertainty import uncertainty
from asr.audio import load_audio
from asr.errors import AsrError
from asr.exporters.label_studio import audio_address, copy_stem, open_tasks, results
from asr.fragment import Fragment
from asr.importers.entries import CHOSEN, entries_of
from asr.importers.label_studio import AUDIO_KEY
from asr.privacy.recordings import write_plain
from asr.transcript import Transcript

TASKS = "tasks.json"
AUDIO = "audio"
# Label Studio shows one model's predictions at a time, and tells them by this.
MODEL = "asr"


@dataclass(slots=True)
class TaskCounts:
    """What became of the fragments.

    Attributes:
        tasks: Written.
        annotated: Of these, with the recogniser's answers.
        failed: Fragments whose recording or transcript cannot be read.
    """

    tasks: int = 0
    annotated: int = 0
    failed: int = 0


def write_studio(
    fragments: Iterable[Fragment],
    heard: Callable[[Fragment], Transcript | None],
    choices: Mapping[str, tuple[str, ...]],
    folder: Path,
    counts: TaskCounts,
    failures: list[AsrError],
) -> None:
    """Write the folder that Label Studio serves: ``tasks.json`` and the fragments' audio (mono flac at 16 kHz).

    Args:
        fragments: In the order in which they are to be annotated; streamed.
        heard: Gives the transcript of a fragment, if there is one.
        choices: What can be chosen on the page, by control; Label Studio refuses other answers.
        folder: Where the files go.
        counts: Counted up.
        failures: Receives the error of every fragment that has no task.
    """
    with open_tasks(folder / TASKS) as write:
        for fragment in fragments:
            try:
                write(_task(fragment, heard(fragment), choices, folder, counts))
            except AsrError as error:
                counts.failed += 1
                failures.append(error)


def _task(
    fragment: Fragment,
    transcript: Transcript | None,
    choices: Mapping[str, tuple[str, ...]],
    folder: Path,
    counts: TaskCounts,
) -> dict[str, Any]:
    audio = folder.absolute() / AUDIO / f"{copy_stem(fragment.id)}.flac"
    samples = load_audio(fragment.audio, fragment.start, fragment.duration)
    write_plain(audio, samples)
    address = audio_address(fragment.replace(audio=str(audio)), folder.absolute())
    task: dict[str, Any] = {"data": {AUDIO_KEY: address, "id": fragment.id, "language": fragment.language}}
    counts.tasks += 1
    if transcript is not None:
        counts.annotated += 1
        prediction = {
            "model_version": MODEL,
            "score": round(1 - uncertainty(transcript).mean, 6),
            "result": results(_entries(fragment, transcript, choices)),
        }
        task["predictions"] = [prediction]
    return task


def _entries(
    fragment: Fragment, transcript: Transcript, choices: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Return what the recogniser would have answered on this page."""
    # Its words are those of the text only in languages that put spaces between them.
    spaced = len(transcript.words) == len(transcript.text.split())
    answers = fragment.replace(
        text=transcript.text,
        dialect=transcript.dialect,
        intonation=transcript.intonation,
        tune=transcript.tune,
        emphasis=transcript.emphasis if spaced else (),
        expressions=transcript.expressions,
        custom={},
    )
    return {
        name: entries
        for name, entries in entries_of(answers).items()
        if name in choices and (name not in CHOSEN or entries[0] in choices[name])
    }
