"""asr pseudonymise, as a user types it."""

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from asr.audio import load_audio
from asr.cli import app
from asr.fragment import read_manifest, write_manifest
from asr.privacy.record import open_record


@pytest.fixture
def manifest(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The corpus in a folder of data, said by six speakers, and a record of its own."""
    monkeypatch.setenv("ASR_RECORD", str(tmp_path / "record.db"))
    monkeypatch.setenv("COLUMNS", "200")
    items = (
        item.replace(speaker=f"Jeanne {n % 6}", dialect="fr-CA" if n % 6 else "fr-CA-x-gaspe", language="fr")
        for n, item in enumerate(read_manifest(corpus))
    )
    write_manifest(list(items), tmp_path / "audio" / "m.jsonl")
    return tmp_path / "audio" / "m.jsonl"


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["pseudonymise", *map(str, arguments), "--why", "for the annotators"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_from_a_corpus_to_a_release_on_record(manifest: Path, tmp_path: Path) -> None:
    key, release = tmp_path / "keys" / "key", tmp_path / "release"
    lines = [json.loads(line) | {"mic": "phone"} for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, err = run(manifest, release, "--key", key, "--new-key", "--k", "5")
    assert (code, err) == (0, "")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    # Two fragments of the one speaker of Gaspé move to fr-CA, where five are.
    assert "fr-CA-x-gaspe" in out and "<5" in out and "mic" in out and "12" in out and str(release) in out
    assert {item.dialect for item in read_manifest(release / "manifest.jsonl")} == {"fr-CA"} and "Jeanne" not in out

    begin, end = open_record().entries()
    assert (begin.action, begin.why, [mark.name for mark in begin.manifests]) == (
        "pseudonymise", "for the annotators", ["m.jsonl"]
    )  # fmt: skip
    assert [(mark.name, mark.fragments) for mark in end.manifests] == [("manifest.jsonl", 12)]
    assert end.details["speakers"] == 6 and "gaspe" not in end.line and "mic" not in end.line
    assert key.read_text().strip() not in begin.line + end.line and open_record().verify() == []


def test_json_and_keys_that_stay(manifest: Path, tmp_path: Path) -> None:
    run(manifest, tmp_path / "a", "--key", tmp_path / "key", "--new-key", "--k", "1")
    code, out, _ = run(manifest, tmp_path / "b", "--key", tmp_path / "key", "--json", "--no-audio", "--keep", "mic")
    report = json.loads(out)
    assert code == 0 and report["fragments"] == 12 and report["dropped"] == {}
    assert report["widened"][0]["shown"]["dialect"] == "fr-CA"
    assert [path.name for path in (tmp_path / "b").rglob("*")] == ["manifest.jsonl"]


def test_words_are_masked_on_the_way(manifest: Path, tmp_path: Path) -> None:
    said = "je m'appelle Jeanne Tremblay"
    lines = [json.loads(line) | {"text": said} for line in manifest.read_text().splitlines()]
    lines[0]["words"] = [
        {"text": word, "start": 0.02 * place, "duration": 0.02} for place, word in enumerate(said.split())
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, err = run(manifest, tmp_path / "a", "--key", tmp_path / "key", "--new-key", "--k", "1", "--mask-words")
    # Nobody knows where in the others' sound the name is.
    assert code == 1 and err.count("skipped: ") == 11 and "no times of its words" in err and "Jeanne" not in err + out
    (masked,) = read_manifest(tmp_path / "a" / "manifest.jsonl")
    assert masked.text == "je m'appelle [NAME]"
    samples = load_audio(masked.audio, 0.0, 0.1)
    assert not samples.any()  # the name's own time, and the 0.1 s on either side
    code, out, _ = run(manifest, tmp_path / "b", "--key", tmp_path / "key", "--no-audio", "--k", "1", "--mask-words")
    assert code == 0 and {item.text for item in read_manifest(tmp_path / "b" / "manifest.jsonl")} == {masked.text}
    assert next(iter(open_record().entries())).details["changes"] == ["mask-words"]


def test_what_fails_is_a_sentence(manifest: Path, tmp_path: Path) -> None:
    release, key = tmp_path / "release", tmp_path / "key"
    code, _, err = run(manifest, release, "--key", key)
    assert code == 1 and "there is no key" in err and "--new-key" in err
    code, _, err = run(manifest, release, "--key", manifest.with_name("key"), "--new-key")
    assert code == 1 and "lies in the data folder" in err and not manifest.with_name("key").exists()
    key.write_text("too short")
    code, _, err = run(manifest, release, "--key", key)
    assert code == 1 and "holds no key" in err
    code, _, err = run(manifest, release, "--key", tmp_path / "other", "--new-key", "--k", "7")
    assert code == 1 and "nothing can be released: 12 fragments are of fewer than 7 speakers" in err
    assert not release.exists() and not (tmp_path / ".release.part").exists()
    code, _, err = run(manifest, release, "--key", tmp_path / "other", "--k", "0")
    assert code == 2 and not release.exists()
    assert [entry.details.get("stage") for entry in open_record().entries()] == ["begin", "failed"]


def test_why_nothing_is_left_is_said(manifest: Path, tmp_path: Path) -> None:
    for path in tmp_path.glob("audio/*.wav"):
        path.unlink()
    code, _, err = run(manifest, tmp_path / "release", "--key", tmp_path / "key", "--new-key")
    assert code == 1 and err.count("skipped: there is no such recording") == 12
    assert "nothing can be released: 0 fragments" in err and "12 lines were skipped" in err


def test_lines_that_are_skipped_are_named_and_end_in_1(manifest: Path, tmp_path: Path) -> None:
    manifest.write_text(manifest.read_text() + "{\n")
    code, out, err = run(manifest, tmp_path / "release", "--key", tmp_path / "key", "--new-key")
    assert code == 1 and "skipped: not JSON" in err and "m.jsonl:13" in err
    assert sum(1 for _ in read_manifest(tmp_path / "release" / "manifest.jsonl")) == 12 and "release:" in out
