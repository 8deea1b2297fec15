"""`asr understand` as a user types it: a line per utterance, needs under consent and on the record, and what fails."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from asr import Transcriber
from asr.cli import app
from asr.errors import AsrError
from asr.fragment import Fragment
from asr.intent.event import BESIDE, read_event
from asr.intent.training import Example, IntentOptions, train_intent_model
from asr.privacy.record import open_record
from asr.transcript import Transcript

NEEDS = Path(__file__).parents[2] / "datasets" / "needs" / "needs.yaml"
ROWS = [
    {"id": "one", "text": "I want to book a flight", "consent": {"id": "c1", "purposes": ["offer"]}, "speaker": "sp7"},
    {"id": "two", "text": "I want to book a flight", "consent": {"id": "c2", "purposes": ["training"]}},
    {"id": "three", "text": "I do not want to book a flight", "consent": {"id": "c3", "purposes": ["offer"]}},
]


@pytest.fixture(scope="module")
def intents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = {
        "book_flight": ("book a flight", "a plane to rome", "fly me home"),
        "music": ("play jazz", "a song", "sing"),
    }
    learnt = [Example(text, name, "en") for name, several in texts.items() for text in several]
    path = tmp_path_factory.mktemp("intents") / "intents.safetensors"
    train_intent_model(learnt, IntentOptions(buckets=64)).save(path)
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(8000), 16000)
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row | {"audio": "a.wav", "language": "en"}) + "\n" for row in ROWS))
    return path


@pytest.fixture
def hears_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recogniser without a fault."""

    def transcribe_many(self: Transcriber, items: Iterable[Any], **_: object) -> Iterator[Transcript | AsrError]:
        for item in items:
            told = isinstance(item, Fragment)
            yield Transcript(item.id, item.text, "en", None, 0.5, ()) if told else item

    monkeypatch.setattr(Transcriber, "transcribe_many", transcribe_many)


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["understand", *(str(argument) for argument in arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_recording_becomes_a_line(manifest: Path, intents: Path, tiny_checkpoint: Path) -> None:
    code, out, err = run(manifest.with_name("a.wav"), "--intent-model", intents, "--model", tiny_checkpoint)
    assert code == 0, err
    (line,) = map(json.loads, out.splitlines())
    assert line["version"] == 1 and set(line["intent"]) >= {"name", "confidence", "in_scope"}
    assert "needs" not in line
    read_event({key: value for key, value in line.items() if key not in BESIDE})
    assert not Path(open_record().place).exists()


@pytest.mark.usefixtures("hears_the_text")
def test_it_works_with_the_model_that_comes_along(manifest: Path, tiny_checkpoint: Path) -> None:
    code, out, err = run(manifest, "--model", tiny_checkpoint)
    assert code == 0, err
    assert json.loads(out.splitlines()[0])["intent"]["name"] == "book_flight"


def test_what_else_was_perhaps_said_is_weighed(manifest: Path, intents: Path, tiny_checkpoint: Path) -> None:
    code, out, err = run(manifest, "--intent-model", intents, "--model", tiny_checkpoint, "--n-best", "3")
    assert code == 0, err
    for line in map(json.loads, out.splitlines()):
        assert 1 < len(line["nbest"]) <= 3 and line["nbest"][0]["text"] == line["text"]


@pytest.mark.usefixtures("hears_the_text")
def test_needs_are_told_under_consent_and_recorded_without_words(
    manifest: Path, intents: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    file = tmp_path / "out.jsonl"
    with manifest.open("a") as handle:
        handle.write("{broken\n")
    code, out, err = run(
        manifest, "--intent-model", intents, "--model", tiny_checkpoint, "--needs", NEEDS, "-o", file, "--why", "spring"
    )
    assert (code, out) == (1, "") and "3 understood, 1 failed" in err and "m.jsonl:4" in err
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [[need["name"] for need in line["needs"]["needs"]] for line in lines] == [["travel"], [], []]
    assert lines[0]["needs"]["needs"][0]["words"] == ["I want", "flight"]
    assert [line["needs"]["reason"] for line in lines] == [None, "no consent", "nothing said"]
    assert lines[0]["purposes"] == ["offer"] and "sp7" not in file.read_text("utf-8")
    begun, ended = open_record().entries()
    assert (begun.action, begun.why, [mark.name for mark in begun.manifests]) == ("export", "spring", ["m.jsonl"])
    assert ended.details["decided"] == {"none: no consent": 1, "none: nothing said": 1, "travel": 1}
    assert "flight" not in ended.line


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gone.wav", "--intent-model", "{intents}"], 2, "there is no file or folder gone.wav"),
        (["{manifest}", "--intent-model", "gone"], 1, "there is no intent model gone"),
        (["{manifest}", "--intent-model", "{intents}", "--needs", "gone.yaml"], 2, "gone.yaml cannot be read"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    arguments: list[str], code: int, message: str, manifest: Path, intents: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    filled = [one.format(intents=intents, manifest=manifest) for one in arguments]
    found, _, err = run(*filled, "--model", tiny_checkpoint, "-o", tmp_path / "out.jsonl")
    assert found == code and message in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "out.jsonl").exists()
