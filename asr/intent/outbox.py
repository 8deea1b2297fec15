"""The outbox: events that wait on disk until a receiver has them, in an SQLite file that outlives a crash.

It is made with Python's own sqlite3, not with SQLAlchemy as the record is: an outbox is a file of one machine and never
a server's, and what makes it safe and fast (the write-ahead log, when it is synced, what is wiped) is SQLite's own.

An event that was put in is on disk. One that a receiver has is wiped from the file (and with the next close from the
log beside it); its id and the hash of what it said stay for 30 days, so that giving the same events again sends none
twice. The files are for their owner alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from asr.errors import DeliveryError

# Events that may wait.
LIMIT = 10_000
# Seconds for which a delivered event is known again.
REMEMBERED = 30 * 86_400.0
# The longest time that an event waits for its next try: a clock that was set back must not hold it for years.
LONGEST_WAIT = 86_400.0
# Seconds for which a writer waits for another one.
_PATIENCE = 60.0
# Says in the file's header that this is an outbox, of this version.
_APPLICATION, _VERSION = 0x0A5B0B, 1
# The id is sent as a header, too.
_ID = re.compile("[!-~]{1,200}")

# ``head``: the first of its conversation, which may be sent. The others wait for it.
_TABLES = f"""
CREATE TABLE waiting (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, conversation TEXT, body TEXT NOT NULL,
    hash BLOB NOT NULL, head INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0
);
CREATE INDEX heads ON waiting (number, due) WHERE head;
CREATE INDEX conversations ON waiting (conversation, number);
CREATE TABLE delivered (id TEXT PRIMARY KEY, hash BLOB NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
"""


class Event(Protocol):
    """What can be delivered, `asr.intent.event.UtteranceEvent` for one; a mapping with the same two keys is one too."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def conversation(self) -> str | None: ...  # noqa: D102
    def model_dump_json(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that waits.

    Attributes:
        number: Its place in the order in which events were put in.
        id: Of the event, the key by which a receiver knows that it has it already.
        event: As it was put in, in plain types.
        tries: How often it was sent in vain.
    """

    number: int
    id: str
    event: dict[str, Any] = field(repr=False)
    tries: int


@dataclass(frozen=True, slots=True)
class Put:
    """What became of events that were put in.

    Attributes:
        added: How many wait now that did not wait before.
        waiting: How many of the others wait already.
        delivered: How many of the others a receiver has already.
    """

    added: int
    waiting: int
    delivered: int


class Outbox:
    """Events in the order in which they were put in; several threads and processes may put some in at once.

    Args:
        path: The file; it is made if there is none.
        limit: Events that may wait.

    Raises:
        DeliveryError: The file is damaged, no outbox, or cannot be written.
    """

    def __init__(self, path: str | Path, limit: int = LIMIT) -> None:
        self.path = Path(path)
        self.limit = limit
        self._lock = threading.RLock()
        with self._faults():
            self.path.absolute().parent.mkdir(parents=True, exist_ok=True)
            # Made here, because SQLite would let others read it.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
        try:
            with self._faults():
                self._open()
        except BaseException:
            self._connection.close()
            raise

    def put(self, *events: Event | Mapping[str, Any]) -> Put:
        """Put events in, all or none; they are on disk when this returns.

        An event that waits already, or was delivered, is not put in again.

        Raises:
            FullError: There is no room for them.
            UnfitError: An event has no usable id, is no JSON, or has the id of another one.
            DeliveryError: The outbox cannot be written.
        """
        rows = [_row(event) for event in events]
        added = waiting = delivered = 0
        with self._writing(durable=True) as connection:
            for id, conversation, body, digest in rows:
                if known := connection.execute("SELECT hash FROM waiting WHERE id = ?", [id]).fetchone():
                    waiting += 1
                elif known := connection.execute("SELECT hash FROM delivered WHERE id = ?", [id]).fetchone():
                    delivered += 1
                if known:
                    if known[0] != digest:
                        raise UnfitError(
                            f"event {id!r} was put into the outbox {self.path} before, and said something else; a new "
                            "event needs an id of its own"
                        )
                    continue
                added += 1
                connection.execute(
                    "INSERT INTO waiting (id, conversation, body, hash, head) VALUES (?, ?, ?, ?, "
                    "NOT EXISTS (SELECT 1 FROM waiting WHERE conversation = ?))",
                    [id, conversation, body, digest, conversation],
                )
            if added and (total := _count(connection)) > self.limit:
                raise FullError(
                    f"the outbox {self.path} has no room for {added} more: {total - added} events wait, and "
                    f"{self.limit} may; try again when some were delivered"
                )
        return Put(added, waiting, delivered)

    def due(self, now: float, count: int, without: Iterable[int] = ()) -> list[Waiting]:
        """Return events that may be sent, the oldest first: no earlier one of their conversation waits.

        Args:
            now: Seconds since 1970.
            count: At most so many.
            without: Numbers of events that are not wanted.
        """
        left_out = ",".join(str(int(number)) for number in without)
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT number, id, body, tries FROM waiting WHERE head AND due <= ? AND number NOT IN ({left_out}) "
                "ORDER BY number LIMIT ?",
                [now, count],
            ).fetchall()
        return [Waiting(number, id, json.loads(body), tries) for number, id, body, tries in rows]

    def next_due(self, without: Iterable[int] = ()) -> float | None:
        """Return when the next event may be sent, in seconds since 1970; None where there is none."""
        left_out = ",".join(str(int(number)) for number in without)
        with self._reading() as connection:
            query = f"SELECT min(due) FROM waiting WHERE head AND number NOT IN ({left_out})"
            found: float | None = connection.execute(query).fetchone()[0]
        return found

    def settle(
        self,
        delivered: Iterable[Waiting] = (),
        dead: Iterable[Waiting] = (),
        later: Iterable[tuple[Waiting, float]] = (),
    ) -> None:
        """Write down what became of events; the next ones of their conversations may go.

        Args:
            delivered: A receiver has them.
            dead: Given up; they may be put in again.
            later: To be sent again, with their ``tries`` as given, and when, in seconds since 1970.
        """
        now = time.time()
        # Where the machine loses power right now, some are sent again: the receiver knows their ids.
        with self._writing(durable=False) as connection:
            for event in delivered:
                connection.execute(
                    "INSERT OR REPLACE INTO delivered SELECT id, hash, ? FROM waiting WHERE number = ?",
                    [now, event.number],
                )
                _remove(connection, event)
            for event in dead:
                _remove(connection, event)
            for event, due in later:
                connection.execute(
                    "UPDATE waiting SET tries = ?, due = ? WHERE number = ?", [event.tries, due, event.number]
                )

    def __len__(self) -> int:
        """How many events wait."""
        with self._reading() as connection:
            return _count(connection)

    @contextmanager
    def sole_use(self) -> Iterator[None]:
        """Hold the right to send what waits; it ends with the process at the latest.

        Raises:
            DeliveryError: Somebody else holds it.
        """
        # A file of its own: closing a second handle of the outbox would let go of SQLite's locks.
        place = self.path.with_name(self.path.name + ".lock")
        with self._faults():
            handle = place.open("a")
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeliveryError(
                    f"another dispatcher is sending from the outbox {self.path}; wait until it is done, or name "
                    "another outbox"
                ) from None
            yield

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _open(self) -> None:
        run = self._connection.execute
        run("PRAGMA secure_delete = ON")
        # Before anything of it is changed; in one transaction, because another process may be making it.
        run("BEGIN")
        try:
            self._is_new()
        finally:
            run("ROLLBACK")
        self._write_ahead()
        with self._writing(durable=True) as connection:
            if self._is_new():
                for statement in filter(str.strip, _TABLES.split(";")):
                    run(statement)
            if (state := run("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(state.splitlines()[0])
            now = time.time()
            connection.execute("DELETE FROM delivered WHERE at < ?", [now - REMEMBERED])
            connection.execute("UPDATE waiting SET due = ? WHERE due > ?", [now + LONGEST_WAIT, now + LONGEST_WAIT])

    def _write_ahead(self) -> None:
        """Switch to a write-ahead log, for which SQLite does not wait where another process does so at that moment."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                return

    def _is_new(self) -> bool:
        """Whether the file is empty.

        Raises:
            DeliveryError: It is somebody else's database.
        """
        query = "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version"
        kind = self._connection.execute(query).fetchone()
        if kind == (_APPLICATION, _VERSION):
            return False
        if kind != (0, 0) or self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise DeliveryError(f"{self.path} is no outbox of this version; name another file")
        return True

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._faults():
            yield self._connection

    @contextmanager
    def _writing(self, durable: bool) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer can disturb; nothing is left of it where the body raises."""
        with self._lock, self._faults():
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk ends the transaction by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Say in a sentence what the file or the disk has."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise DeliveryError(
                f"the outbox {self.path} cannot be used: {error}; nothing that was put in is lost: run again when that "
                "is mended"
            ) from error
        except sqlite3.DatabaseError as error:
            raise DeliveryError(
                f"the outbox {self.path} is damaged or no outbox: {error}; it is left as it is: keep it for repair "
                "(sqlite3's .recover), and deliver with another outbox"
            ) from error
        except OSError as error:
            raise DeliveryError(f"the outbox {self.path} cannot be used: {error.strerror or error}") from error


class FullError(DeliveryError):
    """So many events wait that no more may be put in."""


class UnfitError(DeliveryError):
    """An event cannot be put in, now or later."""


def _row(event: Event | Mapping[str, Any]) -> tuple[str, str | None, str, bytes]:
    """The id, the conversation, the JSON and its hash."""
    try:
        if isinstance(event, Mapping):
            body = json.dumps(event, allow_nan=False)
            id, conversation = event.get("id"), event.get("conversation")
        else:
            body, id, conversation = event.model_dump_json(), event.id, event.conversation
        body.encode()
    except (ValueError, TypeError, RecursionError) as error:
        # The error itself may hold what was said.
        raise UnfitError(f"an event cannot be written as JSON ({type(error).__name__})") from None
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise UnfitError("an event needs an 'id' of 1 to 200 printable ASCII characters without blanks")
    if not (conversation is None or isinstance(conversation, str)):
        raise UnfitError(f"the 'conversation' of an event is a string or null, found {type(conversation).__name__}")
    if conversation is not None:
        # SQLite takes no half of a surrogate pair, and needs no more than to tell conversations apart.
        conversation = hashlib.sha256(conversation.encode("utf-8", "surrogatepass")).hexdigest()
    return id, conversation, body, hashlib.sha256(body.encode()).digest()


def _remove(connection: sqlite3.Connection, event: Waiting) -> None:
    """Take an event out, and make the next one of its conversation its head."""
    query = "DELETE FROM waiting WHERE number = ? RETURNING conversation"
    for (conversation,) in connection.execute(query, [event.number]).fetchall():
        if conversation is not None:
            connection.execute(
                "UPDATE waiting SET head = 1 WHERE number = (SELECT min(number) FROM waiting WHERE conversation = ?)",
                [conversation],
            )


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM waiting").fetchone()[0])
