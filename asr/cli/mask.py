"""The command that takes personal data out of words and sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def mask(
    manifest: Annotated[Path, typer.Argument(help="The manifest to copy (.jsonl, .jsonl.gz).")],
    output_dir: Annotated[Path, typer.Argument(help="Folder of the masked copy: the manifest, and audio/.")],
    why: Annotated[str, typer.Option(help="What the copy is for; it goes into the record.")] = "mask",
    beep: Annotated[bool, typer.Option("--beep", help="A tone of 1 kHz instead of silence.")] = False,
) -> None:
    """Copy a manifest with names, numbers and addresses masked, in its texts and in its audio."""
    from asr.privacy.masked import mask_manifest
    from asr.privacy.record import open_record

    with open_record().during("pseudonymise", why=why, manifests=[manifest], details={"masked": True}) as outcome:
        with Console(stderr=True).status("masking"):
            report = mask_manifest(manifest, output_dir, beep=beep)
        outcome.manifests.append(report.path)
    for failure in report.failures:
        typer.echo(f"left out: {failure}", err=True)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(report.spans.items())) or "nothing"
    typer.echo(f"{report.fragments} fragments written to {report.path}; masked: {counts}")
    if report.failures:
        raise typer.Exit(1)
