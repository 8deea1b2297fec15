"""Events per second from an outbox on disk to a receiver on loopback, which takes everything at once.

    python scripts/benchmark_delivery.py [--events 2000] [--folder .]

Receiver and sender share this machine's cores. The last column is the sender's own work: a receiver that is a function
in the same process. The outbox syncs to the disk that holds the folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from asr.intent.dispatch import Dispatcher, Send
from asr.intent.post import Post

# More would take minutes.
MOST = 20_000
WORKERS = (1, 4, 8)


class Taker(BaseHTTPRequestHandler):
    """Answers 204 to everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read an event and take it."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def receive(port: Connection) -> None:
    """Be a receiver, and say on which port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    port.send(server.server_port)
    server.serve_forever()


def made_up(count: int, conversations: int) -> Iterator[dict[str, Any]]:
    """Events of the size that an utterance of twelve words has, with times and confidences."""
    words = [{"text": "parole", "start": 0.3 * n, "end": 0.3 * n + 0.25, "confidence": 0.9} for n in range(12)]
    for number in range(count):
        text = " ".join(word["text"] for word in words)
        yield {"id": f"e{number}", "conversation": f"c{number % conversations}", "text": text, "words": words}


def rate(folder: Path, send: Send, count: int, workers: int, conversations: int) -> float:
    """Events per second, from the first that is put in to the last that is marked as delivered."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        began = time.perf_counter()
        with Dispatcher(Path(place, "outbox.db"), send, workers=workers) as dispatcher:
            done = dispatcher.run(made_up(count, conversations))
        if done.delivered != count:
            raise SystemExit(f"only {done.delivered} of {count} were delivered")
        return count / (time.perf_counter() - began)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2000, help=f"at most {MOST}")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the outbox is made, and removed")
    arguments = parser.parse_args()
    count = max(1, min(arguments.events, MOST))
    ours, theirs = multiprocessing.Pipe()
    receiver = multiprocessing.get_context("spawn").Process(target=receive, args=[theirs], daemon=True)
    receiver.start()
    url = f"http://127.0.0.1:{ours.recv()}/"
    try:
        print("| sent at once | conversations | events a second | without HTTP |")
        print("|---:|---:|---:|---:|")
        for workers in WORKERS:
            for conversations in (1, 100):
                post = Post(url, connections=workers)
                with_http = rate(arguments.folder, post, count, workers, conversations)
                post.close()
                without = rate(arguments.folder, lambda event, key: None, count, workers, conversations)
                print(f"| {workers} | {conversations} | {with_http:.0f} | {without:.0f} |", flush=True)
    finally:
        receiver.terminate()


if __name__ == "__main__":
    main()
