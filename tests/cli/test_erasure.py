import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from asr.cli import app
from asr.fragment import Fragment, read_manifest, write_manifest
from asr.privacy.pseudonyms import new_key, pseudonym
from asr.privacy.record import open_record

Command = Callable[..., Any]


@pytest.fixture
def asr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command with a record and a state folder of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("ASR_RECORD", "ASR_TOMBSTONES"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def corpus(folder: Path, *speakers: str) -> Path:
    """One fragment of each speaker."""
    fragments = []
    for number, speaker in enumerate(speakers):
        audio = folder / f"r{number}.wav"
        audio.parent.mkdir(exist_ok=True)
        soundfile.write(audio, np.full(8000, 0.1 + 0.1 * number), 16000)
        fragments.append(
            Fragment(id=f"f-{number}", audio=str(audio), text="oui", language="fr", speaker=speaker, corpus="mine")
        )
    write_manifest(fragments, folder / "m.jsonl")
    return folder


def test_a_speaker_is_erased_and_it_is_on_record(asr: Command, tmp_path: Path) -> None:
    data = corpus(tmp_path / "data", "speaker-k3v7", "speaker-b4n2")
    shown = asr("erase", data, "--speaker", "speaker-k3v7", "--dry-run")
    assert shown.exit_code == 0 and "remove" in shown.stdout and "r0.wav" in shown.stdout
    assert len(list(read_manifest(data / "m.jsonl"))) == 2
    done = asr("erase", data, "--speaker", "speaker-k3v7", "--output", tmp_path / "deleted.json")
    assert done.exit_code == 0, done.output
    assert [f.speaker for f in read_manifest(data / "m.jsonl")] == ["speaker-b4n2"]
    assert sorted(path.name for path in data.iterdir()) == ["m.jsonl", "r1.wav"]
    assert len(json.loads((tmp_path / "deleted.json").read_text())["deleted"]) == 2
    record = open_record()
    assert [entry.action for entry in record.entries()] == ["erase"] and record.verify() == []
    assert (tmp_path / "state" / "dialect-asr" / "tombstones.json").exists()
    # A second time there is nothing, and a wrong id must not pass for an erasure.
    again = asr("erase", data, "--speaker", "speaker-k3v7")
    assert again.exit_code == 1 and "nothing in these folders" in again.stderr and "k3v7" not in again.stderr


def test_what_was_erased_is_not_imported_again(asr: Command, tmp_path: Path) -> None:
    data = corpus(tmp_path / "data", "speaker-k3v7", "speaker-b4n2", "speaker-c5p8")
    backup = shutil.copytree(data, tmp_path / "backup")
    # In the copy, a recording of theirs is said to be another's.
    lines = (backup / "m.jsonl").read_text().splitlines()
    lines.append(json.dumps(json.loads(lines[0]) | {"id": "x", "speaker": "speaker-d6q9"}))
    (backup / "m.jsonl").write_text("\n".join(lines))
    arguments = [
        "import",
        backup,
        "--format",
        "jsonl",
        "--option",
        "manifest=m.jsonl",
        "--output",
        tmp_path / "o.jsonl",
    ]
    assert "refused" not in asr(*arguments).stdout
    assert len(list(read_manifest(tmp_path / "o.jsonl"))) == 4
    assert asr("erase", data, "--speaker", "speaker-k3v7").exit_code == 0
    again = asr(*arguments)
    assert "2 fragments refused, because they were erased (1 by their audio, 1 by their speaker)" in again.stdout
    assert {f.speaker for f in read_manifest(tmp_path / "o.jsonl")} == {"speaker-b4n2", "speaker-c5p8"}
    # Nothing but what was erased: no manifest, and the reason is said.
    (backup / "m.jsonl").write_text(lines[0])
    alone = asr(*arguments)
    assert alone.exit_code == 1 and "1 fragments refused" in alone.stdout
    (tmp_path / "state" / "dialect-asr" / "tombstones.json").write_text("{")
    damaged = asr(*arguments)
    assert damaged.exit_code == 1 and "nobody can say what was erased" in damaged.stderr


def test_the_original_id_and_the_keys_lead_to_every_release(asr: Command, tmp_path: Path) -> None:
    keys = [tmp_path / "keys" / name for name in ("one", "two")]
    names = [pseudonym("speaker", "Anna Example", new_key(key)) for key in keys]
    data = corpus(tmp_path / "data", "Anna Example", *names, "speaker-b4n2")
    options = ["--original", *(option for key in keys for option in ("--key", key))]
    done = asr("erase", data, "--speaker", "Anna Example", *options)
    assert done.exit_code == 0, done.output
    assert [f.speaker for f in read_manifest(data / "m.jsonl")] == ["speaker-b4n2"]
    shutil.copy(keys[0], data / "key")
    refused = asr("erase", data, "--speaker", "Anna Example", "--original", "--key", data / "key")
    assert refused.exit_code == 1 and "lies in the data folder" in refused.stderr


def test_what_is_left_is_said_with_exit_code_1(asr: Command, tmp_path: Path) -> None:
    data = corpus(tmp_path / "data", "speaker-k3v7", "speaker-b4n2")
    (data / "all.h5").write_bytes(b"\0speaker-k3v7\0")
    done = asr("erase", data, "--speaker", "speaker-k3v7")
    assert done.exit_code == 1
    assert "all.h5" in done.stderr and "cannot be taken apart" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["data"],
        ["--speaker", "x"],
        ["data", "--speaker", "x", "--original"],
        ["data", "--speaker", "x", "--key", "k"],
        ["data", "--resume"],
        ["--resume", "--dry-run"],
    ],
)
def test_wrong_usage(asr: Command, arguments: list[str]) -> None:
    assert asr("erase", *arguments).exit_code == 2


def test_nothing_to_go_on_with(asr: Command) -> None:
    found = asr("erase", "--resume")
    assert found.exit_code == 1 and "no erasure to go on with" in found.stderr


def test_the_register_is_written_in_both_forms(asr: Command, tmp_path: Path) -> None:
    data = corpus(tmp_path / "data", "speaker-k3v7", "speaker-b4n2")
    cards = tmp_path / "cards"
    (cards / "mine").mkdir(parents=True)
    (cards / "mine" / "README.md").write_text("# mine\n\nOurs.\n\n| | |\n|---|---|\n| source | here |\n")
    (cards / "mine" / "recipe.yaml").write_text("importer: jsonl\n")
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps([{"name": "recall", "value": 0.9, "command": "python scripts/x.py"}]))
    pages = [tmp_path / "r.md", tmp_path / "r.html"]
    arguments = ["register", data / "m.jsonl", "--datasets", cards, "--figures", figures]
    arguments += [option for page in pages for option in ("--output", page)]
    empty = asr(*arguments)
    assert empty.exit_code == 0, empty.output
    assert "nothing to say of what was done" in pages[0].read_text()
    open_record().append("listen", why="a check", manifests=[data / "m.jsonl"])
    assert asr(*arguments).exit_code == 0
    markdown, html = (page.read_text() for page in pages)
    for text in (markdown, html):
        assert "a check" in text and "python scripts/x.py" in text and "it holds" in text and "k3v7" not in text
    assert asr("register", "--output", tmp_path / "r.pdf").exit_code == 2
    assert asr("register", "--output", pages[0], "--datasets", tmp_path / "none").exit_code == 1
