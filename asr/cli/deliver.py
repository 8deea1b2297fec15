"""`asr deliver`: events from a file to a receiver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from asr.errors import AsrError, Faults, ManifestError
from asr.jsonlines import read_objects

if TYPE_CHECKING:
    from asr.intent.dispatch import Delivery


def deliver(
    events: Annotated[
        Path,
        typer.Argument(help="Utterance events, JSON lines (.jsonl, .jsonl.gz), such as `asr understand` writes them."),
    ],
    to: Annotated[str, typer.Option(help="The receiver, such as https://intents.example/events.")],
    outbox: Annotated[Path, typer.Option(help="Where events wait; one file for each receiver, made if there is none.")],
    dead_letters: Annotated[
        Path | None, typer.Option(help="Where events go that are given up; OUTBOX.dead.jsonl by default.")
    ] = None,
    tries: Annotated[int, typer.Option(min=1, help="After so many an event is given up.")] = 10,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 10.0,
    workers: Annotated[int, typer.Option(min=1, help="Events that are sent at once.")] = 8,
    why: Annotated[str, typer.Option(help="What it is for; it goes into the record.")] = "deliver",
) -> None:
    """Send events to a receiver by POST, each until it is taken, in the order of each conversation.

    Run it again after a crash or a failure: it goes on, sends nothing twice that the receiver has, and tries again what
    was given up. ASR_RECEIVER_SECRET (whsec_…) signs them as Standard Webhooks do; ASR_RECEIVER_TOKEN is sent as a
    bearer token.
    """
    from asr.intent.adapters import webhook
    from asr.intent.dispatch import Dispatcher
    from asr.intent.event import BESIDE, read_event
    from asr.intent.post import Post
    from asr.privacy.record import open_record

    token = os.environ.get("ASR_RECEIVER_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    secret = os.environ.get("ASR_RECEIVER_SECRET") or None
    if secret is not None:
        webhook.sign(secret, "", "", b"")  # says now what is wrong with it
    faults = Faults()

    def sound() -> Iterator[_Line]:
        for number, item in read_objects(events):
            if isinstance(item, ManifestError):
                faults.add(item)
                continue
            item = {key: value for key, value in item.items() if key not in BESIDE}
            try:
                read_event(item)
            except AsrError as error:
                faults.add(ManifestError(str(error), events, number))
            else:
                yield _Line(item, number)

    def form(event: dict[str, Any]) -> webhook.WebhookRequest:
        return webhook.request(read_event(event), secret)

    with (
        closing(Post(to, form=form, headers=headers, timeout=timeout, connections=workers)) as post,
        Dispatcher(outbox, post, dead_letters=dead_letters, tries=tries, workers=workers) as dispatcher,
        open_record().during("export", why=why, manifests=[events], details={"receiver": post.host}) as outcome,
        Console(stderr=True).status("delivering") as status,
    ):
        done = dispatcher.run(
            sound(),
            unfit=lambda line, error: faults.add(ManifestError(str(error), events, line.number)),
            report=lambda now: status.update(_sentence(now)),
        )
        outcome.details["events"] = done.delivered
    for fault in faults.first:
        typer.echo(f"left out: {fault}", err=True)
    if faults.count > len(faults.first):
        typer.echo(f"… and {faults.count - len(faults.first)} more", err=True)
    left_out = f", {faults.count} lines left out" if faults.count else ""
    typer.echo(_sentence(done) + left_out)
    if done.dead:
        typer.echo(f"the dead letters are in {dispatcher.dead_letters}, with the reasons", err=True)
    raise typer.Exit(1 if done.dead or faults.count else 0)


class _Line(dict[str, Any]):
    """An event, and the line of the file in which it stands."""

    def __init__(self, event: dict[str, Any], number: int) -> None:
        super().__init__(event)
        self.number = number


def _sentence(done: Delivery) -> str:
    known = f", {done.known} delivered before" if done.known else ""
    rest = f"{done.retried} tries failed, {done.dead} dead letters, {done.waiting} waiting"
    return f"{done.delivered} delivered{known}, {rest}"
