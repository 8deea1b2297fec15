"""`asr audit` as it is typed, and what the other commands leave in the record."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import asr.inference.transcriber
from asr import read_manifest
from asr.cli import app
from asr.fragment import write_manifest
from asr.inference.decoding import DecodeOptions
from asr.privacy.record import open_record


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def corpus_recipe(tmp_path: Path) -> Path:
    """A corpus of two fragments, whose recipe states their consent."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = [
        {"audio": f"{name}.wav", "text": "secret words", "language": "fr", "speaker": "secret"} for name in ("a", "b")
    ]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(
        yaml.safe_dump({"importer": "jsonl", "consent": {"id": "forms", "purposes": ["training"]}})
    )
    return folder


def test_an_import_is_on_the_record_with_what_came_of_it(corpus_recipe: Path, tmp_path: Path, record: Path) -> None:
    output = tmp_path / "out.jsonl"
    code, _, stderr = run(
        "import", corpus_recipe, "--recipe", corpus_recipe, "--output", output, "--why", "a first look"
    )
    assert code == 0, stderr
    assert {item.consent.id for item in read_manifest(output) if item.consent} == {"forms"}
    begun, ended = open_record().entries()
    assert (begun.action, begun.why, begun.who) == ("import", "a first look", "tester")
    assert begun.details == {"recipe": "mine", "importer": "jsonl", "stage": "begin"}
    (made,) = ended.manifests
    assert (made.name, made.fragments) == ("out.jsonl", 2)
    assert made.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()

    code, shown, _ = run("audit", "show")
    assert code == 0
    # No speaker, no transcript, no path.
    assert b"secret" not in record.read_bytes() and str(tmp_path).encode() not in record.read_bytes()
    assert [line.split()[0] for line in shown.splitlines()] == ["1", "2"]
    assert f"tester import for a first look | out.jsonl {made.sha256[:12]} (2)" in shown
    # The manifest under another name is the same manifest.
    output.rename(tmp_path / "renamed.jsonl")
    code, shown, _ = run("audit", "show", "--manifest", tmp_path / "renamed.jsonl", "--json")
    assert [json.loads(line)["number"] for line in shown.splitlines()] == [2]
    assert hashlib.sha256(shown.splitlines()[0].encode()).hexdigest() == ended.hash


def test_verify_and_head(record: Path) -> None:
    log = open_record()
    for _ in range(3):
        log.append("listen", why="x")
    code, head, _ = run("audit", "head")
    assert (code, head) == (0, f"{log.head()}\n")
    code, stdout, _ = run("audit", "verify", "--head", head.strip())
    assert (code, stdout) == (0, f"the record {record} holds\n")
    code, stdout, _ = run("audit", "verify")
    assert code == 0 and "without --head" in stdout
    code, stdout, _ = run("audit", "verify", "--head", "0" * 63 + "1")
    assert code == 1 and "removed or rewritten" in stdout
    with sqlite3.connect(record) as connection:
        connection.execute("DELETE FROM record WHERE number = 2")
    code, stdout, _ = run("audit", "verify")
    assert (code, stdout) == (1, "after entry 1 comes entry 3: entries were removed or put in there\n")


def test_no_record_is_a_sentence(record: Path) -> None:
    for name in ("verify", "show", "head"):
        code, _, stderr = run("audit", name)
        assert (code, stderr) == (1, f"asr: there is no record {record} yet; it is made with the first entry\n")


def test_what_cannot_be_recorded_is_not_done(
    corpus_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.db").write_text("no database at all, and long enough to be taken for one" * 50)
    monkeypatch.setenv("ASR_RECORD", str(tmp_path / "broken.db"))
    code, _, stderr = run("import", corpus_recipe, "--recipe", corpus_recipe, "--output", tmp_path / "out.jsonl")
    assert code == 1
    assert "broken.db cannot be written: file is not a database" in stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_labels_ask_for_consent_to_training(
    tiny_checkpoint: Path, dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr.inference.transcriber, "DecodeOptions", lambda: DecodeOptions(max_tokens=6))
    first, second = read_manifest(dev)
    write_manifest([first.replace(consent=None), second], dev)
    given = ("label", dev, "--model", tiny_checkpoint, "--device", "cpu", "--output", tmp_path / "out.jsonl")
    code, stdout, _ = run(*given)
    assert code == 0
    assert stdout.startswith("1 fragments written")
    assert [item.id for item in read_manifest(tmp_path / "out.jsonl")] == [second.id]
    begun, ended = open_record().entries()
    assert begun.details["refused"] == {"none": 1} and begun.details["command"] == "label"
    assert [one.name for one in ended.manifests] == ["out.jsonl"]

    write_manifest([first.replace(consent=None)], dev)
    code, _, stderr = run(*given)
    assert code == 1
    assert "nothing in it may be used: 1 of 1 fragments are refused for want of consent to training" in stderr
    assert run(*given, "--without-consent")[0] == 2, "it must be spelled out"
    code, stdout, _ = run(*given, "--without-consent-check")
    assert (code, stdout[:19]) == (0, "1 fragments written")
    assert list(open_record().entries())[-2].details["without_consent_check"] is True
