"""The command line: thin skins over the library.

Exit codes: 0 all went well, 1 problems were found or something failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from asr.cli import (
    annotate,
    audit,
    deliver,
    erasure,
    export,
    manifests,
    mask,
    models,
    pack,
    pictures,
    pseudonymise,
    serve,
    transcribe,
    understand,
    voices,
)
from asr.errors import AsrError


class _Commands(TyperGroup):
    """Ends what a user can act on in one sentence instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:  # click's context, which newer typers bring themselves
        """Run the command and translate what it raises into an exit code."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of a pipe has had enough; click ends quietly
        except AsrError as error:
            raise _failed(str(error)) from error
        except OSError as error:  # no permission, no space left …
            place = f" ({error.filename})" if error.filename else ""
            raise _failed(f"{error.strerror or error}{place}") from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def _failed(message: str) -> typer.Exit:
    typer.echo(f"asr: {message}", err=True)
    return typer.Exit(1)


app = typer.Typer(
    name="asr",
    cls=_Commands,
    help="Speech recognition that learns dialects from annotated voice fragments.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("transcribe")(transcribe.transcribe)
app.command("understand")(understand.understand)
app.command("serve")(serve.serve)
app.command("picture")(pictures.picture)
app.command("label")(models.label)
app.command("interpolate")(models.interpolate)
app.command("adapter")(models.adapter)
app.command("sweep")(models.sweep)
app.command("gate")(models.gate)
app.command("calibrate")(models.calibrate)
app.command("export")(export.export)
app.command("import")(manifests.import_corpus)
app.command("convert")(manifests.convert)
app.command("validate")(manifests.validate)
app.command("pseudonymise")(pseudonymise.pseudonymise)
app.command("change-voice")(voices.change_voice)
app.command("split")(manifests.split)
app.command("pack")(pack.pack)
app.command("stats")(manifests.stats)
app.command("mask")(mask.mask)
app.command("schema")(manifests.schema)
app.command("deliver")(deliver.deliver)
app.add_typer(annotate.app, name="annotate")
app.add_typer(audit.app, name="audit")
app.command("erase")(erasure.erase)
app.command("register")(erasure.register)


def main() -> None:
    """Run the command line."""
    app(prog_name="asr")
