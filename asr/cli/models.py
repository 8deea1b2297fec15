"""Commands on models: label fragments with what one hears, interpolate between two, calibrate the heads of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from asr.errors import AsrError, ManifestError


def label(
    manifest: Annotated[Path, typer.Argument(help="The fragments; their transcripts are not used.")],
    output: Annotated[Path, typer.Option(help="The manifest to write: the same fragments, with what the model hears.")],
    model: Annotated[str, typer.Option(help="A base model's name, or a checkpoint.")] = "base",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    batch_seconds: Annotated[float, typer.Option(help="Most seconds of encoder window decoded at once.")] = 480.0,
) -> None:
    """Label fragments with what a model hears in them: targets for the tight window, and for replay.

    Loops are left out and counted; a fragment that cannot be transcribed is named, and the exit code is 1 then. Where
    nothing at all could be labelled, nothing is written.
    """
    from asr.fragment import Fragment, read_numbered, write_manifest
    from asr.inference.label import LabelCounts, label_fragments
    from asr.inference.transcriber import Transcriber

    counts, failures = LabelCounts(), list[AsrError]()
    total = sum(1 for _ in read_numbered(manifest))
    transcriber = Transcriber(model, device=device, batch_seconds=batch_seconds)
    labelled = label_fragments(transcriber, (item for _, item in read_numbered(manifest)), counts, failures)

    def some() -> Iterator[Fragment]:
        yield from track(labelled, "labelling", total, console=Console(stderr=True))
        if not counts.labelled:
            left_out = f"{counts.runaway} loops and {counts.failed} failures"
            raise ManifestError(f"no fragment could be labelled ({left_out}); run `asr validate` on it", manifest)

    try:
        write_manifest(some(), output)
    finally:
        for failure in failures:
            typer.echo(f"failed: {failure}", err=True)
    typer.echo(
        f"{counts.labelled} fragments written to {output}; {counts.runaway} loops and {counts.failed} failures left out"
    )
    if counts.failed:
        raise typer.Exit(1)


def interpolate(
    base: Annotated[Path, typer.Argument(help="The tight base that training started from.")],
    adapted: Annotated[Path, typer.Argument(help="The checkpoint that came of it.")],
    output: Annotated[Path, typer.Option(help="The checkpoint to write (.pt).")],
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="0 is the base, 1 the adapted model.")] = 0.75,
) -> None:
    """Interpolate between a tight base and what was adapted from it: most of the dialect, all of the standard."""
    from asr.model.checkpoint import load_checkpoint, save_checkpoint
    from asr.model.interpolate import interpolate as between

    mixed = between(load_checkpoint(base), load_checkpoint(adapted), share)
    save_checkpoint(mixed.model, mixed.info, output)
    typer.echo(f"written to {output}")


def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint with heads.")],
    manifests: Annotated[list[Path], typer.Argument(help="Labelled fragments of speakers that were not learnt from.")],
    output: Annotated[Path, typer.Option(help="The checkpoint to write (.pt).")],
    risk: Annotated[
        float, typer.Option(min=0.0, max=1.0, help='Share of answers that may be wrong; the rest is "unknown".')
    ] = 0.1,
) -> None:
    """Make the probabilities of a checkpoint's heads hold, and find from which one on they can be trusted."""
    from asr.evaluation.calibrate import calibrate as fit
    from asr.model.checkpoint import load_checkpoint, save_checkpoint

    loaded = load_checkpoint(checkpoint)
    for head in fit(loaded.model, manifests, risk):
        typer.echo(
            f"{head.name}: {head.fragments} fragments, macro-F1 {head.f1:.3f}, temperature {head.temperature:.2f}, "
            f"calibration error {head.error_before:.3f} before and {head.error:.3f} now, answered from "
            f"{head.threshold:.2f} on: {100 * head.coverage:.0f} %"
        )
        if head.marks is not None:
            for source in ("words", "voice", "fused"):
                score = getattr(head.marks, source)
                typer.echo(
                    f"question marks by {'words and voice' if source == 'fused' else source} on {head.marks.fragments} "
                    f"fragments: F1 {score.f1:.3f}, false ones on {100 * score.false:.1f} % of what is no question"
                )
    save_checkpoint(loaded.model, loaded.info, output)
    typer.echo(f"written to {output}")
