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

    Exit codes: 1 for what a user can mend, 69 where another process of a training is gone, 75 where a training was
    asked to stop and has saved its state (sysexits' EX_TEMPFAIL: start it again), 130 after Ctrl-C where nothing was
    saved.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("asr").setLevel(logging.INFO)
    try:
        yield
    except AsrError as error:
        _end(str(error), error.exit_code)
    except OSError as error:  # no permission, no space left …
        place = f" ({error.filename})" if error.filename else ""
        _end(f"{error.strerror or error}{place}", 1)
    except KeyboardInterrupt:
        _end("interrupted", 128 + signal.SIGINT)


def _end(message: str, code: int) -> None:
    print(f"asr: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
