"""How a Hydra script begins and ends: a readable log, errors as one sentence, and the exit code of each."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from asr.errors import AsrError


@contextmanager
def entry_point() -> Iterator[None]:
    """Run the body of a script.

    Exit codes: 1 for what a user can mend, 130 after Ctrl-C, 143 after SIGTERM.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("asr").setLevel(logging.INFO)
    try:
        yield
    except AsrError as error:
        # Of a TrainingStopped, which cannot be imported here: lightning and torch would come before any message.
        stopped_by = getattr(error, "signal", None)
        _end(str(error), 1 if stopped_by is None else 128 + stopped_by)
    except OSError as error:  # no permission, no space left …
        place = f" ({error.filename})" if error.filename else ""
        _end(f"{error.strerror or error}{place}", 1)
    except KeyboardInterrupt:
        _end("interrupted", 128 + signal.SIGINT)


def _end(message: str, code: int) -> None:
    print(f"asr: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
