"""The command that turns recordings into transcripts: files in, files out, and what has failed in one sentence each."""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from asr.archive.output import Output
from asr.archive.parquet import parquet_schema, write_parquet
from asr.archive.run import LocalRunner, Runner, transcribe_archive
from asr.archive.tally import Tally, kind_of
from asr.archive.work import Settings
from asr.cli.jobs import Job, count_jobs, find_jobs, find_sources, is_manifest, survey
from asr.errors import AsrError, ConfigError, ManifestError
from asr.expressions import BIAS
from asr.fragment import Fragment
from asr.inference.batches import BATCH_SECONDS, WORKERS
from asr.transcript import Transcript
from asr.writers import FORMATS, check_formats, write_transcript

if TYPE_CHECKING:
    from asr.inference.transcriber import Transcriber

# Seconds between two lines about a run that nobody watches in a terminal.
_LINE_SECONDS = 60.0
# A name that cannot be is one file's fault; anything else about the folder or the disk would be every file's.
_FAULTS_OF_A_NAME = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ}


Adapters = Annotated[
    Path | None, typer.Option(help="Folder of dialects' adapters of the model (fr-CA.safetensors): asr adapter.")
]
Routing = Annotated[
    str, typer.Option(help="Whose adapter, where no dialect is given: hard (the heard dialect's), soft (mixed), given.")
]


def transcribe(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Recordings of any length, folders of them, manifests (.jsonl, .jsonl.gz)."),
    ],
    model: Annotated[
        str, typer.Option(help="A base model's name, or a path: a checkpoint, a model's folder.")
    ] = "base",
    formats: Annotated[
        str | None,
        typer.Option("--format", "-f", help=f"One or more of {', '.join(FORMATS)}, separated by commas; txt if none."),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Where the files go; by default the current folder.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="One file for all instead, a line or row each: .jsonl or .parquet.")
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
    n_best: Annotated[
        int, typer.Option(min=1, help="Different texts that are kept of as many beams or more, with probabilities.")
    ] = 1,
    adapters: Adapters = None,
    routing: Routing = "hard",
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
    engine: Annotated[
        str, typer.Option(help="torch, ctranslate2 (for its exports: asr export), or auto: by what the model is.")
    ] = "auto",
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Batches heard at a time by ctranslate2; by default one for each core.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for each batch; by default all for torch, one for ctranslate2.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    runner: Annotated[
        str, typer.Option(help="Where --output is made: local, or ray for worker processes on any number of machines.")
    ] = "local",
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Workers of ray; by default one for each GPU, or for every four cores without one."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Transcribe again what is there.")] = False,
) -> None:
    """Write what is said in recordings, folders or manifests to files.

    What is there already in every format is skipped, so that a run that was interrupted goes on when it is repeated.
    With --output, what is there is known by the content of its recording, and the file is the same as of a run that
    was never interrupted.
    """
    settings = Settings(
        model=model,
        engine=engine,
        device=device,
        replicas=replicas,
        threads=threads,
        batch_seconds=batch_seconds,
        workers=workers,
        beam_size=beam_size,
        n_best=n_best,
        adapters=None if adapters is None else str(adapters),
        routing=routing,
        lexicon=None if lexicon is None else str(lexicon),
        bias=bias,
        tag=tag,
        words=words,
        language=language,
        dialect=dialect,
    )
    if output is not None:
        if formats is not None or output_dir is not None:
            raise typer.BadParameter("--output makes one file of all; leave --format and --output-dir out, or it")
        _archive(inputs, output, settings, runner, processes, overwrite)
        return
    if runner != "local" or processes is not None:
        raise typer.BadParameter("--runner and --processes are for one file of all; name it with --output")
    folder = output_dir or Path()
    # One recording and no folder named: somebody wants to see what it can do.
    aloud = output_dir is None and len(inputs) == 1 and inputs[0].is_file() and not is_manifest(inputs[0])
    try:
        wanted = _formats("txt" if formats is None else formats)
        found = survey(inputs, folder, wanted)
        folder.mkdir(parents=True, exist_ok=True)
        run = _Run(wanted, aloud, skipped=0 if overwrite else found.done)
        if run.tally.kept < found.jobs:
            jobs = (job for job in find_jobs(inputs, folder) if overwrite or not _done(job, wanted))
            with Console(stderr=True).status(f"loading {model}"):
                transcriber = settings.load()
            run.transcribe(transcriber, jobs, found.jobs - run.tally.kept, language, dialect)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    _end(run.tally, "skipped (there already; --overwrite does them again)")


def _archive(
    inputs: list[Path], output: Path, settings: Settings, runner: str, processes: int | None, overwrite: bool
) -> None:
    """Write all transcripts into one file."""
    try:
        if output.suffix not in (".jsonl", ".parquet"):
            raise ConfigError(f"--output is one file, .jsonl or .parquet, found {output.name!r}")
        table = output.suffix == ".parquet"
        if table:
            parquet_schema()
        # A table cannot grow; what a repeated run goes on from are the lines beside it.
        path = output.with_name(f"{output.name}.jsonl") if table else output
        if any(path.resolve() == given.resolve() for given in inputs):
            raise ConfigError(f"--output {output} is one of the inputs; name another file")
        where = _runner(runner, settings, processes)
        total = count_jobs(inputs)
        with Output(path, overwrite=overwrite) as lines, _Meter(total) as meter:
            tally = transcribe_archive(partial(find_sources, inputs), lines, settings, where, meter.advance)
        if table:
            write_parquet(path, output)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    if tally.failed:
        typer.echo(f"what failed has its reason as 'error' in {output}", err=True)
    _end(tally, "there already")


def _runner(name: str, settings: Settings, processes: int | None) -> Runner:
    if name == "ray":
        from asr.archive.cluster import RayRunner

        return RayRunner(settings, processes)
    if name != "local":
        raise ConfigError(f"runner {name!r} is not known; choose local or ray")
    if processes is not None:
        raise ConfigError("--processes is for --runner ray; leave it out")
    return LocalRunner(settings)


def _end(tally: Tally, kept: str) -> None:
    typer.echo(tally.summary(kept), err=True)
    raise typer.Exit(1 if tally.failed else 0)


def _formats(names: str) -> tuple[str, ...]:
    formats = tuple(name.strip() for name in names.split(","))
    check_formats(formats)
    return formats


def _done(job: Job | ManifestError, formats: tuple[str, ...]) -> bool:
    return isinstance(job, Job) and job.done(formats)


class _Run:
    """One run over the jobs that are to be done; counts what became of them."""

    def __init__(self, formats: tuple[str, ...], aloud: bool, skipped: int) -> None:
        self.formats = formats
        self.aloud = aloud
        self.tally = Tally(kept=skipped)

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
        with closing(results), _Meter(total) as meter:
            for result in results:
                try:
                    self._keep(waiting.popleft(), result)
                except AsrError as error:
                    self.tally.failures[kind_of(error)] += 1
                    meter.say(f"failed: {error}")
                self.tally.seconds = time.perf_counter() - began
                meter.advance(1, self.tally)

    def _keep(self, job: Job | ManifestError, result: Transcript | AsrError) -> None:
        """Write a transcript.

        Raises:
            AsrError: There is none, or it has a name that no file can have.
        """
        if isinstance(job, ManifestError):
            raise job
        if isinstance(result, AsrError):
            # The error knows the recording, but not which of its fragments this is.
            raise result if isinstance(job.source, str) else type(result)(f"{job.name}: {result}")
        try:
            write_transcript(result, job.stem, self.formats)
        except OSError as error:
            if error.errno not in _FAULTS_OF_A_NAME:
                raise
            raise AsrError(f"{job.name}: its transcript cannot be written to {job.stem}: {error.strerror}") from error
        self.tally.heard(result.duration, result.fallbacks)
        if self.aloud:
            typer.echo(result.text)


class _Meter:
    """Shows how far a run is, and how long the rest will take by the number of items: a bar, or a line a minute.

    Args:
        total: Number of items.
    """

    def __init__(self, total: int) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # Lines are written by blocks, and a block may take minutes.
            speed_estimate_period=600,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, speed="")
        self._total = total
        self._done = self._passed = 0
        self._said = self._began = time.monotonic()

    def __enter__(self) -> _Meter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, sentence: str) -> None:
        """Write a line above the bar."""
        self._bar.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def advance(self, items: int, tally: Tally) -> None:
        """Show that so many items more are done."""
        self._done += items
        if not tally.seconds:
            # What is only looked at tells nothing of the time that the rest takes.
            self._bar.reset(self._task, total=self._total, completed=self._done, speed="looking at what is there")
            self._passed, self._began = self._done, time.monotonic()
            return
        self._bar.update(self._task, advance=items, speed=tally.speed())
        now = time.monotonic()
        if self._bar.disable and now - self._said >= _LINE_SECONDS:
            self._said = now
            left = (now - self._began) / (self._done - self._passed) * (self._total - self._done)
            self.say(
                f"{self._done} of {self._total} items, {tally.failed} failed, {tally.speed()}, "
                f"about {timedelta(seconds=round(left))} left"
            )
