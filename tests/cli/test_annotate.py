"""The annotation loop as a user types it, and what the record says of it afterwards."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from asr.cli import app
from asr.exporters.label_studio import results
from asr.fragment import Consent, Fragment, read_manifest, write_manifest
from asr.privacy.record import open_record
from asr.transcript import Segment, Transcript
from asr.writers import write_transcript

YES = Consent(id="c", purposes=("annotation",))


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["annotate", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Six fragments, two without consent, with transcripts that are less and less sure."""
    fragments = []
    for n in range(6):
        soundfile.write(tmp_path / f"{n}.wav", 0.1 * np.random.default_rng(n).standard_normal(8000), 16000)
        purposes = YES if n < 4 else YES.model_copy(update={"purposes": ("training",)}) if n == 4 else None
        fragments.append(
            Fragment(
                id=f"t/{n}", audio=str(tmp_path / f"{n}.wav"), text="", language="fr", consent=purposes, speaker="s1"
            )
        )
        segment = Segment(0.0, 0.5, f"phrase {n}", -0.1 * n, 0.0, 1.0)
        heard = Transcript(f"t/{n}", f"phrase {n}", "fr", "fr-BE", 0.5, (segment,))
        write_transcript(heard, tmp_path / f"heard/t/{n}", ["json"])
    write_manifest(fragments, tmp_path / "m.jsonl")
    return tmp_path / "m.jsonl"


def actions() -> list[str]:
    return [entry.action for entry in open_record().entries()]


def test_the_whole_loop(manifest: Path, tmp_path: Path) -> None:
    page, studio, following = tmp_path / "labels.xml", tmp_path / "studio", tmp_path / "next.jsonl"
    assert run("config", page, "--dialect", "fr-BE", "--dialect", "fr-FR")[0] == 0
    code, out, err = run("rank", manifest, "--transcripts", tmp_path / "heard", "--output", following, "--count", "2")
    assert (code, err) == (0, "") and "2 of 4 fragments written" in out
    assert [item.id for item in read_manifest(following)] == ["t/3", "t/2"]
    code, out, _ = run(
        "tasks", following, "--output-dir", studio, "--config", page, "--transcripts", tmp_path / "heard"
    )
    assert code == 0 and "2 tasks written" in out and "2 of them with what the recogniser heard" in out
    assert actions() == ["annotate", "annotate", "listen", "listen"]  # that each begins, and that it has ended

    tasks = json.loads((studio / "tasks.json").read_text())
    said = (("oui", "oui"), ("oui", "non"))
    for number, (task, texts) in enumerate(zip(tasks, said, strict=True), 1):
        task["id"] = number
        task["annotations"] = [
            {"completed_by": who, "result": results({"text": (text,), "dialect": ("fr-BE",)})}
            for who, text in enumerate(texts, 1)
        ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    done, left = tmp_path / "done.jsonl", tmp_path / "left.jsonl"
    command = ("answers", tmp_path / "export.json", "--manifest", manifest, "--output", done)
    code, out, _ = run(*command, "--conflicts", left)
    assert code == 0
    assert "1 agreed, 0 adjudicated; left out: 1 in conflict" in out and "in conflict: text 1" in out
    assert "annotator-1," in out and "50.00 %" in out
    assert [(item.id, item.text, item.dialect) for item in read_manifest(done)] == [("t/3", "oui", "fr-BE")]
    assert [item.id for item in read_manifest(left)] == ["t/2"]
    assert run(*command, "--adjudicator", "annotator-2")[0] == 0
    assert [(item.id, item.text) for item in read_manifest(done)] == [("t/2", "non"), ("t/3", "oui")]
    assert actions()[4:] == ["annotate"] * 4
    assert open_record().verify() == []
    # The third annotator gets tasks of the conflicts, as of any manifest.
    assert run("tasks", left, "--output-dir", tmp_path / "third", "--config", page)[0] == 0


def test_nothing_is_handed_out_without_consent(manifest: Path, tmp_path: Path) -> None:
    run("config", tmp_path / "labels.xml", "--dialect", "fr-BE")
    arguments = ("tasks", manifest, "--output-dir", tmp_path / "studio", "--config", tmp_path / "labels.xml")
    assert "4 tasks written" in run(*arguments)[1]
    (entry, _) = open_record().entries()
    assert entry.details["refused"] == {"none": 1, "purpose": 1}
    assert "6 tasks written" in run(*arguments, "--without-consent-check")[1]
    assert list(open_record().entries())[2].details["without_consent_check"] is True

    write_manifest([item for item in read_manifest(manifest) if item.id == "t/5"], tmp_path / "none.jsonl")
    code, _, err = run("tasks", tmp_path / "none.jsonl", *arguments[2:])
    assert code == 1 and "nothing in it may be used" in err


def test_what_fails_is_named_and_ends_with_1(manifest: Path, tmp_path: Path) -> None:
    run("config", tmp_path / "labels.xml", "--dialect", "fr-BE")
    (tmp_path / "0.wav").unlink()
    (tmp_path / "heard/t/1.json").write_text("{")
    code, out, err = run(
        "tasks",
        manifest,
        "--output-dir",
        tmp_path / "s",
        "--config",
        tmp_path / "labels.xml",
        "--transcripts",
        tmp_path / "heard",
    )
    assert code == 1 and "3 tasks written" in out and "2 of them with" in out
    assert "0.wav" in err and "1.json" in err and "Traceback" not in err
    code, _, err = run("answers", tmp_path / "none.json", "--manifest", manifest, "--output", tmp_path / "d.jsonl")
    assert code == 1 and "cannot be read" in err
    assert run("config", tmp_path / "x.xml", "--dialect", "fr-BE", "--dialect", "fr-BE")[0] == 1
    assert run("config", tmp_path / "x.xml")[0] == 2
