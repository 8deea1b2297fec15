"""`asr transcribe` as a user types it: files out, what is skipped, what fails, and the exit codes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from typer.testing import CliRunner

import asr.cli.transcribe as module
import asr.inference.transcriber
from asr import Transcriber
from asr.cli import app
from asr.export.ctranslate2 import write_ctranslate2
from asr.model.adapter import take_out, write_adapter
from asr.model.checkpoint import load_checkpoint
from asr.transcript import Transcript


@pytest.fixture
def talks(tmp_path: Path, speak: Callable[..., npt.NDArray[np.float32]]) -> Path:
    """A folder with four recordings, one of them in a sub-folder and of the same name as another."""
    folder = tmp_path / "talks"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.wav", "b.flac", "c.ogg", "more/a.wav")):
        soundfile.write(folder / name, speak(0.5 * (1 + number), number), 16000)
    return folder


@pytest.fixture
def manifest(talks: Path) -> Path:
    rows = [
        {"id": "spk1/one", "audio": "a.wav", "text": "", "language": "fr", "dialect": "fr-CA"},
        {"id": "two", "audio": "more/a.wav", "text": "", "language": "de", "start": 0.5, "duration": 1.0},
    ]
    path = talks / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def run_tiny(tiny_checkpoint: Path):  # type: ignore[no-untyped-def]
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        return run_asr("--model", tiny_checkpoint, *arguments)

    return run


def run_asr(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["transcribe", *(str(argument) for argument in arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_becomes_files_that_keep_its_shape(
    run_tiny, talks: Path, tmp_path: Path, tiny_checkpoint: Path
) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "new" / "out"
    code, stdout, stderr = run_tiny(talks, "--format", "txt,json", "--output-dir", out, "--language", "fr")
    assert (code, stdout) == (0, ""), stderr
    assert files(out) == [f"{name}.{kind}" for name in ("a", "b", "c", "more/a") for kind in ("json", "txt")]
    heard = json.loads((out / "more/a.json").read_text("utf-8"))
    expected = Transcriber(tiny_checkpoint, device="cpu").transcribe(talks / "more/a.wav", language="fr")
    assert (heard["id"], heard["text"], heard["duration"]) == ("a.wav", expected.text, 2.0)
    assert stderr.startswith("4 transcribed, 0 failed; 0.00 h of audio in ")
    assert "(real-time factor " in stderr
    assert len(stderr.splitlines()) == 1


def test_a_single_recording_is_also_printed(run_tiny, talks: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, stdout, _ = run_tiny(talks / "a.wav", "--language", "fr")
    assert code == 0
    assert files(tmp_path / "here") == ["a.txt"]
    assert stdout == (tmp_path / "here/a.txt").read_text("utf-8") != ""
    code, stdout, _ = run_tiny(talks / "a.wav", "--language", "fr", "--output-dir", "out")
    assert (code, stdout) == (0, "")


def test_fragments_are_named_by_their_ids(run_tiny, manifest: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, stdout, _ = run_tiny(manifest, "-f", "json,srt,vtt,tsv", "-o", tmp_path / "out")
    assert (code, stdout) == (0, "")
    assert files(tmp_path / "out") == [
        f"{name}.{kind}" for name in ("spk1/one", "two") for kind in ("json", "srt", "tsv", "vtt")
    ]
    one, two = (json.loads((tmp_path / f"out/{name}.json").read_text("utf-8")) for name in ("spk1/one", "two"))
    assert (one["id"], one["language"], one["dialect"]) == ("spk1/one", "fr", "fr-CA")
    assert (two["language"], two["dialect"], two["duration"]) == ("de", None, 1.0)


def test_a_dialect_implies_its_language(run_tiny, talks: Path) -> None:  # type: ignore[no-untyped-def]
    assert run_tiny(talks / "a.wav", "-f", "json", "--dialect", "de-AT", "--beam-size", "2", "--workers", "1")[0] == 0
    heard = json.loads(Path("a.json").read_text("utf-8"))
    assert (heard["language"], heard["dialect"]) == ("de", "de-AT")


def test_a_dialect_is_heard_with_its_adapter(
    run_tiny, talks: Path, tiny_checkpoint: Path, tiny_lora: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    base, learnt = load_checkpoint(tiny_checkpoint), load_checkpoint(tiny_lora)
    write_adapter(take_out(base, learnt), learnt.model, tmp_path / "adapters/fr-CA.safetensors")
    flags = ("-f", "json", "--adapters", tmp_path / "adapters", "--routing", "given")
    assert run_tiny(talks / "a.wav", *flags, "--dialect", "fr-CA-x-gaspe")[0] == 0
    heard = json.loads(Path("a.json").read_text("utf-8"))
    assert heard["adapters"] == {"fr-CA": 1.0}
    plain = Transcriber(tiny_checkpoint, device="cpu").transcribe(talks / "a.wav", language="fr")
    assert heard["text"] != plain.text
    assert run_tiny(talks / "b.flac", *flags, "--language", "fr")[0] == 0
    assert json.loads(Path("b.json").read_text("utf-8"))["adapters"] == {}
    code, _, stderr = run_tiny(talks / "c.ogg", "--adapters", tmp_path / "gone")
    assert code == 2 and "is no folder of adapters" in " ".join(stderr.replace("│", " ").split())


def test_a_lexicon_annotates_and_renders(run_tiny, talks: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    lexicon = tmp_path / "fr-BE.tsv"
    lexicon.write_text("expression\tstandard\tambiguous\tmeaning\ndrache\taverse\t\tforte pluie\n")
    flags = ("-f", "json", "--language", "fr", "--lexicon", lexicon, "--bias", "100")
    assert run_tiny(talks / "a.wav", *flags)[0] == 0
    heard = json.loads(Path("a.json").read_text("utf-8"))
    assert heard["expressions"][0]["standard"] == "averse"
    assert "averse" in heard["text_standard"].lower() and "drache" in heard["text"].lower()
    lexicon.write_text(lexicon.read_text() + "kot\n")
    code, _, stderr = run_tiny(talks / "b.flac", *flags)
    assert (code, stderr) == (1, f"asr: 1 columns where 4 are expected ({lexicon}:3)\n")


def test_what_fails_is_said_in_a_sentence_and_the_rest_goes_on(
    run_tiny, talks: Path, manifest: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    (talks / "empty.wav").touch()
    row = {"text": "", "language": "fr"}
    with manifest.open("a") as handle:
        for line in (
            "{",
            json.dumps(row | {"id": "../../escape", "audio": "a.wav"}),
            json.dumps(row | {"id": "x" * 300, "audio": "a.wav"}),
            json.dumps(row | {"id": "gone", "audio": "gone.wav"}),
            json.dumps(row | {"id": "three", "audio": "a.wav"}),
        ):
            handle.write(f"{line}\n")
    code, _, stderr = run_tiny(talks, manifest, "--output-dir", tmp_path / "out", "--language", "fr")
    assert code == 1
    assert files(tmp_path / "out") == ["a.txt", "b.txt", "c.txt", "more/a.txt", "spk1/one.txt", "three.txt", "two.txt"]
    assert files(tmp_path / "here") == []
    *failures, summary = stderr.splitlines()
    assert summary.startswith("7 transcribed, 5 failed (2 audio, 2 manifest, 1 other); ")
    sentences = (
        f"failed: {talks / 'empty.wav'} is empty (0 bytes)",
        "failed: not JSON: expecting property name enclosed in double quotes at column 2; write one object per line "
        f"({manifest}:3)",
        "failed: fragment id '../../escape' cannot name a file",
        f"failed: fragment '{'x' * 300}' ({manifest}:5): its transcript cannot be written",
        f"failed: fragment 'gone' ({manifest}:6): {talks / 'gone.wav'} cannot be read",
    )
    for failure, sentence in zip(failures, sentences, strict=True):
        assert failure.lower().startswith(sentence.lower())


def test_what_is_done_is_skipped(run_tiny, talks: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    assert run_tiny(talks, "-f", "txt", "-o", out, "--language", "fr")[0] == 0
    for path in out.rglob("*.txt"):
        path.write_text("kept")
    # Another format is not there yet: all of it is done again, in that run.
    (out / "b.json").touch()
    code, _, stderr = run_tiny(talks, "-f", "txt,json", "-o", out, "--language", "fr")
    assert code == 0 and stderr.startswith("3 transcribed, 1 skipped (there already; --overwrite does them again), 0 f")
    assert [path.name for path in out.rglob("*.txt") if path.read_text() == "kept"] == ["b.txt"]
    code, _, stderr = run_tiny(talks, "-f", "txt,json", "-o", out, "--language", "fr", "--overwrite")
    assert code == 0 and stderr.startswith("4 transcribed, 0 failed")
    assert (out / "b.txt").read_text() != "kept"


def test_when_all_is_done_no_model_is_loaded(talks: Path) -> None:
    for name in ("a", "b", "c", "more/a"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(f"{name}.txt").touch()
    code, _, stderr = run_asr(talks, "--model", "nothing.pt")
    assert (code, stderr.split(";")[0]) == (0, "0 transcribed, 4 skipped (there already")


def test_a_name_that_is_no_unicode(run_tiny, talks: Path) -> None:  # type: ignore[no-untyped-def]
    name = os.fsencode(talks) + b"/caf\xe9.wav"
    try:
        shutil.copy(talks / "a.wav", name)
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    assert run_tiny(os.fsdecode(name), "-f", "json", "--language", "fr")[0] == 0
    assert json.loads(Path(os.fsdecode(b"caf\xe9.json")).read_text("utf-8"))["id"] == "caf�.wav"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "missing argument"),
        (["TALKS", "--format", "doc"], "'doc' is not known; choose from txt"),
        (["TALKS", "--format", ""], "'' is not known"),
        (["TALKS/none.wav"], "there is no file or folder"),
        (["TALKS/a.wav", "TALKS/more/a.wav"], "would both be written to a.txt"),
        (["TALKS", "TALKS"], "would both be written to a.txt"),
        (["HERE"], "holds no audio files"),
        (["TALKS", "--beam-size", "0"], "--beam-size"),
        (["TALKS", "--workers", "0"], "--workers"),
        (["TALKS", "--batch-seconds", "0"], "batch_seconds must be"),
        (["TALKS", "--bias", "-1"], "--bias"),
        (["TALKS", "--bias", "inf"], "bias must be a number, 0 or more"),
        (["TALKS", "--tag", "fr-CA"], "tag 'fr-CA' cannot be told"),
        (["TALKS", "--language", "xx"], "language 'xx' is none that the model knows"),
        (["TALKS", "--dialect", "fr_CA"], "joined by '-'"),
        (["TALKS", "--dialect", "fr-CA", "--language", "en"], "does not go with"),
        (["TALKS", "--output", "x.txt"], "one file, .jsonl or .parquet"),
        (["TALKS", "--output", "x.jsonl", "--format", "json"], "leave --format and --output-dir out"),
        (["TALKS", "--output", "x.jsonl", "--runner", "slurm"], "choose local or ray"),
        (["TALKS", "--output", "x.jsonl", "--processes", "2"], "--processes is for --runner ray"),
        (["TALKS", "--runner", "ray"], "name it with --output"),
        (["TALKS/m.jsonl", "--output", "TALKS/m.jsonl"], "one of the inputs"),
        (["TALKS", "--device", "gpu"], "device 'gpu' cannot be used"),
    ],
)
def test_wrong_usage_ends_with_2_and_writes_nothing(  # type: ignore[no-untyped-def]
    run_tiny, talks: Path, manifest: Path, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    places = {"TALKS": str(talks), "HERE": "."}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    code, _, stderr = run_tiny(*arguments)
    assert code == 2
    # The frame breaks lines wherever it is full, within a word too.
    assert "".join(sentence.lower().split()) in "".join(stderr.replace("│", "").lower().split())
    assert files(tmp_path / "here") == []


def test_what_cannot_be_done_ends_with_1(run_tiny, talks: Path, manifest: Path) -> None:  # type: ignore[no-untyped-def]
    Path("file").touch()
    for arguments, sentence in (
        ([talks, "--model", "nothing.pt"], "no checkpoint 'nothing.pt'"),
        ([talks, "--output-dir", "file"], "file"),
    ):
        code, _, stderr = run_tiny(*arguments)
        assert code == 1
        assert stderr.startswith("asr: ") and sentence in stderr and len(stderr.splitlines()) == 1


def test_a_full_disk_ends_it(run_tiny, talks: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    def full(transcript: Transcript, stem: str, formats: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", f"{stem}.txt")

    monkeypatch.setattr(module, "write_transcript", full)
    code, _, stderr = run_tiny(talks, "--language", "fr")
    assert (code, stderr) == (1, "asr: No space left on device (a.txt)\n")


def test_control_c_ends_with_130_and_a_repeated_run_goes_on(
    run_tiny, talks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    hear = asr.inference.transcriber.Transcriber._hear
    heard = []

    def interrupted(self: Transcriber, clips: list[object]) -> list[tuple[int, Transcript]]:
        if heard:
            raise KeyboardInterrupt
        heard.append(clips)
        return hear(self, clips)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(asr.inference.transcriber.Transcriber, "_hear", interrupted)
        # A slow machine would say how far it is.
        patch.setattr(sys.modules["asr.cli.transcribe"], "_LINE_SECONDS", float("inf"))
        code, _, stderr = run_tiny(talks, "--language", "fr", "--batch-seconds", "60")
    assert (code, stderr) == (130, "")
    assert files(Path()) == ["a.txt", "b.txt"]
    assert run_tiny(talks, "--language", "fr")[2].startswith("2 transcribed, 2 skipped")


def test_a_signal_ends_the_process_without_a_traceback(talks: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    # When the first file is there, the others take long enough to be interrupted.
    for number in range(40):
        shutil.copy(talks / "more/a.wav", talks / f"z{number:02d}.wav")
    command = [sys.executable, "-m", "asr", "transcribe", talks, "--model", tiny_checkpoint, "--language", "fr"]
    process = subprocess.Popen([*command, "--batch-seconds", "30"], stderr=subprocess.PIPE, text=True)
    while not Path("a.txt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert all(name.endswith(".txt") for name in files(Path()))
    assert len(files(Path())) < 40


def test_one_file_for_all(run_tiny, talks: Path, manifest: Path) -> None:  # type: ignore[no-untyped-def]
    with manifest.open("a") as handle:
        handle.write("{\n")
    code, stdout, stderr = run_tiny(talks, manifest, "--output", "all.parquet", "--language", "fr")
    assert (code, stdout) == (1, "")
    first, second = stderr.splitlines()
    assert first == "what failed has its reason as 'error' in all.parquet"
    assert second.startswith("6 transcribed, 1 failed (1 manifest); ")
    assert files(Path()) == ["all.parquet", "all.parquet.jsonl"]
    lines = [json.loads(line) for line in Path("all.parquet.jsonl").read_text("utf-8").splitlines()]
    names = [str(talks / name) for name in ("a.wav", "b.flac", "c.ogg", "more/a.wav")]
    assert [line["id"] for line in lines] == [*names, "spk1/one", "two", None]
    code, _, stderr = run_tiny(talks, manifest, "--output", "all.parquet", "--language", "fr")
    assert code == 1 and stderr.splitlines()[1].startswith("0 transcribed, 6 there already, 1 failed (1 manifest); ")


def test_where_nobody_watches_a_line_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 30.0, 61.0, 90.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    said: list[str] = []
    meter = module._Meter(10)
    monkeypatch.setattr(meter, "say", said.append)
    tally = module.Tally(seconds=1.0)
    tally.heard(12.0, ())
    for _ in range(3):
        meter.advance(1, tally)
    assert said == ["2 of 10 items, 0 failed, 12.0 s of audio per second, about 0:04:04 left"]


def test_an_export_is_run_by_its_engine(talks: Path, tiny_checkpoint: Path) -> None:
    made = Path("export")
    made.mkdir()
    write_ctranslate2(load_checkpoint(tiny_checkpoint), made, "float32")
    given = (talks, "--model", made, "--language", "fr", "--output", "all.jsonl")
    code, _, stderr = run_asr(*given, "--replicas", "2")
    assert code == 0 and stderr.startswith("4 transcribed, 0 failed"), stderr
    # How many work at it is no other text.
    _, _, stderr = run_asr(*given, "--threads", "2")
    assert stderr.startswith("0 transcribed, 4 there already")
    code, _, stderr = run_asr(talks, "--model", tiny_checkpoint, "--engine", "ctranslate2")
    assert code == 2 and "asr export CHECKPOINT" in " ".join(stderr.replace("│", " ").split())
