"""Exports a Kaldi data folder; what Kaldi has no file for goes to files ``utt2NAME``, which its tools pass over."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from asr.errors import AsrError, ManifestError
from asr.files import atomic_folder
from asr.fragment import Fragment

# Fields of one word each; utt2dur is Kaldi's own for whole recordings, whose times are in segments here.
_LABELS = ("dialect", "age_band", "intonation", "tune", "conversation", "corpus", "split", "licence", "annotator")
_GENDERS = {"male": "m", "female": "f"}
_SPACE = re.compile(r"[ \t\n\r]")


@dataclass(frozen=True, slots=True)
class KaldiExportOptions:
    """Options of `export_kaldi`: there are none."""


@contextmanager
def export_kaldi(output: Path, options: KaldiExportOptions) -> Iterator[Callable[[Fragment], None]]:
    """Write ``wav.scp``, ``segments``, ``text``, ``utt2spk``, ``spk2gender``, ``utt2lang`` and more, all sorted.

    Recordings stay where they are, and ``wav.scp`` names them with their full path. Ids are kept; where they do not
    begin with the speaker's, Kaldi's own check of the folder wants ``--no-spk-sort``. Several blanks of a text become
    one. A database on disk does the sorting, so memory does not grow with the manifest.

    Args:
        output: The folder to make.
        options: None are needed.

    Yields:
        A function that takes a fragment. It raises ManifestError for one whose id, speaker, label or path has a blank
        where Kaldi allows none, or whose id was there before.

    Raises:
        AsrError: The folder holds something already, or the disk is full.
    """
    with atomic_folder(output) as folder:
        lines = folder / "lines.sqlite"
        # It lives as long as the export, so it needs no journal and no syncing.
        with closing(sqlite3.connect(lines, isolation_level=None)) as store:
            try:
                store.execute("PRAGMA journal_mode = OFF")
                store.execute("PRAGMA synchronous = OFF")
                store.execute(
                    "CREATE TABLE lines (file TEXT, key TEXT, value TEXT, PRIMARY KEY (file, key)) WITHOUT ROWID"
                )
                store.execute("BEGIN")
                yield lambda fragment: _add(store, fragment)
                _write(store, folder)
            except sqlite3.Error as error:  # no space left …
                raise AsrError(f"the lines cannot be sorted on disk: {error} ({output})") from error
        lines.unlink()


def _add(store: sqlite3.Connection, fragment: Fragment) -> None:
    speaker = fragment.speaker or fragment.id
    tokens = {"id": fragment.id, "speaker": speaker} | {name: getattr(fragment, name) or "" for name in _LABELS}
    for name, token in tokens.items():
        if _SPACE.search(token):
            raise ManifestError(f"the {name} of a fragment has a blank, which Kaldi does not allow")
    if _SPACE.search(fragment.audio):
        raise ManifestError("the path of the recording has a blank, which Kaldi does not allow")
    recording = quote(fragment.audio, safe="")
    rows = {
        "text": " ".join(fragment.text.split()),
        "segments": f"{recording} {fragment.start!r} {-1 if fragment.end is None else fragment.end!r}",
        "utt2spk": speaker,
        "utt2lang": fragment.language,
        **{f"utt2{name}": value for name in _LABELS if (value := getattr(fragment, name))},
    }
    if fragment.gender is not None and not _shares_gender(store, fragment):
        rows["utt2gender"] = fragment.gender
    " ".join(rows.values()).encode()  # before anything is kept of a fragment that cannot be written
    try:
        store.execute("INSERT INTO lines VALUES ('text', ?, ?)", (fragment.id, rows.pop("text")))
    except sqlite3.IntegrityError:
        raise ManifestError(f"the id {fragment.id!r} stands twice; ids are the keys of Kaldi's files") from None
    store.executemany(
        "INSERT INTO lines VALUES (?, ?, ?)", ((file, fragment.id, value) for file, value in rows.items())
    )
    store.execute("INSERT OR IGNORE INTO lines VALUES ('wav.scp', ?, ?)", (recording, fragment.audio))


def _shares_gender(store: sqlite3.Connection, fragment: Fragment) -> bool:
    """Note a speaker's gender where that is the one that ``spk2gender`` will give back."""
    letter = _GENDERS.get(fragment.gender or "")
    if letter is None or fragment.speaker is None:
        return False
    store.execute("INSERT OR IGNORE INTO lines VALUES ('spk2gender', ?, ?)", (fragment.speaker, letter))
    query = "SELECT value FROM lines WHERE file = 'spk2gender' AND key = ?"
    return bool(store.execute(query, (fragment.speaker,)).fetchone()[0] == letter)


def _write(store: sqlite3.Connection, folder: Path) -> None:
    # SQLite compares the bytes of UTF-8, as LC_ALL=C does.
    files = [name for (name,) in store.execute("SELECT DISTINCT file FROM lines")]
    for name in files:
        with (folder / name).open("w", encoding="utf-8", newline="\n") as handle:
            for key, value in store.execute("SELECT key, value FROM lines WHERE file = ? ORDER BY key", (name,)):
                handle.write(f"{key} {value}\n" if value else f"{key}\n")
