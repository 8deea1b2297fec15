"""Commands of the annotation loop with Label Studio: config, rank, tasks, answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import JsonValue
from rich.console import Console
from rich.table import Table

from asr.annotation.labelling import SENTENCE_TYPES, TUNES, LabelValues, labelling_config, read_choices
from asr.annotation.rank import COUNT, PER_SPEAKER, RARITY, RankCounts, RankOptions
from asr.annotation.rank import rank as ranked
from asr.annotation.tasks import TaskCounts, write_studio
from asr.annotation.transcripts import find_transcript
from asr.errors import AsrError, ManifestError
from asr.files import atomic_write
from asr.fragment import Fragment, read_manifest, write_manifest
from asr.transcript import Transcript

if TYPE_CHECKING:
    from asr.annotation.agreement import Agreement, LabelAgreement

app = typer.Typer(help="Have fragments annotated with Label Studio: what next, tasks, answers.", no_args_is_help=True)

Manifest = Annotated[Path, typer.Argument(help="The fragments (.jsonl, .jsonl.gz).")]
Why = Annotated[str, typer.Option(help="Stands in the record of what was done (asr audit show).")]
WithoutConsentCheck = Annotated[
    bool,
    typer.Option(
        "--without-consent-check",
        help="Take fragments whatever was consented to. Written to the record; has no short form.",
    ),
]
# What consent is asked for.
_PURPOSE: Literal["annotation"] = "annotation"


@app.command()
def config(
    output: Annotated[Path, typer.Argument(help="The labelling configuration to write (.xml).")],
    dialect: Annotated[list[str], typer.Option(help="A dialect's tag, such as fr-BE; repeat for more.")],
    intonation: Annotated[list[str], typer.Option(help="A sentence type; repeat for more.")] = list(SENTENCE_TYPES),  # noqa: B006
    tune: Annotated[list[str], typer.Option(help="A tune; repeat for more.")] = list(TUNES),  # noqa: B006
    regions: Annotated[
        bool, typer.Option("--regions", help="For regions of long recordings (asr convert --format label_studio).")
    ] = False,
) -> None:
    """Write the page that annotators see; paste it into the project's labelling interface."""
    text = labelling_config(LabelValues(tuple(dialect), tuple(intonation), tuple(tune)), regions=regions)
    with atomic_write(output) as handle:
        handle.write(text)
    typer.echo(f"written to {output}")


@app.command()
def rank(
    manifest: Manifest,
    transcripts: Annotated[Path, typer.Option(help="Folder of `asr transcribe MANIFEST --format json`.")],
    output: Annotated[Path, typer.Option(help="The manifest to write, the most worth first.")],
    count: Annotated[int, typer.Option(min=1, help="Most fragments.")] = COUNT,
    per_speaker: Annotated[int, typer.Option(min=1, help="Most fragments of one speaker.")] = PER_SPEAKER,
    rarity: Annotated[
        float, typer.Option(min=0, max=1, help="How much a rare dialect counts; with 0 not at all.")
    ] = RARITY,
    why: Why = _PURPOSE,
    without_consent_check: WithoutConsentCheck = False,
) -> None:
    """Choose what to annotate next: what the recogniser is unsure of, in dialects that are rare."""
    from asr.privacy.record import open_record

    read, details = _allowed(manifest, without_consent_check)
    failures: list[AsrError] = []
    counts = RankCounts()
    with open_record().during("annotate", why=why, manifests=[manifest], details=details) as outcome:
        chosen = ranked(read, _heard(transcripts, failures), RankOptions(count, per_speaker, rarity), counts)
        number = write_manifest((item.fragment for item in chosen), output)
        outcome.manifests.append(output)
    typer.echo(
        f"{number} of {counts.ranked} fragments written to {output}; passed over: {counts.annotated} annotated "
        f"already, {counts.untranscribed} without a transcript"
    )
    _end(failures)


@app.command()
def tasks(
    manifest: Manifest,
    output_dir: Annotated[Path, typer.Option(help="The folder that Label Studio is to serve.")],
    config: Annotated[Path, typer.Option(help="The labelling configuration of the project (.xml).")],
    transcripts: Annotated[
        Path | None, typer.Option(help="Folder of `asr transcribe MANIFEST --format json`: what annotators begin with.")
    ] = None,
    why: Why = _PURPOSE,
    without_consent_check: WithoutConsentCheck = False,
) -> None:
    """Write tasks for Label Studio and the audio that they need, cut out of the recordings, without names and tags."""
    from asr.privacy.record import open_record

    choices = read_choices(config)
    read, details = _allowed(manifest, without_consent_check)
    counts, failures = TaskCounts(), list[AsrError]()
    heard = _heard(transcripts, failures)
    with open_record().during("listen", why=why, manifests=[manifest], details=details) as outcome:
        write_studio(read(), heard, choices, output_dir, counts, failures)
        outcome.details["tasks"] = counts.tasks
    typer.echo(
        f"{counts.tasks} tasks written to {output_dir}, {counts.annotated} of them with what the recogniser heard; "
        f"{counts.failed} failed"
    )
    _end(failures)


@app.command()
def answers(
    exports: Annotated[list[Path], typer.Argument(help="Exports of Label Studio, format JSON.")],
    manifest: Annotated[Path, typer.Option(help="The fragments that the tasks were made of.")],
    output: Annotated[Path, typer.Option(help="The manifest to write: fragments as their annotators have them.")],
    conflicts: Annotated[
        Path | None, typer.Option(help="Manifest of what annotators disagree on, to make tasks for another one.")
    ] = None,
    adjudicator: Annotated[
        str | None, typer.Option(help="Annotator who decides where there is no majority, such as annotator-3.")
    ] = None,
    why: Why = _PURPOSE,
    without_consent_check: WithoutConsentCheck = False,
) -> None:
    """Turn the answers into fragments to train on, and print how well annotators agree."""
    from asr.annotation.answers import AnswerReport, merge_answers, read_answers
    from asr.privacy.record import open_record

    read, details = _allowed(manifest, without_consent_check)
    failures: list[AsrError] = []
    report = AnswerReport()
    given = read_answers(exports, failures)
    with open_record().during("annotate", why=why, manifests=[manifest], details=details) as outcome:
        number = write_manifest(merge_answers(read(), given, report, failures, adjudicator), output)
        outcome.manifests.append(output)
        outcome.details["conflicts"] = len(report.conflicts)
    _show_agreement(report.agreement)
    typer.echo(
        f"{number} fragments written to {output}: {report.agreed} agreed, {report.adjudicated} adjudicated; left out: "
        f"{len(report.conflicts)} in conflict, {report.untold} that nobody could tell, {report.unknown} not in the "
        "manifest or without consent"
    )
    if report.conflicting:
        typer.echo("in conflict: " + ", ".join(f"{name} {times}" for name, times in report.conflicting.most_common()))
    if conflicts is not None:
        write_manifest(report.conflicts, conflicts)
        typer.echo(f"conflicts written to {conflicts}: make tasks of it for another annotator")
    _end(failures)


def _allowed(manifest: Path, without_check: bool) -> tuple[Callable[[], Iterator[Fragment]], dict[str, JsonValue]]:
    """Return how to read the fragments that may be annotated, and what the record says of consent."""
    from asr.privacy.consent import ConsentCheck, ask, consented

    refused = ask([manifest], None if without_check else ConsentCheck(_PURPOSE))

    def read() -> Iterator[Fragment]:
        fragments = read_manifest(manifest)
        return fragments if without_check else consented(fragments, _PURPOSE, on=date.today(), refused=Counter())

    return read, {"without_consent_check": True} if without_check else {"refused": dict(refused)}


def _heard(folder: Path | None, failures: list[AsrError]) -> Callable[[Fragment], Transcript | None]:
    """Return what finds transcripts; one that cannot be read is as good as none, and reported."""

    def find(fragment: Fragment) -> Transcript | None:
        try:
            return None if folder is None else find_transcript(fragment.id, folder)
        except ManifestError as error:
            failures.append(error)
            return None

    return find


def _show_agreement(agreement: Agreement) -> None:
    pairs = agreement.pairs()
    if not pairs:
        typer.echo("nothing was annotated by two: no agreement to measure")
        return
    overall = agreement.overall()
    table = Table("annotators", title="agreement: WER between transcripts, Krippendorff's alpha of labels (units)")
    for column in ("fragments", "WER", *(item.field for item in overall)):
        table.add_column(column, justify="right")
    for pair in pairs:
        wer = "-" if pair.wer is None else f"{100 * pair.wer:.2f} %"
        row = (f"{pair.first}, {pair.second}", str(pair.fragments), wer)
        table.add_row(*row, *map(_alpha, pair.labels))
    table.add_section()
    table.add_row("all", "", "", *map(_alpha, overall))
    Console().print(table)


def _alpha(item: LabelAgreement) -> str:
    return f"{'-' if item.alpha is None else f'{item.alpha:.3f}'} ({item.units})"


def _end(failures: list[AsrError]) -> None:
    for failure in failures:
        typer.echo(f"failed: {failure}", err=True)
    if failures:
        raise typer.Exit(1)
