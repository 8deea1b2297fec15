"""The command that makes of a checkpoint what another runtime loads, and has it heard there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.console import Console
from rich.progress import Progress

from asr.cli.models import Why, WithoutConsentCheck, consent_details
from asr.export.targets import FRAGMENTS, TOLERANCE, Quantization, Target


def export(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint, or a base model's name.")],
    to: Annotated[
        Target, typer.Option("--to", help="The runtime: faster-whisper and our own engine load ctranslate2.")
    ],
    output: Annotated[Path, typer.Option(help="The folder to make.")],
    check: Annotated[
        Path | None, typer.Option(help="Fragments with their text, which checkpoint and export both transcribe.")
    ] = None,
    without_check: Annotated[
        bool, typer.Option("--without-check", help="Nobody hears the export; has no short form.")
    ] = False,
    fragments: Annotated[
        int, typer.Option(min=1, help="Most fragments to check with, from the first one on.")
    ] = FRAGMENTS,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Most by which the WER may differ, either way: 0.02 is two points.")
    ] = TOLERANCE,
    quantization: Annotated[Quantization, typer.Option(help="Of the weights, for ctranslate2.")] = "int8",
    why: Why = "evaluation",
    without_consent_check: WithoutConsentCheck = False,
) -> None:
    """Export a checkpoint, have the runtime that it is for transcribe fragments, and keep it if the WER is the same.

    Heads, calibration, labels and window lie beside the model (dialect_asr.safetensors), so that this project has all
    of the checkpoint again. An export that differs is refused: nothing is left of it, and the exit code is 1.
    """
    if (check is None) == (not without_check):
        raise typer.BadParameter(
            "give --check and a manifest, so that the export is heard before it is used, or spell out --without-check"
        )
    from itertools import islice

    from asr.export.run import RUNTIMES
    from asr.export.run import export as run
    from asr.model.checkpoint import load_checkpoint
    from asr.privacy.consent import ConsentCheck, ask, read_consented
    from asr.privacy.record import open_record

    if check is None:
        run(load_checkpoint(checkpoint), to, output, None, quantization=quantization)
        typer.echo(f"written to {output}; nobody has heard it yet")
        return
    consent = None if without_consent_check else ConsentCheck("evaluation")
    refused = ask([check], consent)
    chosen = list(islice(read_consented(check, consent), fragments))
    details: dict[str, JsonValue] = {"command": "export", "models": [{"name": Path(checkpoint).name}]}
    details |= consent_details(consent is None, refused)
    with open_record().during("evaluate", why=why, manifests=[check], details=details) as outcome:
        loaded = load_checkpoint(checkpoint)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("comparing", total=len(RUNTIMES[to]) * len(chosen))
            found = run(
                loaded,
                to,
                output,
                chosen,
                quantization=quantization,
                tolerance=tolerance,
                heard=lambda: progress.advance(task),
            )
        outcome.details["fragments"] = len(chosen)
    typer.echo("\n".join([*map(str, found), f"written to {output}"]))
