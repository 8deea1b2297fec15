"""Commands on what people are owed: erase a speaker, and show what is done with the data."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.status import Status

from asr.errors import RecordError
from asr.files import atomic_write

if TYPE_CHECKING:
    from asr.privacy.erase import Erasure


def erase(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of data: manifests, recordings, transcripts, labels, runs.")
    ] = [],  # noqa: B006 (typer copies it)
    speaker: Annotated[str | None, typer.Option(help="Id of the speaker, as the manifests have it.")] = None,
    original: Annotated[
        bool, typer.Option("--original", help="The id is the true one; the pseudonyms are derived with --key.")
    ] = False,
    key: Annotated[
        list[Path], typer.Option(help="With --original: the key of a release; repeat for more releases.")
    ] = [],  # noqa: B006
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go; change nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an erasure that was interrupted.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="The deletion list (JSON); by default in the user's state folder.")
    ] = None,
    tombstones: Annotated[
        Path | None, typer.Option(help="File of the tombstones; by default ASR_TOMBSTONES, or the state folder's.")
    ] = None,
) -> None:
    """Erase a speaker from folders: audio, fragments, annotations, transcripts, features, and their names.

    A recording that others speak in stays, with the speaker's stretches silent. Nothing outside the folders is touched.
    Afterwards everything is searched once more; what still tells of the speaker is listed, with exit code 1.
    """
    # All of it is for this command alone: others need not wait for it.
    from asr.privacy import erase as erasure
    from asr.privacy.pseudonyms import pseudonym, read_key
    from asr.privacy.record import open_record
    from asr.privacy.tombstones import state_folder, tombstones_path

    record, state = open_record(), state_folder() / "erase.jsonl"
    if resume:
        if folders or speaker or dry_run:
            raise typer.BadParameter("--resume goes on with what is written down; give nothing else")
        with _status("erasing"):
            _show(erasure.resume(state, record=record), done=True)
        return
    if not folders or not speaker:
        raise typer.BadParameter("give --speaker and the folders of data")
    if original != bool(key):
        raise typer.BadParameter("--original and --key go together")
    # Where the true id stands in these folders too, it goes as well.
    speakers = [speaker, *(pseudonym("speaker", speaker, read_key(path, folders)) for path in key)]
    if dry_run:
        with _status("searching"):
            found = erasure.plan_erasure(folders, speakers, record)
        for deed in found.plan.deeds:
            typer.echo(f"{deed.do} {deed.path}" + (f" ({deed.records} records)" if deed.records else ""))
        _show(found, done=False)
        return
    now = datetime.now(timezone.utc)
    with _status("erasing"):
        done = erasure.erase(
            folders,
            speakers,
            record=record,
            tombstones=tombstones or tombstones_path(),
            state=state,
            deletions=output or state_folder() / "deletions" / f"{now:%Y%m%dT%H%M%SZ}.json",
        )
    _show(done, done=True)


def register(
    output: Annotated[list[Path], typer.Option(help="Page to write, .md or .html; repeat for both.")],
    manifests: Annotated[list[Path], typer.Argument(help="Manifests whose consents and numbers are to be shown.")] = [],  # noqa: B006
    datasets: Annotated[Path, typer.Option(help="Folder of the corpora's cards.")] = Path("datasets"),
    figures: Annotated[
        list[Path], typer.Option(help="Measured figures of privacy (JSON of a benchmark); repeat for more.")
    ] = [],  # noqa: B006
    controller: Annotated[str, typer.Option(help="Name and contact of who is responsible.")] = "",
) -> None:
    """Write the processing register: which data, from where, under which consent, what was done, who saw it.

    The headings are those of Article 30 of the GDPR. Which record is said by ASR_RECORD.
    """
    from asr.privacy.holdings import count_held, read_cards, read_figures
    from asr.privacy.page import to_html, to_markdown
    from asr.privacy.record import open_record
    from asr.privacy.register import make_register

    kinds = {".md": to_markdown, ".html": to_html}
    if unknown := [path for path in output if path.suffix not in kinds]:
        raise typer.BadParameter(f"{unknown[0].name} is neither .md nor .html", param_hint="--output")
    now = datetime.now(timezone.utc)
    record = open_record()
    with _status("reading"):
        held, broken = count_held(manifests, now.date())
        measured = [figure for path in figures for figure in read_figures(path)]
        try:
            faults = record.verify()
            chain = f"The record was checked: {'; '.join(faults)}." if faults else "The record was checked: it holds."
            entries = record.entries()
        except RecordError as error:
            chain, entries = f"There is nothing to say of what was done: {error}.", iter(())
        cards = read_cards(datasets)
        page = make_register(entries, cards, held, measured, now=now, controller=controller, chain=chain, broken=broken)
    for path in output:
        with atomic_write(path) as handle:
            handle.write(kinds[path.suffix](page))
        typer.echo(f"written to {path}")


def _status(doing: str) -> Status:
    return Console(stderr=True).status(doing)


def _show(erasure: Erasure, *, done: bool) -> None:
    """Say what went; end with exit code 1 where something is left."""
    for what, count in erasure.counts.items():
        typer.echo(f"{count:6} {what}")
    if erasure.plan.traces.overlapping:
        typer.echo(f"{erasure.plan.traces.overlapping} fragments of others overlap with theirs, and are silent there")
    for model in erasure.plan.models:
        typer.echo(f"trained on them: {model}")
    for training in erasure.trained:
        made = ", ".join(training.checkpoints) or "no checkpoints are on record"
        typer.echo(f"trained on them: run {training.run!r}, entry {training.entry} of the record: {made}")
    for left in erasure.left:
        typer.echo(f"left: {left.path} {left.why}".replace("  ", " "), err=True)
    for note in erasure.notes:
        typer.echo(note, err=True)
    if done:
        typer.echo(f"erased; the deletion list is {erasure.deletions}")
    if erasure.left:
        raise typer.Exit(1)
