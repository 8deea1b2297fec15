"""Pseudonymised fragments on disk until all are known: sorted by id, counted by speaker, there again after a kill."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from asr.errors import ConfigError
from asr.privacy.cells import Cell

# Rows between two commits: what a kill costs.
_BATCH = 200
# The id comes first, because the table is kept in its order: ids are hashes, so that this is a shuffle.
_TABLES = """
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS drafts (
    id TEXT PRIMARY KEY, line INTEGER NOT NULL, speaker TEXT, cell TEXT NOT NULL, fragment TEXT NOT NULL
) WITHOUT ROWID;
"""


class Drafts:
    """A temporary database; memory stays the same however many rows there are.

    Args:
        path: The file. One that is there already is gone on with.
        state: What the rows depend on, by name. It must be what it was when the file was made.

    Raises:
        ConfigError: The file was made with another state, or another process has it.
    """

    def __init__(self, path: Path, state: Mapping[str, str]) -> None:
        self._database = sqlite3.connect(path, timeout=0, isolation_level=None)
        self._waiting = 0
        try:
            # 64 MiB of pages: rows come in random order.
            self._database.executescript("PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -65536;" + _TABLES)
            self._database.execute("BEGIN EXCLUSIVE")
            before = dict(self._database.execute("SELECT name, value FROM state"))
            for name, value in state.items():
                if before and before.get(name) != value:
                    raise ConfigError(
                        f"the release was begun with another {name}; use that one, or remove the folder {path.parent} "
                        "to begin anew"
                    )
            self._database.executemany("INSERT OR IGNORE INTO state VALUES (?, ?)", state.items())
            self._commit()
        except sqlite3.OperationalError as error:
            self._database.close()
            if "locked" in str(error):
                raise ConfigError(f"another process is writing this release ({path.parent}); let it end") from None
            raise
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Drafts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # An error in between takes nothing back: each row is whole.
            if self._database.in_transaction:
                self._database.execute("COMMIT")
        except sqlite3.Error:
            if error is None:
                raise
        finally:
            self._database.close()

    def line_of(self, name: str) -> int | None:
        """Return the line of the source manifest that a pseudonymous fragment id came from, None if it is new."""
        row = self._database.execute("SELECT line FROM drafts WHERE id = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def cell_of(self, name: str) -> Cell | None:
        """Return the cell of a pseudonymous fragment id, None if there is no such row."""
        row = self._database.execute("SELECT cell FROM drafts WHERE id = ?", (name,)).fetchone()
        return None if row is None else Cell(*json.loads(row[0]))

    def add(self, line: int, cell: Cell, fragment: Mapping[str, Any]) -> None:
        """Add a row whose id is new.

        Args:
            line: 1-based, in the source manifest.
            cell: What it tells about its speaker.
            fragment: Its JSON object.
        """
        row = (fragment["id"], line, fragment.get("speaker"), json.dumps(cell), json.dumps(fragment))
        self._database.execute("INSERT INTO drafts VALUES (?, ?, ?, ?, ?)", row)
        self._waiting += 1
        if self._waiting >= _BATCH:
            self._commit()

    def by_speaker(self) -> Iterator[tuple[str | None, Cell, int]]:
        """Yield speaker, cell and number of fragments, all of one speaker together; the nameless are one."""
        query = "SELECT speaker, cell, COUNT(*) FROM drafts GROUP BY speaker, cell ORDER BY speaker"
        for speaker, cell, count in self._database.execute(query):
            yield speaker, Cell(*json.loads(cell)), count

    def by_id(self) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Yield cell and JSON object of every fragment in the order of their ids."""
        for cell, fragment in self._database.execute("SELECT cell, fragment FROM drafts ORDER BY id"):
            yield Cell(*json.loads(cell)), json.loads(fragment)

    def _commit(self) -> None:
        self._database.execute("COMMIT")
        self._database.execute("BEGIN EXCLUSIVE")
        self._waiting = 0
