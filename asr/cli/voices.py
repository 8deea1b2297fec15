"""The command that changes voices for those who listen."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def change_voice(
    manifest: Annotated[
        Path, typer.Argument(help="The fragments (.jsonl, .jsonl.gz), best of a pseudonymised release.")
    ],
    output: Annotated[Path, typer.Argument(help="The folder to make: audio/ID.flac and manifest.jsonl.")],
    key: Annotated[Path, typer.Option(help="The file with the key, outside the data. Another key, other voices.")],
    method: Annotated[str, typer.Option(help="The method by its name.")] = "world",
    why: Annotated[str, typer.Option(help="What the copy is for; it goes into the record.")] = "change voices",
) -> None:
    """Copy a corpus with other voices, for annotators: the same words, the same tune.

    The copy is pseudonymised, not anonymous: the README says how well a voice is still told again. Training takes the
    recordings as they are.
    """
    from asr.privacy.copies import MANIFEST, change_voices
    from asr.privacy.pseudonyms import fingerprint, read_key
    from asr.privacy.record import open_record

    began = time.perf_counter()
    secret = read_key(key, [manifest.absolute().parent, output])
    details = {"key": fingerprint(secret), "method": method}
    with open_record().during("pseudonymise", why=why, manifests=[manifest], details=details) as outcome:
        with Console(stderr=True).status("changing voices"):
            report = change_voices(manifest, output, secret, method)
        outcome.manifests.append(output / MANIFEST)
    for failure in report.failures:
        typer.echo(f"failed: {failure}", err=True)
    took = time.perf_counter() - began
    typer.echo(
        f"{report.fragments} fragments, {report.seconds:.0f} s of sound, changed in {took:.0f} s: {output / MANIFEST}; "
        f"{len(report.failures)} failures left out"
    )
    if report.failures:
        raise typer.Exit(1)
