"""A file with one event a line: a receiver that needs no network, and a record of what others got."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from asr.errors import AsrError


class JsonLines:
    """Appends events to a file; each is on the disk when the call returns.

    An event that was sent again after a crash stands there twice, under the same ``id``. A line that a crash has cut
    short is ended, so that it spoils no other.

    Args:
        path: The file; it is made, readable for its owner alone, if it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Appending is one write at the file's end, whoever else has it open.
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock = threading.Lock()  # a dispatcher's workers share it
        size = os.fstat(self._file).st_size
        self._torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def __call__(self, event: Mapping[str, Any], key: str) -> None:
        """Append an event.

        Args:
            event: As `UtteranceEvent.to_dict` gives it.
            key: Against doubles; not written, the line has the event's id.

        Raises:
            AsrError: The event holds what JSON cannot.
            OSError: It could not be written, as on a full disk.
        """
        try:
            line = json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise AsrError("an event holds what JSON cannot; make it with event_of") from error
        with self._lock:
            left = b"\n" + line if self._torn else line
            self._torn = True
            while left:
                left = left[os.write(self._file, left) :]
            self._torn = False
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
