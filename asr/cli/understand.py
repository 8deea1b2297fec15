"""The command that tells what recordings ask for: files in, events with their intents out."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from asr.cli.jobs import Job, find_jobs, is_manifest
from asr.errors import AsrError, ConfigError, ManifestError
from asr.files import atomic_write
from asr.fragment import Fragment

if TYPE_CHECKING:
    from asr.inference.transcriber import Transcriber
    from asr.intent.model import IntentModel
    from asr.intent.needs import NeedFinder
    from asr.transcript import Transcript


def understand(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Recordings of any length, folders of them, manifests (.jsonl, .jsonl.gz)."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; by default the standard output.")
    ] = None,
    intent_model: Annotated[
        str, typer.Option(help="What scripts/train_intent.py has made; clinc150 comes with this package.")
    ] = "clinc150",
    needs: Annotated[
        Path | None,
        typer.Option(help="What counts as a need (datasets/needs/needs.yaml): told under consent to offer, recorded."),
    ] = None,
    why: Annotated[str, typer.Option(help="What the needs are for; it goes into the record.")] = "needs",
    model: Annotated[str, typer.Option(help="A base model's name, or a checkpoint.")] = "base",
    language: Annotated[
        str | None, typer.Option(help="Whisper's code; by default the manifest's, or detected.")
    ] = None,
    dialect: Annotated[str | None, typer.Option(help="BCP 47 tag, such as fr-CA; by default the manifest's.")] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="A dialect's expressions (fr-CA.tsv): understood by their standard rendering.")
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Also each word's time and confidence, which the intent heeds; slower.")
    ] = False,
    n_best: Annotated[
        int, typer.Option(min=1, help="Texts that are weighed by their probability, as many beams; slower above 1.")
    ] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Write what recordings, folders or manifests ask for: one JSON object a line, an utterance event and its intent.

    A long recording has a line for each of its utterances, all of one conversation.

    What cannot be heard is named, and the rest goes on.
    """
    from asr.inference.decoding import DecodeOptions
    from asr.inference.transcriber import Transcriber
    from asr.intent.model import load_intent_model
    from asr.intent.needs import recorded_needs
    from asr.privacy.record import open_record

    try:
        # What is missing is said before anything is loaded.
        total = sum(1 for _ in find_jobs(inputs, Path()))
        with ExitStack() as stack:
            with Console(stderr=True).status(f"loading {model}"):
                intents = load_intent_model(intent_model)
                options = DecodeOptions(beam_size=n_best if n_best > 1 else None, n_best=n_best)
                transcriber = Transcriber(model, device=device, options=options, lexicon=lexicon, words=words)
            finder = None
            if needs is not None:
                manifests = [path for path in inputs if path.is_file() and is_manifest(path)]
                finder = stack.enter_context(recorded_needs(needs, open_record(), why, manifests))
            lines: IO[str] = sys.stdout if output is None else stack.enter_context(atomic_write(output))
            failed = _write(transcriber, intents, finder, find_jobs(inputs, Path()), lines, language, dialect)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(f"{total - failed} understood, {failed} failed", err=True)
    raise typer.Exit(1 if failed else 0)


def _write(
    transcriber: Transcriber,
    intents: IntentModel,
    finder: NeedFinder | None,
    jobs: Iterable[Job | ManifestError],
    lines: IO[str],
    language: str | None,
    dialect: str | None,
) -> int:
    """Write a line per utterance, and return the number of jobs that failed."""
    waiting: deque[Job | ManifestError] = deque()

    def sources() -> Iterator[str | Fragment | ManifestError]:
        for job in jobs:
            waiting.append(job)
            yield job.source if isinstance(job, Job) else job

    failed = 0
    with closing(transcriber.transcribe_many(sources(), language=language, dialect=dialect)) as results:
        for result in results:
            job = waiting.popleft()
            try:
                found = _understood(job, result, intents, finder)
                written = [json.dumps(one, ensure_ascii=False, allow_nan=False) for one in found]
            except AsrError as error:
                failed += 1
                typer.echo(f"failed: {error}", err=True)
                continue
            lines.writelines(line + "\n" for line in written)
    return failed


def _understood(
    job: Job | ManifestError, result: Transcript | AsrError, intents: IntentModel, finder: NeedFinder | None
) -> list[dict[str, object]]:
    """What each utterance of one job asks for.

    Raises:
        AsrError: It could not be heard.
    """
    from asr.inference.understanding import understand_all

    if isinstance(job, ManifestError):
        raise job
    if isinstance(result, AsrError):
        raise result if isinstance(job.source, str) else AsrError(f"{job.name}: {result}")
    told = []
    for understood in understand_all(result, intents, job.source if isinstance(job.source, Fragment) else None):
        needs = {} if finder is None else {"needs": asdict(finder.decide(understood.event, understood.intent))}
        told.append(understood.to_dict() | needs)
    return told
