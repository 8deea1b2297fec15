"""The command that turns recordings into transcripts: files in, files out, and what has failed in one sentence each."""

from __future__ import annotations

import errno
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from asr.cli.jobs import Job, find_jobs, is_manifest, survey
from asr.errors import AsrError, ConfigError, ManifestError
from asr.expressions import BIAS
from asr.fragment import Fragment
from asr.inference.batches import BATCH_SECONDS, WORKERS
from asr.transcript import Transcript
from asr.writers import FORMATS, check_formats, write_transcript

if TYPE_CHECKING:
    from asr.inference.transcriber import Transcriber

# A name that cannot be is one file's fault; anything else about the folder or the disk would be every file's.
_FAULTS_OF_A_NAME = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ}


def transcribe(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Recordings of any length, folders of them, manifests (.jsonl, .jsonl.gz)."),
    ],
    model: Annotated[
        str, typer.Option(help="A base model's name, or a path: a checkpoint, a model's folder.")
    ] = "base",
    formats: Annotated[
        str, typer.Option("--format", "-f", help=f"One or more of {', '.join(FORMATS)}, separated by commas.")
    ] = "txt",
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Where the files go; by default the current folder.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Whisper's code, such as fr; by default the manifest's, or detected.")
    ] = None,
    dialect: Annotated[
        str | None, typer.Option(help="BCP 47 tag, such as fr-CA; implies its language. By default the manifest's.")
    ] = None,
    beam_size: Annotated[
        int | None, typer.Option(min=1, help="Number of beams in beam search; without it, greedy.")
    ] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="A dialect's expressions (fr-CA.tsv): annotated, rendered, led to by --bias.")
    ] = None,
    bias: Annotated[
        float, typer.Option(min=0, help="Natural-log bonus per token of the lexicon's expressions; 0 only annotates.")
    ] = BIAS,
    tag: Annotated[
        str,
        typer.Option(
            help="Dialect told to a model that was taught its tag: auto (given, else heard), given, never, or a tag."
        ),
    ] = "auto",
    words: Annotated[
        bool, typer.Option("--words", help="Also when each word was said and which are emphasised (in json); slower.")
    ] = False,
    batch_seconds: Annotated[
        float, typer.Option(help="Most seconds decoded at once; more is faster and takes more memory.")
    ] = BATCH_SECONDS,
    workers: Annotated[int, typer.Option(min=1, help="Threads that load audio.")] = WORKERS,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Transcribe again what is there in every format.")
    ] = False,
) -> None:
    """Write what is said in recordings, folders or manifests to files.

    What is there already in every format is skipped, so that a run that was interrupted goes on when it is repeated.
    """
    folder = output_dir or Path()
    # One recording and no folder named: somebody wants to see what it can do.
    aloud = output_dir is None and len(inputs) == 1 and inputs[0].is_file() and not is_manifest(inputs[0])
    try:
        wanted = _formats(formats)
        found = survey(inputs, folder, wanted)
        folder.mkdir(parents=True, exist_ok=True)
        run = _Run(wanted, aloud, skipped=0 if overwrite else found.done)
        if run.skipped < found.jobs:
            jobs = (job for job in find_jobs(inputs, folder) if overwrite or not _done(job, wanted))
            with Console(stderr=True).status(f"loading {model}"):
                transcriber = _load(model, device, batch_seconds, beam_size, workers, lexicon, bias, tag, words)
            run.transcribe(transcriber, jobs, found.jobs - run.skipped, language, dialect)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(run.summary(), err=True)
    raise typer.Exit(1 if run.failed else 0)


def _formats(names: str) -> tuple[str, ...]:
    formats = tuple(name.strip() for name in names.split(","))
    check_formats(formats)
    return formats


def _done(job: Job | ManifestError, formats: tuple[str, ...]) -> bool:
    return isinstance(job, Job) and job.done(formats)


def _load(
    model: str,
    device: str,
    batch_seconds: float,
    beam_size: int | None,
    workers: int,
    lexicon: Path | None,
    bias: float,
    tag: str,
    words: bool,
) -> Transcriber:
    from asr.inference.decoding import DecodeOptions
    from asr.inference.transcriber import Transcriber

    return Transcriber(
        model,
        device=device,
        batch_seconds=batch_seconds,
        options=DecodeOptions(beam_size=beam_size, bias=bias, tag=tag),
        workers=workers,
        lexicon=lexicon,
        words=words,
    )


class _Run:
    """One run over the jobs that are to be done; counts what became of them."""

    def __init__(self, formats: tuple[str, ...], aloud: bool, skipped: int) -> None:
        self.formats = formats
        self.aloud = aloud
        self.skipped = skipped
        self.written = 0
        self.failed = 0
        self.audio_seconds = 0.0
        self.fallbacks: Counter[str] = Counter()
        self.seconds = 0.0

    def transcribe(
        self,
        transcriber: Transcriber,
        jobs: Iterable[Job | ManifestError],
        total: int,
        language: str | None,
        dialect: str | None,
    ) -> None:
        """Transcribe and write all jobs, and show how far it is."""
        waiting: deque[Job | ManifestError] = deque()

        def sources() -> Iterator[str | Fragment | ManifestError]:
            for job in jobs:
                waiting.append(job)
                yield job.source if isinstance(job, Job) else job

        results = transcriber.transcribe_many(sources(), language=language, dialect=dialect)
        began = time.perf_counter()
        with closing(results), _progress() as progress:
            task = progress.add_task("", total=total, speed="")
            for result in results:
                try:
                    self._keep(waiting.popleft(), result)
                except AsrError as error:
                    self.failed += 1
                    progress.console.print(f"failed: {error}", markup=False, highlight=False, soft_wrap=True)
                self.seconds = time.perf_counter() - began
                speed = f"{self.audio_seconds / self.seconds:.1f} s of audio per second"
                progress.update(task, advance=1, speed=speed)

    def _keep(self, job: Job | ManifestError, result: Transcript | AsrError) -> None:
        """Write a transcript.

        Raises:
            AsrError: There is none, or it has a name that no file can have.
        """
        if isinstance(job, ManifestError):
            raise job
        if isinstance(result, AsrError):
            # The error knows the recording, but not which of its fragments this is.
            raise result if isinstance(job.source, str) else AsrError(f"{job.name}: {result}")
        try:
            write_transcript(result, job.stem, self.formats)
        except OSError as error:
            if error.errno not in _FAULTS_OF_A_NAME:
                raise
            raise AsrError(f"{job.name}: its transcript cannot be written to {job.stem}: {error.strerror}") from error
        self.written += 1
        self.audio_seconds += result.duration
        self.fallbacks.update(result.fallbacks)
        if self.aloud:
            typer.echo(result.text)

    def summary(self) -> str:
        """One sentence."""
        skipped = f", {self.skipped} skipped (there already; --overwrite does them again)" if self.skipped else ""
        speed = f" (real-time factor {self.seconds / self.audio_seconds:.3f})" if self.audio_seconds else ""
        steps = ", ".join(f"{name} {count}" for name, count in sorted(self.fallbacks.items()))
        again = f"; windows decoded again: {steps}" if steps else ""
        return (
            f"{self.written} transcribed{skipped}, {self.failed} failed; "
            f"{self.audio_seconds / 3600:.2f} h of audio in {self.seconds:.1f} s{speed}{again}"
        )


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
