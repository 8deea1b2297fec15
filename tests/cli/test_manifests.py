"""The commands on corpora, as a user types them: results, exit codes, and sentences instead of tracebacks."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from asr.cli import app
from asr.fragment import fragment_schema, read_manifest
from asr.intent.event import event_schema
from asr.privacy.record import open_record


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus of 20 recordings by 10 speakers in someone else's layout, with its recipe."""
    (tmp_path / "audio").mkdir()
    rows = []
    for n in range(20):
        soundfile.write(tmp_path / f"audio/c{n}.wav", np.zeros(8000, np.float32), 8000)
        accent = ("Québec", "Liège", "Mars")[n % 10 // 4]
        rows.append({"file": f"audio/c{n}.wav", "said": f"phrase {n}", "who": n % 10, "accent": accent, "mic": "phone"})
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(
        "importer: jsonl\noptions:\n  manifest: list.jsonl\n  fields:\n    audio: file\n    text: said\n"
        "    speaker: who\n    dialect: {field: accent, map: {Québec: fr-CA, Liège: fr-BE}}\n"
        "  constants: {language: fr}\n",
        "utf-8",
    )
    return tmp_path


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def manifest(corpus: Path) -> Path:
    code, _, _ = run("import", corpus, "--recipe", corpus, "--output", corpus / "m.jsonl")
    assert code == 0
    return corpus / "m.jsonl"


def test_from_a_foreign_corpus_to_a_checked_split(corpus: Path) -> None:
    code, out, _ = run("import", corpus, "--recipe", corpus, "--output", corpus / "m.jsonl.gz")
    assert code == 0
    assert "20 fragments written" in out
    assert "Mars" in out and "4" in out
    first = next(read_manifest(corpus / "m.jsonl.gz"))
    assert (first.id, first.speaker, first.dialect, first.custom["mic"]) == ("c0", "0", "fr-CA", "phone")

    code, out, _ = run("split", corpus / "m.jsonl.gz", "--output-dir", corpus / "s", "--share", "train=0.7",
                       "--share", "dev=0.3", "--json")  # fmt: skip
    assert code == 0
    assert [share["speakers"] for share in json.loads(out)["shares"]] == [7, 3]

    code, out, _ = run("validate", corpus / "s/train.jsonl", corpus / "s/dev.jsonl")
    assert (code, out) == (0, "20 fragments, 0 errors, 0 warnings\n")

    code, out, _ = run("stats", corpus / "s/train.jsonl", corpus / "s/dev.jsonl", "--json")
    assert code == 0
    found = {row["dialect"]: (row["fragments"], row["speakers"]) for row in json.loads(out)["dialects"]}
    assert found == {"fr-CA": (8, 4), "fr-BE": (8, 4), None: (4, 2)}


def test_tables(manifest: Path) -> None:
    _, out, _ = run("stats", manifest)
    assert "fr-CA" in out and "all" in out
    _, out, _ = run("split", manifest, "--output-dir", manifest.parent / "s", "--speakers", "dev=3")
    assert "no dialect" in out and str(manifest.parent / "s" / "dev.jsonl") in out.replace("\n", "")


def test_validate_shows_issues_and_ends_with_1(manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace('"fr-CA"', '"fr_CA"'))
    code, out, _ = run("validate", manifest, "--limit", "2")
    assert code == 1
    assert out.count("joined by '-'") == 2
    assert "… and 6 more [dialect-tag]" in out
    assert "20 fragments, 8 errors, 0 warnings" in out
    assert run("validate", manifest, "--ignore", "dialect-tag")[0] == 0
    report = json.loads(run("validate", manifest, "--json")[1])
    assert (report["ok"], report["counts"], len(report["issues"])) == (False, {"dialect-tag": 8}, 8)


def test_validate_can_leave_the_audio_closed(manifest: Path) -> None:
    (manifest.parent / "audio/c0.wav").unlink()
    assert run("validate", manifest)[0] == 1
    assert run("validate", manifest, "--no-audio")[0] == 0


def test_broken_lines_stop_or_are_skipped(manifest: Path) -> None:
    manifest.write_text(manifest.read_text() + '{"id": \n')
    for command in (
        ["stats", manifest],
        ["split", manifest, "--output-dir", manifest.parent / "s", "--speakers", "dev=3"],
    ):
        code, _, err = run(*command)
        assert code == 1 and "m.jsonl:21" in err
        code, out, err = run(*command, "--skip-broken", "--json")
        assert code == 1 and json.loads(out)
        assert err.count("skipped: not JSON") == 1


@pytest.mark.parametrize("command", ["validate", "stats"])
def test_what_is_no_manifest(tmp_path: Path, command: str) -> None:
    whole = gzip.compress(
        b"".join(b'{"id": "%d", "audio": "a", "text": "%d", "language": "fr"}\n' % (n, n * n) for n in range(999))
    )
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-100])
    (tmp_path / "noise.jsonl").write_bytes(bytes(range(128, 256)) * 10)
    for path, sentence in (
        (tmp_path / "none.jsonl", "no such manifest"),
        (tmp_path, "this is a folder"),
        (tmp_path / "cut.jsonl.gz", "cut short"),
        (tmp_path / "noise.jsonl", "not UTF-8"),
    ):
        code, out, err = run(command, path)
        assert code == 1
        assert sentence in out + err
        assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["split", "m", "--output-dir", "s"], "give either --share"),
        (["split", "m", "--output-dir", "s", "--share", "train=1", "--speakers", "dev=1"], "give either --share"),
        (["split", "m", "--output-dir", "s", "--share", "train"], "is not NAME=VALUE"),
        (["split", "m", "--output-dir", "s", "--share", "train=most"], "'most' is not a number"),
        (["split", "m", "--output-dir", "s", "--speakers", "dev=1.5"], "'1.5' is not a whole number"),
        (["split", "m", "--output-dir", "s", "--speakers", "dev=1", "--speakers", "dev=2"], "given twice"),
        (["split", "m"], "--output-dir"),
        (["validat", "m"], "No such command"),
        (["validate"], "MANIFESTS"),
        (["stats", "m", "--yaml"], "No such option"),
        (["import", "x", "--recipe", "."], "--output"),
        (["import", "x", "--output", "m.jsonl"], "give either --format or --recipe"),
        (["import", "x", "--output", "m.jsonl", "--format", "jsonl", "--recipe", "x"], "give either --format"),
        (["import", "x", "--output", "m.jsonl", "--recipe", "x", "--option", "a=b"], "--option goes with --format"),
        (["import", "x", "--output", "m.jsonl", "--format", "kaldy"], "'kaldy' is none of asterisk, "),
        (["convert", "m", "out", "--format", "praat"], "'praat' is none of common_voice, kaldi, label_studio, lhotse"),
        (["import", "x", "--output", "m", "--format", "nemo", "--option", "fields=a", "--option", "fields.text=b"],
         "'fields' is given as a whole and in part"),
    ],
)  # fmt: skip
def test_wrong_usage_ends_with_2(arguments: list[str], sentence: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert sentence.lower() in " ".join(err.replace("│", " ").split()).lower()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["import", ".", "--recipe", "nothing", "--output", "m.jsonl"], "no recipe 'nothing'"),
        (["import", "nowhere", "--recipe", "CORPUS", "--output", "m.jsonl"], "there is no nowhere; name the folder"),
        (["import", "CORPUS", "--recipe", "CORPUS", "--output", "CORPUS/list.jsonl/m.jsonl"], "list.jsonl"),
        (["import", "CORPUS", "--format", "jsonl", "--output", "CORPUS/m", "--option", "manifst=a"], "mean 'manifest'"),
        (["import", "CORPUS", "--format", "jsonl", "--output", "CORPUS/m", "--option", "fields={"], "is no YAML"),
        (["validate", "CORPUS/m.jsonl", "--ignore", "nothing"], "no check 'nothing'"),
        (["split", "CORPUS/m.jsonl", "--output-dir", "CORPUS/s", "--speakers", "dev=11"], "the manifest has 10"),
        (["split", "CORPUS/m.jsonl", "--output-dir", "CORPUS/s", "--share", "dev=0.5"], "add up to 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_ends_with_1(manifest: Path, arguments: list[str], sentence: str) -> None:
    before = manifest.read_bytes()
    code, _, err = run(*(argument.replace("CORPUS", str(manifest.parent)) for argument in arguments))
    assert code == 1
    assert err.startswith("asr: ") and sentence in err
    assert len(err.splitlines()) == 1
    assert manifest.read_bytes() == before


def test_a_format_takes_its_options_on_the_command_line(corpus: Path) -> None:
    given = ("manifest=list.jsonl", "fields={audio: file, text: said}", "constants.language=no")
    options = [word for option in given for word in ("--option", option)]
    code, _, err = run("import", corpus, "--format", "jsonl", *options, "--output", corpus / "m.jsonl")
    assert (code, err) == (0, "")
    first = next(read_manifest(corpus / "m.jsonl"))
    assert (first.id, first.language, first.corpus) == ("c0", "no", None)


def test_broken_rows_are_named_and_left_out(corpus: Path) -> None:
    with (corpus / "list.jsonl").open("a") as handle:
        handle.write("broken\n" * 30)
    code, out, err = run("import", corpus, "--recipe", corpus, "--output", corpus / "m.jsonl")
    assert code == 1 and "20 fragments written" in out
    assert err.count("skipped: not JSON") == 20 and "list.jsonl:21)" in err and "… and 10 more" in err
    assert len(list(read_manifest(corpus / "m.jsonl"))) == 20


def test_an_import_without_one_good_row_leaves_the_older_manifest(corpus: Path, manifest: Path) -> None:
    before = manifest.read_bytes()
    (corpus / "list.jsonl").write_text("broken\nbroken\n")
    code, _, err = run("import", corpus, "--recipe", corpus, "--output", manifest)
    assert code == 1 and "none of the 2 rows" in err and "list.jsonl:1" in err
    assert manifest.read_bytes() == before


def test_a_manifest_goes_out_and_comes_back(manifest: Path) -> None:
    folder = manifest.parent
    manifest.write_text(manifest.read_text() + "broken\n")
    code, out, err = run("convert", manifest, folder / "kaldi", "--format", "kaldi")
    assert code == 1 and "20 fragments written" in out and err.count("skipped: ") == 1 and "m.jsonl:21)" in err
    entries = [(entry.action, entry.details.get("fragments")) for entry in open_record().entries()]
    assert entries[-2:] == [("export", None), ("export", 20)]
    back = ["--format", "kaldi", "--option", f"audio_root={folder}", "--output", folder / "back.jsonl"]
    assert run("import", folder / "kaldi", *back)[::2] == (0, "")
    before = {item.id: (item.text, item.speaker, item.dialect) for item in read_manifest(manifest, "skip")}
    assert {item.id: (item.text, item.speaker, item.dialect) for item in read_manifest(folder / "back.jsonl")} == before


def test_an_empty_corpus_is_a_failure(corpus: Path) -> None:
    (corpus / "list.jsonl").write_text("")
    code, _, err = run("import", corpus, "--recipe", corpus, "--output", corpus / "m.jsonl")
    assert code == 1 and "gave no fragments" in err


def test_schema_is_printed_or_written(tmp_path: Path) -> None:
    assert json.loads(run("schema")[1]) == fragment_schema()
    assert json.loads(run("schema", "--event")[1]) == event_schema()
    assert run("schema", "--output", tmp_path / "schema.json")[0] == 0
    assert json.loads((tmp_path / "schema.json").read_text()) == fragment_schema()


def test_control_c_ends_with_130_and_leaves_nothing_half(corpus: Path) -> None:
    os.mkfifo(corpus / "slow.jsonl")
    (corpus / "recipe.yaml").write_text("importer: jsonl\noptions: {manifest: slow.jsonl}\n")
    command = [sys.executable, "-m", "asr", "import", corpus, "--recipe", corpus, "--output", corpus / "m.jsonl"]
    # stdin of its own group: the signal reaches this process alone
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with (corpus / "slow.jsonl").open("w") as pipe:  # opens when the importer does
        pipe.write('{"audio": "a.wav", "text": "", "language": "fr"}\n')
        pipe.flush()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not [path.name for path in corpus.iterdir() if path.name.startswith((".m", "m.jsonl"))]
