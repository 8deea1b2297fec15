"""The command that packs a corpus."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from asr.cli.models import Why, WithoutConsentCheck, consent_details

if TYPE_CHECKING:
    from asr.data.pack import Made


def pack(
    manifests: Annotated[list[Path], typer.Argument(help="The fragments; all of them go into one set of archives.")],
    output: Annotated[Path, typer.Option(help="The folder for the archives.")],
    shard_size: Annotated[int, typer.Option(min=1, help="Fragments in an archive, on average.")] = 1000,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the order, which is random.")] = 0,
    why: Why = "training",
    without_consent_check: WithoutConsentCheck = False,
) -> None:
    """Pack fragments, recordings and all, into a few large archives that are read piece by piece from anywhere.

    The archives are lhotse's (Shar), of FLAC at 16 kHz. Train on the folder (data.train=FOLDER), wherever it is: its
    address in object storage will do (data.train=s3://…). Killed, the same command goes on, and packed again, only
    archives are made anew of which something has changed. What cannot be read is named and left out, and the exit code
    is 1 then.
    """
    from asr.data.pack import MANIFEST
    from asr.data.pack import pack as pack_all
    from asr.privacy.consent import ConsentCheck, ask
    from asr.privacy.record import open_record

    consent = None if without_consent_check else ConsentCheck("training")
    refused = ask(manifests, consent)
    details = {"command": "pack", **consent_details(consent is None, refused)}

    def progress(shards: Iterable[Made], count: int) -> Iterable[Made]:
        return track(shards, "packing", count, console=Console(stderr=True))

    with open_record().during("train", why=why, manifests=manifests, details=details) as outcome:
        found = pack_all(
            manifests, output, shard_size=shard_size, jobs=jobs, seed=seed, consent=consent, progress=progress
        )
        outcome.manifests.append(output / MANIFEST)
    fragments = sum(shard.fragments for shard in found.shards)
    hours = sum(shard.seconds for shard in found.shards) / 3600
    typer.echo(
        f"{fragments} fragments, {hours:.2f} h, in {len(found.shards)} archives, {found.made} of them new; train with "
        f"data.train={output}"
    )
    if left_out := sum(len(shard.unreadable) for shard in found.shards) + found.broken:
        typer.echo(f"{left_out} fragments were left out; run `asr validate` on their manifests", err=True)
        raise typer.Exit(1)
