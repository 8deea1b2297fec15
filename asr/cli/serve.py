"""The command that serves a model over HTTP and WebSocket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from asr.cli.transcribe import Adapters, Routing
from asr.errors import ConfigError, MissingExtraError


def serve(
    model: Annotated[str, typer.Argument(help="A base model's name, or a path: a checkpoint, a model's folder.")],
    host: Annotated[
        str, typer.Option(help="Where it listens; TLS is the business of a proxy before it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    name: Annotated[
        str | None, typer.Option(help="What requests call the model; by default the last part of its path.")
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="The key that clients must send; ASR_API_KEY does the same. Else all may ask.")
    ] = None,
    intent_model: Annotated[
        str | None,
        typer.Option(help="For /v1/understand: what scripts/train_intent.py has made, or clinc150, which comes along."),
    ] = None,
    adapters: Adapters = None,
    routing: Routing = "hard",
    lexicon: Annotated[Path | None, typer.Option(help="A dialect's expressions (fr-CA.tsv).")] = None,
    beam_size: Annotated[int | None, typer.Option(min=1, help="Number of beams; without it, greedy.")] = None,
    n_best: Annotated[
        int, typer.Option(min=1, help="Texts that /v1/understand weighs, of as many beams or more; slower above 1.")
    ] = 1,
    engine: Annotated[
        str, typer.Option(help="torch, ctranslate2 (for its exports: asr export), or auto: by what the model is.")
    ] = "auto",
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Batches heard at a time by ctranslate2; by default one for each core.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for each batch; by default all for torch, one for ctranslate2.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    upload_mb: Annotated[float, typer.Option(help="Most megabytes of one request (413).")] = 25.0,
    audio_seconds: Annotated[float, typer.Option(help="Most seconds of one recording (413).")] = 3600.0,
    queue: Annotated[int, typer.Option(help="Most requests at once (429).")] = 256,
    memory_mb: Annotated[float, typer.Option(help="Most megabytes that requests hold together (429).")] = 2048.0,
    batch_seconds: Annotated[float, typer.Option(help="Most seconds heard at once; live speech waits for it.")] = 120.0,
    live: Annotated[int, typer.Option(help="Most live sessions at once (429).")] = 8,
) -> None:
    """Transcribe over HTTP as OpenAI's API does, and live speech over a WebSocket; nothing is written to disk.

    The paths are in asr/server/README.md. SIGTERM ends it when what is in work is finished.
    """
    try:
        from asr.server.app import create_app
        from asr.server.limits import Limits
        from asr.server.run import is_this_machine, listen, read_key, server_of
    except ImportError as error:
        raise MissingExtraError(f"the server needs the package {error.name}; install dialect-asr[server]") from error
    from asr.inference.decoding import DecodeOptions
    from asr.inference.transcriber import Transcriber
    from asr.intent.model import load_intent_model
    from asr.memory import give_back_at_once

    give_back_at_once()
    try:
        limits = Limits(
            upload_mb=upload_mb,
            audio_seconds=audio_seconds,
            queue=queue,
            memory_mb=memory_mb,
            batch_seconds=batch_seconds,
            live=live,
        )
        key = read_key(api_key_file)
        with listen(host, port) as bound:
            with Console(stderr=True).status(f"loading {model}"):
                intents = None if intent_model is None else load_intent_model(intent_model)
                options = DecodeOptions(beam_size=beam_size, n_best=n_best)
                transcriber = Transcriber(
                    model,
                    engine=engine,
                    device=device,
                    batch_seconds=batch_seconds,
                    options=options,
                    adapters=adapters,
                    routing=routing,
                    lexicon=lexicon,
                    replicas=replicas,
                    threads=threads,
                )
            app = create_app(transcriber, name or Path(model).stem, limits=limits, key=key, intent_model=intents)
            address, at = bound.getsockname()[:2]
            typer.echo(f"{name or Path(model).stem} listens on http://{address}:{at}", err=True)
            if key is None and not is_this_machine(address):
                typer.echo("warning: whoever reaches this address may use it; set --api-key-file", err=True)
            server_of(app).run(sockets=[bound])
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
