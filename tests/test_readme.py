"""The README's blocks, run as they stand in a folder that has what they name."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from asr.fragment import Consent, Fragment, write_manifest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
LINES = [line.split(" #")[0].strip() for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
# The life of a fragment: each line needs what the one before made.
LIFE = LINES[LINES.index(next(line for line in LINES if line.startswith("asr import"))) :]
GUIDE = (ROOT / "datasets" / "README.md").read_text("utf-8")
# What makes a training line quick, and changes nothing of what it says.
SHORT = ["trainer.max_steps=1", "trainer.accelerator=cpu", "data.workers=0", "data.batch_seconds=5", "run=run"]


@pytest.fixture
def workspace(tmp_path: Path, consent: Consent) -> Path:
    """What a reader of the README has: the project's folders, a recording, manifests."""
    from asr.importers.espeak import ESPEAK_SAMPLE_RATE, speak

    for name in ("configs", "scripts", "datasets"):
        (tmp_path / name).symlink_to(ROOT / name)
    speech = tmp_path / "recordings" / "speech.wav"
    speech.parent.mkdir()
    text = "The train to the coast leaves from platform three."
    samples = soxr.resample(speak(text, "en-us") / 32768, ESPEAK_SAMPLE_RATE, 16000)
    soundfile.write(speech, samples, 16000)
    (tmp_path / "speech.wav").symlink_to(speech)
    for name in ("train", "dev"):
        one = Fragment(
            id=name,
            audio=str(speech),
            text=text,
            language="en",
            dialect="en-US",
            duration=len(samples) / 16000,
            consent=consent,
        )
        write_manifest([one], tmp_path / f"{name}.jsonl")
    return tmp_path


def run(words: list[str], folder: Path, **variables: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **variables}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_has_its_blocks() -> None:
    assert [kind for kind, _ in BLOCKS].count("python") == 2
    assert {line.split()[0] for line in LINES} == {"bash", "asr", "python"}


@pytest.mark.weights
def test_the_python_block_prints_a_transcript_with_its_dialect(workspace: Path) -> None:
    code = next(text for kind, text in BLOCKS if kind == "python")
    printed = run([sys.executable, "-c", code], workspace)
    assert printed.startswith("fr-CA ")


def test_openai_s_client_asks_a_server_as_the_readme_says(workspace: Path, tiny_checkpoint: Path) -> None:
    code = [text for kind, text in BLOCKS if kind == "python"][1]
    command = [sys.executable, "-m", "asr", "serve", str(tiny_checkpoint), "--name", "base", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            address = next(line for line in server.stderr if "listens on" in line).split()[-1]
            assert run([sys.executable, "-c", code.replace("http://127.0.0.1:8000", address)], workspace).strip()
        finally:
            server.terminate()


@pytest.mark.weights
@pytest.mark.parametrize("line", [line for line in LINES[: -len(LIFE)] if line.startswith(("asr ", "python"))])
def test_lines_run(workspace: Path, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "python":
        words = [sys.executable, *words[1:], *(SHORT if "train.py" in line else [])]
    run(words, workspace)
    assert list(workspace.glob("transcripts/*.srt" if line.startswith("asr") else "run/checkpoints/last.pt"))


def test_a_fragment_lives_as_the_readme_says(tmp_path: Path) -> None:
    """From Common Voice to a wish to be forgotten, of which nothing is left in the end."""
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    clips = tmp_path / "data/cv/fr/clips"
    clips.mkdir(parents=True)
    rows = ["client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tlocale"]
    chance = np.random.default_rng(0)
    for number in range(12):
        samples = 0.1 * chance.standard_normal(16000)
        soundfile.write(clips / f"clip{number:02d}.mp3", samples, 16000, format="MP3")
        rows.append(
            f"client{number % 6:02d}abc\tclip{number:02d}.mp3\tIl fait beau le matin {number}.\t2\t0\ttwenties\t"
            "female_feminine\tFrançais de France\tfr"
        )
    (clips.parent / "validated.tsv").write_text("\n".join(rows) + "\n")
    printed = {line.split()[1]: run(["bash", "-c", line], tmp_path, HOME=str(tmp_path)) for line in LIFE}
    assert "12 fragments written" in printed["import"] and "10 remove recording" in printed["erase"]
    assert "holds" in printed["audit"]
    page = (tmp_path / "register.html").read_text()
    assert all(word in page for word in ("pseudonymise", "annotation, training", "10 fragments"))
    left = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert len(left) > 40
    assert not any(trace in data for data in left for trace in (b"client03abc", b"clip03", b"le matin 3.", b"matin 9."))


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("bash ")])
def test_set_up_commands_are_there(line: str) -> None:
    script = ROOT / line.split()[1]
    assert script.is_file()
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_guide_checks_and_splits_a_corpus_of_ones_own(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", [0.0, 0.1] * 8000, 16000)
    fragments = [
        Fragment(id=f"{n}", audio=str(tmp_path / "noise.wav"), text=f"phrase {n}", language="fr", speaker=f"s{n}")
        for n in range(10)
    ]
    write_manifest(fragments, tmp_path / "data" / "mine.jsonl")
    lines = re.findall(r"^asr (?:validate|stats|split) data/mine.*$", GUIDE, re.MULTILINE)
    assert [line.split()[1] for line in lines] == ["validate", "stats", "split", "validate"]
    for line in lines:
        run(shlex.split(line), tmp_path)
    assert {path.stem for path in (tmp_path / "data" / "mine").iterdir()} == {"train", "dev", "test"}


def test_the_guide_trains_evaluates_and_transcribes_with_keys_that_exist() -> None:
    from hydra import compose, initialize_config_dir

    from asr.config import EvaluateConfig, TrainConfig, to_options

    joined = GUIDE.replace("\\\n", " ")
    kinds = {"train": TrainConfig, "evaluate": EvaluateConfig}
    found = re.findall(r"^python scripts/(train|evaluate)\.py (.*)$", joined, re.MULTILINE)
    assert [name for name, _ in found] == ["train", "train", "train", "evaluate"]
    for name, overrides in found:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            to_options(compose(name, overrides=shlex.split(overrides, comments=True)), kinds[name])
