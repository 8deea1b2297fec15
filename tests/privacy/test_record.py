"""The record: whatever is done to it afterwards is found, however many write, and however they end."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError, RecordError
from asr.privacy import record as module
from asr.privacy.entries import ACTIONS, GENESIS
from asr.privacy.record import Record, open_record

LENGTH = 6


def written(path: Path, entries: int = LENGTH) -> Record:
    log = Record(str(path))
    for number in range(entries):
        log.append(ACTIONS[number % len(ACTIONS)], why=f"reason {number}", details={"number": number})
    return log


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "record.db"
    written(path)
    return path


def python(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_entry_says_who_did_what_with_which_manifest_and_why(corpus: Path, tmp_path: Path) -> None:
    before = datetime.now(timezone.utc)
    log = Record(str(tmp_path / "new folder" / "record.db"))
    entry = log.append("train", why="to hear Québec", manifests=[corpus], details={"run": "mine", "steps": [1, 2]})
    assert (entry.number, entry.who, entry.action, entry.why) == (1, "tester", "train", "to hear Québec")
    assert before <= entry.when <= datetime.now(timezone.utc)
    (used,) = entry.manifests
    assert (used.name, used.fragments) == ("corpus.jsonl", 12)
    assert used.sha256 == hashlib.sha256(corpus.read_bytes()).hexdigest()
    assert entry.details == {"run": "mine", "steps": [1, 2]}
    second = log.append("erase", why="a wish")
    assert (second.number, second.previous) == (2, entry.hash)
    assert list(log.entries()) == [entry, second]
    assert log.head() == second.hash
    assert log.verify() == []


def test_an_action_is_recorded_before_it_begins_and_when_it_ends(corpus: Path, tmp_path: Path) -> None:
    log = Record(str(tmp_path / "r.db"))
    with log.during("import", why="x", details={"recipe": "mine"}) as outcome:
        (begun,) = log.entries()
        outcome.manifests.append(corpus)
        outcome.details["fragments"] = 12
    assert begun.details == {"recipe": "mine", "stage": "begin"}
    ended = list(log.entries())[1]
    assert ended.details == {"fragments": 12, "stage": "end", "begun": 1}
    assert [one.name for one in ended.manifests] == ["corpus.jsonl"]
    with pytest.raises(KeyboardInterrupt), log.during("train", why="x") as outcome:
        outcome.details["checkpoints"] = {}
        raise KeyboardInterrupt
    failed = list(log.entries())[-1]
    assert failed.details == {"checkpoints": {}, "stage": "failed", "begun": 3, "error": "KeyboardInterrupt"}
    assert log.verify() == []


# --- what is done to it ---


def tampering(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")  # a test of many examples has no power to lose
    return connection


def rows(connection: sqlite3.Connection) -> list[list[Any]]:
    return [list(row) for row in connection.execute("SELECT number, previous, hash, entry FROM record ORDER BY number")]


def replace_all(connection: sqlite3.Connection, table: list[list[Any]]) -> None:
    # As somebody would who has the file: without the constraints.
    connection.execute("DROP TABLE record")
    connection.execute("CREATE TABLE record (number INTEGER, previous TEXT, hash TEXT, entry TEXT)")
    connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", table)
    connection.commit()


@st.composite
def tampered(draw: st.DrawFn) -> tuple[str, list[int], int, str]:
    kind = draw(st.sampled_from(["edit", "delete", "swap", "insert", "head"]))
    places = draw(st.lists(st.integers(0, LENGTH - 1), min_size=2, max_size=2, unique=True))
    return kind, places, draw(st.integers(0, 10_000)), draw(st.text(max_size=5))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(what=tampered())
def test_every_edit_deletion_insertion_and_reordering_is_found(
    template: Path, tmp_path: Path, what: tuple[str, list[int], int, str]
) -> None:
    kind, (one, two), number, text = what
    path = tmp_path / "tampered.db"
    shutil.copy(template, path)
    connection = tampering(path)
    table = rows(connection)
    before = [list(row) for row in table]
    if kind == "edit":
        column = number % 4
        value = str(table[one][column])
        at = number % (len(value) + 1)
        # One or a few characters changed, cut or put in; of a number, another one.
        table[one][column] = number if column == 0 else value[:at] + text + value[at + number % 2 :]
    elif kind == "delete":
        del table[one]
    elif kind == "swap":
        # With and without their numbers changed to fit.
        if number % 2:
            table[one][1:], table[two][1:] = table[two][1:], table[one][1:]
        else:
            table[one][0], table[two][0] = table[two][0], table[one][0]
    elif kind == "insert":
        table.insert(one, [table[one][0] if number % 2 else LENGTH + 1 + number % 3, *table[two][1:]])
    if kind == "head":
        connection.execute("UPDATE record_head SET number = ?, hash = ?", (number % LENGTH, table[one][2]))
        connection.commit()
    elif table == before:
        connection.close()
        return
    else:
        replace_all(connection, table)
    connection.close()
    assert Record(str(path)).verify() != []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, LENGTH - 1), cut=st.booleans())
def test_what_somebody_writes_anew_with_hashes_that_fit_is_found_by_an_earlier_head_alone(
    template: Path, tmp_path: Path, first: int, cut: bool
) -> None:
    path = tmp_path / "rewritten.db"
    shutil.copy(template, path)
    noted = Record(str(path)).head()
    connection = tampering(path)
    table = rows(connection)
    previous = table[first][1]
    if cut:
        table = table[:first]
    for row in table[first:]:
        data = json.loads(row[3]) | {"why": "another reason", "previous": previous}
        row[3] = json.dumps(data, sort_keys=True, separators=(",", ":"))
        row[1], row[2] = previous, hashlib.sha256(row[3].encode()).hexdigest()
        previous = row[2]
    connection.execute("UPDATE record_head SET number = ?, hash = ?", (len(table), previous))
    replace_all(connection, table)
    connection.close()
    forged = Record(str(path))
    assert forged.verify() == []  # said in the module's docstring
    (finding,) = forged.verify(noted)
    assert "removed or rewritten" in finding


def test_a_head_noted_earlier_stays_good_while_the_record_grows(tmp_path: Path) -> None:
    log = written(tmp_path / "r.db", 2)
    noted = log.head()
    log.append("train", why="x")
    assert log.verify(noted) == log.verify(log.head()) == log.verify(GENESIS) == []
    assert len(log.verify("f" * 64)) == 1


def test_one_fault_is_one_finding_that_says_where(tmp_path: Path) -> None:
    log = written(tmp_path / "r.db")
    with sqlite3.connect(tmp_path / "r.db") as connection:
        connection.execute("UPDATE record SET entry = replace(entry, 'reason 2', 'reason X') WHERE number = 3")
    assert log.verify() == ["entry 3 was changed after it was written: its hash does not fit"]
    with sqlite3.connect(tmp_path / "r.db") as connection:
        connection.execute("DELETE FROM record WHERE number IN (4, 5)")
    assert log.verify()[1:] == ["after entry 3 comes entry 6: entries were removed or put in there"]
    with sqlite3.connect(tmp_path / "r.db") as connection:
        connection.execute("DELETE FROM record WHERE number = 6")
    assert "the last entry is number 3, but the head is that of number 6" in log.verify()[-1]
    with sqlite3.connect(tmp_path / "r.db") as connection:
        connection.execute("UPDATE record SET entry = '{}' WHERE number = 2")
    with pytest.raises(RecordError, match=r"entry 2 of the record .* cannot be read"):
        list(log.entries())


# --- who writes, and how they end ---

APPEND = """
import sys
from asr.privacy.record import Record
log = Record(sys.argv[1])
print("ready", flush=True)
for number in range(int(sys.argv[2])):
    log.append("listen", why="together", details={"process": sys.argv[3], "number": number})
"""


def written_together(url: str, processes: int, entries: int) -> None:
    started = [python(APPEND, url, str(entries), str(number)) for number in range(processes)]
    for process in started:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
    log = Record(url)
    assert log.verify() == []
    found = [(entry.details["process"], entry.details["number"]) for entry in log.entries()]
    assert len(found) == processes * entries
    for number in range(processes):
        assert [n for process, n in found if process == str(number)] == list(range(entries))


def test_four_processes_write_one_chain(tmp_path: Path) -> None:
    # Into a database that none of them finds there.
    written_together(str(tmp_path / "r.db"), 4, 50)


def test_a_process_that_is_killed_leaves_a_chain_that_holds(tmp_path: Path) -> None:
    chance = random.Random(0)
    entries = 0
    for _ in range(3):
        process = python(APPEND, tmp_path / "r.db", "100000", "0")
        assert process.stdout is not None
        process.stdout.readline()
        while entries == 0 and not (tmp_path / "r.db").exists():
            time.sleep(0.01)
        time.sleep(0.3 + chance.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        log = Record(str(tmp_path / "r.db"))
        log.append("train", why="and on it goes")
        assert log.verify() == []
        count = sum(1 for _ in log.entries())
        assert count > entries + 1
        entries = count


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A server of its own, where PostgreSQL is installed."""
    pytest.importorskip("psycopg")
    found = shutil.which("postgres")
    if found is None:
        pytest.skip("no PostgreSQL here")
    binaries = Path(found).resolve().parent
    # Not pytest's own folder, into which only its user may look: as root the server does not start.
    with tempfile.TemporaryDirectory(prefix="asr-pg-", ignore_cleanup_errors=True) as name:
        user: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
            os.chown(name, nobody.pw_uid, nobody.pw_gid)
        quiet: dict[str, Any] = {"cwd": name, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **user}
        made = [binaries / "initdb", "-D", f"{name}/data", "-U", "asr", "--auth=trust", "--no-sync"]
        subprocess.run(made, check=True, **quiet)
        started = [binaries / "postgres", "-D", f"{name}/data", "-k", name, "-c", "listen_addresses=", "-F"]
        server = subprocess.Popen(started, **quiet)
        try:
            url = f"postgresql+psycopg://asr:secret@/postgres?host={name}"
            _until_it_answers(url)
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)


def _until_it_answers(url: str) -> None:
    for _ in range(100):
        try:
            Record(url).head()
        except RecordError as error:
            if "holds no record" in str(error):
                return
        time.sleep(0.1)


def test_postgresql_is_a_url_away(postgres: str) -> None:
    written_together(postgres, 3, 10)
    log = open_record(postgres)
    assert "secret" not in log.place
    assert len(log.verify("f" * 64)) == 1


# --- what is no record, and where none can be written ---


def test_what_is_no_record_is_a_sentence(template: Path, tmp_path: Path) -> None:
    for read in (Record.verify, Record.head, lambda log: list(log.entries())):
        with pytest.raises(RecordError, match=r"there is no record .*none\.db yet"):
            read(Record(str(tmp_path / "none.db")))
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("this is no database, but a text that is long enough\n" * 50)
    for act in (Record.verify, lambda log: log.append("train", why="x")):
        with pytest.raises(RecordError, match=r"text\.db .*not a database"):
            act(Record(str(tmp_path / "text.db")))
    assert (tmp_path / "text.db").read_text().startswith("this is no database")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(RecordError, match="holds no record"):
        Record(str(tmp_path / "other.db")).verify()
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(RecordError, match="cannot be"):
        Record(str(tmp_path / "folder.db")).append("train", why="x")


def test_half_a_file_is_found_wherever_it_ends(template: Path, tmp_path: Path) -> None:
    whole = template.read_bytes()
    for size in range(1, len(whole), 997):
        half = tmp_path / "half.db"
        half.write_bytes(whole[:size])
        try:
            assert Record(str(half)).verify() != []
        except RecordError as error:
            assert "half.db" in str(error)


def test_a_full_disk_stops_the_action_before_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    written(path, 2)

    def limited() -> None:
        # A write beyond this fails, as one to a full disk does; Python ignores the signal that comes with it.
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, resource.RLIM_INFINITY))

    code = """
    import sys
    from asr.privacy.record import Record
    with Record(sys.argv[1]).during("train", why="x", details={"long": "x" * 100000}):
        print("begun")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limited,
    )
    assert "begun" not in done.stdout
    assert "nothing was done: the record " in done.stderr.splitlines()[-1]
    log = Record(str(path))
    assert (log.verify(), sum(1 for _ in log.entries())) == ([], 2)


def test_a_file_that_cannot_be_written_is_a_sentence(template: Path, tmp_path: Path) -> None:
    shutil.copy(template, tmp_path / "r.db")
    read_only = f"sqlite:///file:{tmp_path / 'r.db'}?mode=ro&uri=true"  # root may write everywhere else
    with pytest.raises(RecordError, match=r"cannot be written: .*readonly.* ASR_RECORD"):
        Record(read_only).append("train", why="x")
    with pytest.raises(RecordError, match="nothing was done"), Record(read_only).during("train", why="x"):
        pytest.fail("it began")
    shutil.copy(template, tmp_path / "other.db")
    with (
        pytest.raises(RecordError, match=r"the train was done, and its end is not on the record: .*other\.db"),
        Record(str(tmp_path / "other.db")).during("train", why="x"),
    ):
        (tmp_path / "other.db").write_text("somebody writes over it " * 50)
    with pytest.raises(RecordError, match="cannot be written"):
        Record("/proc/none/record.db").append("train", why="x")


def test_a_record_that_somebody_holds_is_waited_for_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "r.db", 1)
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    other = sqlite3.connect(tmp_path / "r.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecordError, match="locked"):
        Record(str(tmp_path / "r.db")).append("train", why="x")
    other.execute("COMMIT")
    assert Record(str(tmp_path / "r.db")).append("train", why="x").number == 2


# --- what an entry can be ---


def test_a_clock_that_goes_back_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = written(tmp_path / "r.db", 1)

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) - timedelta(hours=1)

    monkeypatch.setattr(module, "datetime", Earlier)
    entry = log.append("train", why="x")
    assert entry.details["clock_back_seconds"] == pytest.approx(3600, abs=5)
    assert log.verify() == []


def test_who_is_said_by_the_environment_or_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Record(str(tmp_path / "r.db"))
    monkeypatch.delenv("ASR_USER")
    monkeypatch.setenv("LOGNAME", "somebody")
    assert log.append("train", why="x").who == "somebody"
    monkeypatch.setattr("getpass.getuser", lambda: {}["no name"])
    assert log.append("train", why="x").who == f"uid {os.getuid()}"
    monkeypatch.setenv("ASR_USER", "two\nlines")
    with pytest.raises(RecordError, match="'who'"):
        log.append("train", why="x")


@pytest.mark.parametrize("why", ["", "two\nlines", "bell\x07", "next\u2028line"])
def test_what_would_break_a_line_is_refused(tmp_path: Path, why: str) -> None:
    with pytest.raises(RecordError, match="'why'"):
        Record(str(tmp_path / "r.db")).append("train", why=why)
    with pytest.raises(RecordError, match=r"'sing' is no action of the record; accepted are import, .*erase"):
        Record(str(tmp_path / "r.db")).append("sing", why="x")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    details=st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**60), 2**60)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_details_come_back_as_they_were(tmp_path: Path, details: dict[str, Any]) -> None:
    log = Record(str(tmp_path / "r.db"))
    entry = log.append("export", why="x", details=details)
    assert entry.details == details
    assert list(log.entries())[-1] == entry
    assert log.verify() == []


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Path) -> None:
    assert open_record().place == str(record)
    assert open_record(f"sqlite:///{tmp_path}/other.db").place == f"{tmp_path}/other.db"
    monkeypatch.setenv("ASR_RECORD", "")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert open_record().place == str(tmp_path / "state" / "dialect-asr" / "record.db")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert open_record().place == str(tmp_path / ".local" / "state" / "dialect-asr" / "record.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "://x", "nosuch://host/x"])
def test_a_url_that_means_no_place_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="the record"):
        Record(url)
