"""The command that makes a pseudonymised release of a corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asr.errors import ManifestError
from asr.privacy.cells import Cell
from asr.privacy.pseudonyms import fingerprint, new_key, read_key
from asr.privacy.release import MANIFEST, ReleaseOptions, ReleaseReport
from asr.privacy.release import pseudonymise as make_release

_DEFAULTS = ReleaseOptions()
_SHOWN = 40


def pseudonymise(
    manifest: Annotated[Path, typer.Argument(help="The manifest (.jsonl, .jsonl.gz) to pseudonymise.")],
    output: Annotated[Path, typer.Argument(help="The folder to make; it must not be there yet.")],
    key: Annotated[Path, typer.Option(help="The file with the key, outside the data. Another key, other ids.")],
    why: Annotated[str, typer.Option(help="What the release is for; it goes into the record.")],
    make_key: Annotated[bool, typer.Option("--new-key", help="Make the key first; the file must not exist.")] = False,
    k: Annotated[int, typer.Option(min=1, help="Speakers in every cell of dialect, gender and age.")] = _DEFAULTS.k,
    keep: Annotated[
        list[str], typer.Option(help="An unknown key that may stay, such as mic or consent.form; repeat for more.")
    ] = [],  # noqa: B006 (typer copies it)
    mask_words: Annotated[
        bool,
        typer.Option("--mask-words", help="Mask names, numbers and addresses in texts and sound, as `asr mask` does."),
    ] = False,
    audio: Annotated[bool, typer.Option(help="Write the recordings; without, texts and ids alone.")] = True,
    root: Annotated[
        Path | None, typer.Option(help="The folder in which the recordings lie; the manifest's by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Make a release in which nobody is named: new ids, plain recordings, months for days, another order."""
    from asr.privacy.masked import mask_words as masked
    from asr.privacy.record import open_record

    data = [manifest.absolute().parent, output, *([] if root is None else [root])]
    secret = new_key(key, data) if make_key else read_key(key, data)
    changes = {"mask-words": masked} if mask_words else {}
    options = ReleaseOptions(k=k, keep=frozenset(keep), audio=audio, root=root, changes=changes)
    errors: list[ManifestError] = []
    details: dict[str, JsonValue] = {
        "key": fingerprint(secret),
        "k": k,
        "audio": audio,
        "changes": list(changes),
    }
    try:
        with open_record().during("pseudonymise", why=why, manifests=[manifest], details=details) as outcome:
            with Console(stderr=True).status("pseudonymising"):
                report = make_release(manifest, output, secret, options, errors)
            outcome.manifests.append(output / MANIFEST)
            outcome.details |= report.counts()
    finally:  # they may be why nothing can be released
        for error in errors:
            typer.echo(f"skipped: {error}", err=True)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        _show(report, output)
    if report.skipped > len(errors):
        typer.echo(f"… and {report.skipped - len(errors)} more lines", err=True)
    raise typer.Exit(1 if report.skipped else 0)


def _show(report: ReleaseReport, output: Path) -> None:
    console = Console()
    if report.widened:
        table = Table("dialect", "gender", "age", "speakers", "shown as", title="cells that too few speakers share")
        for item in report.widened[:_SHOWN]:
            language, *attributes = item.cell
            shown = "held back" if item.shown is None else _named(item.shown)
            # Text: their brackets are no markup.
            cells = (attributes[0] or language, attributes[1] or "-", attributes[2] or "-", item.speakers, shown)
            table.add_row(*map(Text, cells))
        console.print(table)
        if len(report.widened) > _SHOWN:
            typer.echo(f"… and {len(report.widened) - _SHOWN} other cells (--json shows all)")
    if report.dropped:
        table = Table("key", "fragments", title="unknown keys left out (--keep lets them stay)")
        for name, count in sorted(report.dropped.items(), key=lambda item: -item[1])[:_SHOWN]:
            table.add_row(Text(name), str(count))
        console.print(table)
        if len(report.dropped) > _SHOWN:
            typer.echo(f"… and {len(report.dropped) - _SHOWN} other keys (--json shows all)")
    table = Table("fragments", "speakers", "held back", "skipped lines", "cells widened", "keys left out")
    numbers = (report.fragments, report.speakers, report.held_back, report.skipped)
    table.add_row(*map(str, (*numbers, len(report.widened), len(report.dropped))))
    console.print(table)
    if report.without_speaker:
        typer.echo(f"{report.without_speaker} fragments name no speaker, and count for nobody")
    if report.in_several_cells:
        typer.echo(f"{report.in_several_cells} speakers lie in several cells: together these may be rarer than each")
    typer.echo(f"release: {output / MANIFEST}")


def _named(cell: Cell) -> str:
    return ", ".join(part for part in (cell.dialect or cell.language, cell.gender, cell.age_band) if part)
