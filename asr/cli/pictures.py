"""The command that draws how something was said."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def picture(
    recording: Annotated[Path, typer.Argument(help="At most 30 s.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write: .png, .svg or .pdf.")],
    model: Annotated[str, typer.Option(help="A base model's name, or a checkpoint.")] = "base",
    language: Annotated[str | None, typer.Option(help="Whisper's code, such as fr; by default detected.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Draw the pitch of a recording over time, with the words under it and the emphasised ones marked."""
    from asr.audio import load_audio
    from asr.inference.transcriber import Transcriber
    from asr.pictures import check_format, pitch_picture
    from asr.prosody import track

    check_format(output)
    heard = Transcriber(model, device=device, words=True).transcribe(recording, language=language)
    samples = load_audio(recording)
    pitch_picture(samples, track(samples), heard.words, heard.emphasis, output)
    typer.echo(f"written to {output}")
