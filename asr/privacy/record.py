"""The record: an append-only log of everything that was done with fragments, in which every entry seals those before.

An entry is one line of canonical JSON that names the hash of the entry before it; its own hash is the SHA-256 of that
line. Whoever changes, removes, adds or reorders entries breaks a hash, and `Record.verify` says where. The hashes hold
no secret: somebody who may write to the database can remove the last entries, or rewrite everything from some entry on
with new hashes, and change the head to fit. That shows only against a head that was noted elsewhere before (`asr audit
head`, `asr audit verify --head`). And ``who`` is what the machine says of its user, no proof.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy
from pydantic import JsonValue, ValidationError
from sqlalchemy import Column, Integer, MetaData, String, Table, Text, event, func, insert, select, update
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from asr.errors import ConfigError, RecordError
from asr.privacy.entries import ACTIONS, GENESIS, Entry, faults, mark, sealed

log = logging.getLogger(__name__)

# Seconds for which a writer waits for another one.
_PATIENCE = 60.0
# Entries read at once.
_PAGE = 1000

_METADATA = MetaData()
_ENTRIES = Table(
    "record",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    # No two entries can follow the same one, whatever a database does about locks.
    Column("previous", String(64), nullable=False, unique=True),
    Column("hash", String(64), nullable=False),
    Column("entry", Text, nullable=False),
)
# One row, the last entry's. It makes writers queue, and shows where the last entries are gone.
_HEAD = Table(
    "record_head",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
)


@dataclass(slots=True)
class Outcome:
    """What `Record.during` is told of an action while it runs.

    Attributes:
        manifests: Manifests that came of it.
        details: Anything else.
    """

    manifests: list[Path] = field(default_factory=list)
    details: dict[str, JsonValue] = field(default_factory=dict)


class Record:
    """The record in one database.

    Several processes may write at once: each takes the lock of the head's row (in SQLite that of the file) and keeps it
    for the moment that it takes to add an entry; a process that is killed then leaves no trace. The database is made
    with the first entry.

    Args:
        url: A URL as SQLAlchemy takes it, or the path of an SQLite file.

    Raises:
        ConfigError: No database can be meant by it.
    """

    def __init__(self, url: str) -> None:
        self._url = _parsed(url)
        # PostgreSQL hears of a lock that is held for ever, too.
        waits = {"timeout": _PATIENCE} if self._is_sqlite else {}
        try:
            # No pool: a connection would outlive a fork, or its file.
            self._engine = sqlalchemy.create_engine(self._url, poolclass=NullPool, connect_args=waits)
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise ConfigError(f"the record {self.place} needs a database driver that is not there: {error}") from error
        self._has_tables = False
        if self._is_sqlite:
            event.listen(self._engine, "connect", _leave_transactions_to_us)

    @property
    def place(self) -> str:
        """Where it is, fit for a message: without a password."""
        if self._is_sqlite:
            return self._url.database or ""
        return self._url.render_as_string(hide_password=True)

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @property
    def _file(self) -> Path | None:
        """The SQLite file; None of a server, or where SQLite is given a URI of its own (``uri=true``)."""
        name = self._url.database or ""
        return Path(name) if self._is_sqlite and not name.startswith("file:") else None

    def append(
        self,
        action: str,
        *,
        why: str,
        manifests: Sequence[Path] = (),
        details: Mapping[str, JsonValue] | None = None,
    ) -> Entry:
        """Add an entry; when this returns, it is on the disk.

        Args:
            action: One of `ACTIONS`.
            why: The purpose, one line.
            manifests: Their names, hashes and numbers of fragments are noted.
            details: Anything else in plain types. Never a speaker's id or what was said.

        Raises:
            RecordError: It cannot be written; nothing was.
            ManifestError: A manifest cannot be read.
        """
        if action not in ACTIONS:
            raise RecordError(f"{action!r} is no action of the record; accepted are {', '.join(ACTIONS)}")
        marks = tuple(mark(path) for path in manifests)
        who = _user()
        try:
            with self._writing() as connection:
                head = connection.execute(select(_HEAD.c.number, _HEAD.c.hash).with_for_update()).one()
                now = datetime.now(timezone.utc)
                last = connection.execute(select(_ENTRIES.c.entry).where(_ENTRIES.c.number == head.number)).scalar()
                noted = dict(details or {}) | _clock(last, now)
                given = {"number": head.number + 1, "when": now, "who": who, "action": action, "why": why}
                given |= {"manifests": marks, "details": noted, "previous": head.hash, "hash": GENESIS}
                entry = sealed(Entry.model_validate(given))
                connection.execute(
                    insert(_ENTRIES).values(
                        number=entry.number, previous=entry.previous, hash=entry.hash, entry=entry.line
                    )
                )
                connection.execute(update(_HEAD).values(number=entry.number, hash=entry.hash))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise RecordError(f"no entry can hold this {name!r}: it must be plain and of one line, not empty") from None
        except (SQLAlchemyError, OSError) as error:
            raise RecordError(
                f"the record {self.place} cannot be written: {_reason(error)}; mend that, or name another one in "
                "ASR_RECORD"
            ) from error
        return entry

    @contextmanager
    def during(
        self,
        action: str,
        *,
        why: str,
        manifests: Sequence[Path] = (),
        details: Mapping[str, JsonValue] | None = None,
    ) -> Iterator[Outcome]:
        """Record an action of which something comes: one entry before it begins, and one when it has ended.

        The first has ``"stage": "begin"`` among its details; the second ``"end"``, or ``"failed"`` with the kind of
        error, and ``"begun"``, the first one's number. An action without a second entry is running, or was killed.

        Args:
            action: As for `append`.
            why: As for `append`.
            manifests: What it begins with.
            details: As for `append`.

        Yields:
            What the second entry is to say.

        Raises:
            RecordError: It cannot be written; where it is the first entry, the action does not begin.
        """
        try:
            given = {**(details or {}), "stage": "begin"}
            begun = self.append(action, why=why, manifests=manifests, details=given).number
        except RecordError as error:
            raise RecordError(f"nothing was done: {error}") from error
        outcome = Outcome()
        try:
            yield outcome
        except BaseException as error:
            ended: dict[str, JsonValue] = {"stage": "failed", "begun": begun, "error": type(error).__name__}
            try:
                self.append(action, why=why, details=outcome.details | ended)
            except RecordError as unwritten:  # what went wrong first is what the user must hear of
                log.warning("%s", unwritten)
            raise
        ended = {"stage": "end", "begun": begun}
        try:
            self.append(action, why=why, manifests=outcome.manifests, details=outcome.details | ended)
        except RecordError as error:
            raise RecordError(f"the {action} was done, and its end is not on the record: {error}") from error

    def entries(self) -> Iterator[Entry]:
        """Stream the entries, the first one first.

        Raises:
            RecordError: There is no record, or an entry is no entry.
        """
        with self._reading() as connection:
            for row in _rows(connection):
                try:
                    entry = Entry.model_validate(json.loads(row.entry) | {"hash": row.hash})
                except (ValueError, TypeError):
                    raise RecordError(
                        f"entry {row.number} of the record {self.place} cannot be read: somebody changed it; run "
                        "`asr audit verify`"
                    ) from None
                yield entry

    def head(self) -> str:
        """Return the hash of the last entry, to be noted elsewhere.

        Raises:
            RecordError: There is no record.
        """
        with self._reading() as connection:
            found = connection.execute(select(_HEAD.c.hash)).scalar()
            if found is None:
                raise RecordError(f"the record {self.place} has lost its head; run `asr audit verify`")
            return str(found)

    def verify(self, head: str | None = None) -> list[str]:
        """Look for what was done to the entries.

        Args:
            head: The hash of an entry that was the last one once; it must still be there.

        Returns:
            Findings as sentences; none where the chain holds.

        Raises:
            RecordError: There is no record, or it cannot be read at all.
        """
        findings: list[str] = []
        with self._reading() as connection:
            self._freeze(connection)
            expected, previous, count = 1, GENESIS, 0
            known = head in (None, GENESIS)
            for row in _rows(connection):
                count += 1
                findings += faults(row, expected, previous)
                # From here on as it stands, so that one fault is one finding.
                expected, previous = int(row.number) + 1, str(row.hash)
                known |= previous == head
            total = connection.execute(select(func.count()).select_from(_ENTRIES)).scalar()
            if total != count:
                findings.append(f"{total} rows stand in the record, but {count} can be told apart by their number")
            heads = connection.execute(select(_HEAD.c.number, _HEAD.c.hash)).all()
        if len(heads) != 1:
            findings.append(f"the record has {len(heads)} heads, and must have one: somebody changed it")
        elif (heads[0].number, heads[0].hash) != (expected - 1, previous):
            findings.append(
                f"the last entry is number {expected - 1}, but the head is that of number {heads[0].number}: entries "
                "at the end were removed, added or changed, or the head was"
            )
        if not known:
            findings.append(
                f"no entry has the hash {head}: the entries up to it were removed or rewritten since it was noted"
            )
        return findings

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that no other writer can disturb, in a database that has the tables."""
        if not self._has_tables:
            self._make_tables()
            self._has_tables = True
        with self._engine.begin() as connection:
            if self._is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def _make_tables(self) -> None:
        if self._file is not None:
            self._file.absolute().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._engine.connect() as connection:
            if sqlalchemy.inspect(connection).has_table(_HEAD.name):
                return
        try:
            with self._engine.begin() as connection:
                if self._is_sqlite:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                _METADATA.create_all(connection)
                if connection.execute(select(_HEAD.c.id)).first() is None:
                    connection.execute(insert(_HEAD).values(id=1, number=0, hash=GENESIS))
        except DBAPIError:
            # Another process was making them.
            with self._engine.connect() as connection:
                if not sqlalchemy.inspect(connection).has_table(_HEAD.name):
                    raise

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection for reading.

        Raises:
            RecordError: There is no record, or what is there is none.
        """
        if self._file is not None and not self._file.exists():
            raise RecordError(f"there is no record {self.place} yet; it is made with the first entry")
        try:
            with self._engine.connect() as connection:
                names = sqlalchemy.inspect(connection).get_table_names()
                if missing := sorted({_ENTRIES.name, _HEAD.name} - set(names)):
                    raise RecordError(f"{self.place} holds no record: it has no table {missing[0]!r}")
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise RecordError(f"the record {self.place} cannot be read: {_reason(error)}") from error

    def _freeze(self, connection: Connection) -> None:
        """Let a connection see one state of the database, whoever writes."""
        connection.rollback()
        if self._is_sqlite:
            connection.exec_driver_sql("BEGIN")
        else:
            connection.execution_options(isolation_level="REPEATABLE READ")


def open_record(url: str | None = None) -> Record:
    """Return the record that is meant.

    Args:
        url: As for `Record`; None takes that of the environment variable ``ASR_RECORD``, and where there is none, a
            file in the user's state folder (``$XDG_STATE_HOME``, or ``~/.local/state``).

    Raises:
        ConfigError: No database can be meant by it.
    """
    given = os.environ.get("ASR_RECORD") if url is None else url
    if given:
        return Record(given)
    state = os.environ.get("XDG_STATE_HOME")
    folder = Path(state) if state else Path.home() / ".local" / "state"
    return Record(str(folder / "dialect-asr" / "record.db"))


def _clock(last: str | None, now: datetime) -> dict[str, JsonValue]:
    """What is to be noted of a clock that stands before the last entry."""
    try:
        before = datetime.fromisoformat(json.loads(last or "{}")["when"].replace("Z", "+00:00"))
        seconds = (before - now).total_seconds()
    except (KeyError, ValueError, TypeError, AttributeError):  # none yet, or somebody changed it: verify says so
        return {}
    return {"clock_back_seconds": seconds} if seconds > 0 else {}


def _user() -> str:
    if name := os.environ.get("ASR_USER"):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container whose user has no name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def _rows(connection: Connection) -> Iterator[Any]:
    """Every row in the order of its number, some at a time, so that a slow reader locks nobody out."""
    last: int | None = None
    while True:
        query = select(_ENTRIES).order_by(_ENTRIES.c.number).limit(_PAGE)
        page = connection.execute(query if last is None else query.where(_ENTRIES.c.number > last)).all()
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1].number


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url) if "://" in url else URL.create("sqlite", database=url)
    except ArgumentError:
        parsed = None
    # In memory it would be gone with the process, and a record is there to stay.
    if parsed is None or (parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")):
        raise ConfigError(
            "the record is given as a URL such as sqlite:////var/lib/asr/record.db or "
            "postgresql://user@host/database, or as the path of a file; ASR_RECORD is neither"
        )
    return parsed


def _leave_transactions_to_us(connection: Any, _: object) -> None:
    """Keep Python's sqlite3 from beginning transactions, which it does late and without the lock."""
    connection.isolation_level = None


def _reason(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = getattr(cause, "strerror", None) or " ".join(str(cause).split())
    return str(text).rstrip(".")
