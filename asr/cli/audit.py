"""Commands on the record of what was done: verify, show, head. Which record is said by ASR_RECORD."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asr.privacy.entries import Entry

app = typer.Typer(help="Show and verify the record of everything that was done with fragments.", no_args_is_help=True)


@app.command()
def verify(
    head: Annotated[
        str | None, typer.Option(help="A hash that `asr audit head` printed earlier, kept where nobody can change it.")
    ] = None,
) -> None:
    """Find every edit, deletion, insertion and reordering of entries.

    Whoever can write to the database can cut off the last entries, or write everything from one on anew. Only --head
    shows that.
    """
    from asr.privacy.record import open_record

    record = open_record()
    findings = record.verify(head)
    for finding in findings:
        typer.echo(finding)
    if findings:
        raise typer.Exit(1)
    against = "" if head is not None else "; without --head nobody can say whether the last entries are all there"
    typer.echo(f"the record {record.place} holds{against}")


@app.command()
def show(
    manifest: Annotated[
        Path | None, typer.Option(help="Only what was done with this manifest, as it is now, whatever its name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines that the hashes cover.")] = False,
) -> None:
    """Print the entries, oldest first."""
    from asr.privacy.record import open_record
    from asr.sums import sha256_of

    wanted = None if manifest is None else sha256_of(manifest)
    for entry in open_record().entries():
        if wanted is None or any(mark.sha256 == wanted for mark in entry.manifests):
            typer.echo(entry.line if as_json else _sentence(entry))


@app.command()
def head() -> None:
    """Print the hash of the last entry: note it elsewhere, for `asr audit verify --head`."""
    from asr.privacy.record import open_record

    typer.echo(open_record().head())


def _sentence(entry: Entry) -> str:
    marks = "".join(f" | {mark.name} {mark.sha256[:12]} ({mark.fragments})" for mark in entry.manifests)
    details = f" | {json.dumps(entry.details)}" if entry.details else ""
    return f"{entry.number} {entry.when:%Y-%m-%d %H:%M:%S} {entry.who} {entry.action} for {entry.why}{marks}{details}"
