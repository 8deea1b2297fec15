"""The Hydra scripts as they are typed: whole runs in processes of their own, and how they end."""

from __future__ import annotations

import json
import logging
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn.functional import cross_entropy
from whisper.model import Whisper

from asr.data.labels import Labeller
from asr.fragment import read_manifest
from asr.intent.model import load_intent_model
from asr.model.adapter import take_out, write_adapter
from asr.model.checkpoint import Checkpoint, CheckpointInfo, load_checkpoint, save_checkpoint
from asr.model.heads import HeadSpec
from asr.model.network import DialectWhisper
from asr.training.card import read_card

SCRIPTS = Path(__file__).parents[1] / "scripts"
# What makes a training quick; the rest is as configured.
QUICK = ("trainer=cpu", "trainer.log_every=1", "data.batch_seconds=2", "adapter=frozen_encoder")


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    """Hydra silences every logger that is there when it starts; in a process of its own, none of ours is."""
    loggers = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    before = [(logger, logger.disabled, logger.level) for logger in loggers]
    yield
    for logger, disabled, level in before:
        logger.disabled = disabled
        logger.setLevel(level)


def environment() -> dict[str, str]:
    """Asked for in each test, in which the record has its own place."""
    return os.environ | {"OMP_NUM_THREADS": "1"}


def command(script: str, *overrides: str) -> list[str]:
    return [sys.executable, str(SCRIPTS / f"{script}.py"), *overrides]


def run(folder: Path, script: str, *overrides: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    python, *words = command(script, *overrides)
    return subprocess.run(
        [python, *launcher, *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def steps(log: Path) -> list[int]:
    """Steps whose loss is in a log."""
    rows = [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []
    return [row["step"] for row in rows if "train/loss" in row]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_training_is_interrupted_and_goes_on(
    tiny_checkpoint: Path, corpus: Path, tmp_path: Path, number: signal.Signals
) -> None:
    given = [f"data.train={corpus}", f"model.name={tiny_checkpoint}", *QUICK]
    # A step of many batches: after the signal, more are needed than have been loaded ahead.
    size = ["trainer.max_steps=16", "trainer.accumulate=8", "data.workers=1"]
    started = subprocess.Popen(
        command("train", *given, "run=runs/mine", *size),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = tmp_path / "runs/mine/log.jsonl"
    while not steps(log) and started.poll() is None:
        time.sleep(0.1)
    # As a terminal and Slurm do it: to the process that trains and to those that load its audio.
    os.killpg(started.pid, number)
    _, stderr = started.communicate(timeout=120)
    assert started.returncode == 75, stderr
    done = len(set(steps(log)))
    assert 1 <= done < 16
    assert stderr.splitlines()[-1] == (
        f"asr: training stopped at step {done}; its state is in runs/mine/checkpoints/last.state, "
        "go on with resume=runs/mine"
    )
    assert "Traceback" not in stderr
    resumed = run(tmp_path, "train", "resume=runs/mine")
    assert resumed.returncode == 0, resumed.stderr
    assert sorted(steps(log)) == steps(log)
    assert set(steps(log)) == set(range(16))
    assert resumed.stderr.splitlines()[-1] == "best checkpoint: runs/mine/checkpoints/last.pt"
    info = load_checkpoint(tmp_path / "runs/mine/checkpoints/last.pt").info
    assert info.metrics == {"step": 16.0}
    assert info.training_config["adapter"]["mode"] == "frozen_encoder"
    # Hydra leaves nothing of its own behind.
    assert sorted(path.name for path in (tmp_path / "runs/mine").iterdir()) == [
        "card.json", "card.md", "checkpoints", "config.yaml", "log.jsonl", "tensorboard"
    ]  # fmt: skip
    card = read_card(tmp_path / "runs/mine")
    assert card is not None and [part["status"] for part in card["parts"]] == ["stopped", "finished"]
    assert card["figures"]["steps"] == 16
    assert not [path for path in tmp_path.iterdir() if "hydra" in path.name or path.name == "outputs"]


def test_several_runs_of_a_command_have_their_own_folders(tiny_checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    given = [f"data.train={corpus}", f"model.name={tiny_checkpoint}", *QUICK, "trainer.max_steps=1", "data.workers=0"]
    done = run(tmp_path, "train", "--multirun", *given, "run=runs/mine", "seed=1,2")
    assert done.returncode == 0, done.stderr
    runs = [tmp_path / "runs/mine" / name for name in ("0", "1")]
    # The second one's log is heard too.
    assert [line for line in done.stderr.splitlines() if line.startswith("best")] == [
        f"best checkpoint: runs/mine/{folder.name}/checkpoints/last.pt" for folder in runs
    ]
    assert [load_checkpoint(one / "checkpoints/last.pt").info.training_config["seed"] for one in runs] == [1, 2]
    before = {path: path.read_bytes() for one in runs for path in one.glob("*.*")}
    again = run(tmp_path, "train", "--multirun", *given, "run=runs/mine", "seed=3,4")
    assert again.returncode == 1 and "runs/mine/0 holds a run already" in again.stderr.splitlines()[-1]
    assert {path: path.read_bytes() for one in runs for path in one.glob("*.*")} == before


def test_a_search_finds_the_best_of_its_trials(tiny_checkpoint: Path, corpus: Path, dev: Path, tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "train",
        "hparams_search=optuna",
        f"data.train={corpus}",
        f"data.dev={dev}",
        f"model.name={tiny_checkpoint}",
        "trainer=cpu",
        "data.batch_seconds=2",
        "data.workers=0",
        "trainer.max_steps=2",
        "trainer.validate_every=2",
        "trainer.monitor=dev/loss",
        "hydra.sweeper.n_trials=2",
        "run=runs/search",
    )
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load((tmp_path / "runs/search/optimization_results.yaml").read_text("utf-8"))
    infos = [load_checkpoint(tmp_path / f"runs/search/{name}/checkpoints/step-000002.pt").info for name in ("0", "1")]
    best = min(infos, key=lambda info: info.metrics["dev/loss"])
    assert found["best_value"] == pytest.approx(best.metrics["dev/loss"])
    assert found["best_params"] == {
        "optim.lr": best.training_config["optim"]["lr"],
        "adapter.lora.rank": best.training_config["adapter"]["lora"]["rank"],
    }
    assert infos[0].training_config["optim"]["lr"] != infos[1].training_config["optim"]["lr"]
    assert [line.split(":")[0] for line in done.stderr.splitlines() if ": dev/loss " in line] == [
        "runs/search/0", "runs/search/1"
    ]  # fmt: skip


def test_two_processes_make_one_run(tiny_checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    # Each composes its own configuration, at another second: the folder is named by the first.
    done = run(
        tmp_path,
        "train",
        f"data.train={corpus}",
        f"model.name={tiny_checkpoint}",
        *QUICK,
        "trainer.max_steps=2",
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "data.workers=0",
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").glob("*/*")
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.pt", "last.state"}
    assert (folder / "config.yaml").is_file()
    assert steps(folder / "log.jsonl") == [0, 1]


def test_torchrun_starts_two_processes(tiny_checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    given = [f"data.train={corpus}", f"model.name={tiny_checkpoint}", *QUICK, "run=mine", "data.workers=0"]
    size = ["trainer.max_steps=2", "trainer.devices=2", "trainer.strategy=ddp"]
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = run(tmp_path, "train", *given, *size, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert steps(tmp_path / "mine/log.jsonl") == [0, 1]
    (part,) = read_card(tmp_path / "mine")["parts"]
    assert part["status"] == "finished"


def test_evaluate_and_transcribe(tiny_checkpoint: Path, dev: Path, tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "evaluate",
        f"checkpoint={tiny_checkpoint}",
        f"baseline={tiny_checkpoint}",
        f"+test.one={dev}",
        f"+test.two={dev}",
        "output=report.json",
        "device=cpu",
        "resamples=20",
    )
    assert done.returncode == 0, done.stderr
    assert "fr-CA" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["fragments"] == 4
    done = run(
        tmp_path, "transcribe", f"inputs=[{dev}]", f"checkpoint={tiny_checkpoint}", "output_dir=out", "device=cpu"
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["f0.json", "f1.json"]


def test_an_intent_model_is_trained_and_measured(tmp_path: Path) -> None:
    texts = {"rain": ("will it rain?", "is it raining now?"), "song": ("play a song.", "i want music.")}
    rows = [{"text": text, "intent": name, "language": "en"} for name, own in texts.items() for text in own]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    (tmp_path / "heard.jsonl").write_text('{"text": "play a song", "heard": "pray a song"}', "utf-8")
    done = run(
        tmp_path, "train_intent", "train=train.jsonl", "test=train.jsonl", "heard=heard.jsonl", "intent.buckets=32"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "intent model: models/intent.safetensors, metrics: models/intent.json"
    assert load_intent_model(tmp_path / "models/intent.safetensors").predict("play a song").name == "song"
    metrics = json.loads((tmp_path / "models/intent.json").read_text("utf-8"))
    assert (metrics["test"]["examples"], metrics["training"]["noise"]) == (4, True)
    assert "dev" not in metrics


@pytest.mark.parametrize(
    ("script", "overrides", "code", "message"),
    [
        ("train_intent", "", 1, "asr: 'train' needs a value; give it as train=…"),
        ("train_intent", "train=gone.jsonl", 1, "asr: there is no such manifest; check the path (gone.jsonl)"),
        ("train_intent", "train={dev}", 1, "asr: there is no usable example, 2 broken ones; a line needs 'text'"),
        ("train_intent", "train={dev} output=a.json", 1, "asr: output=a.json is where the metrics would go"),
        ("train_intent", "train={dev} intent.lost=2", 1, "asr: 'lost' must be at least 0 and below 1, found 2"),
        ("train_intent", "train={dev} +intent.los=2", 1, "asr: unknown key 'intent.los' in the configuration; did"),
        ("train", "data.train=gone.jsonl", 1, "asr: there is no such manifest; check the path (gone.jsonl)"),
        ("train", "", 1, "asr: 'data.train' needs a value; give it as data.train=…"),
        ("train", "data.train={dev} model.name=gone.pt", 1, "asr: no checkpoint 'gone.pt': it is no file or folder"),
        ("train", "data.train={dev} optim.lrr=1", 1, "Could not override 'optim.lrr'"),
        (
            "train",
            "data.train={dev} +optim.lrr=1",
            1,
            "asr: unknown key 'optim.lrr' in the configuration; did you mean",
        ),
        ("train", "data.train={dev} optim=sgd", 1, "Could not find 'optim/sgd'"),
        ("train", "hparams_search=optuna data.train={dev}", 1, "asr: a search needs data.dev"),
        ("train", "resume=gone", 1, "asr: gone is no run: there is no config.yaml in it"),
        ("evaluate", "checkpoint=gone.pt +test.a={dev} device=cpu", 1, "asr: no checkpoint 'gone.pt'"),
        ("evaluate", "checkpoint={tiny} +test.a=gone.jsonl device=cpu", 1, "asr: there is no such manifest"),
        (
            "evaluate",
            "checkpoint={tiny} device=cpu",
            1,
            "asr: there is nothing to evaluate on; name a manifest, such as",
        ),
        ("evaluate", "checkpoint={tiny} device=quantum +test.a={dev}", 1, "asr: device 'quantum' cannot be used"),
        ("evaluate", "", 1, "asr: 'checkpoint' needs a value; give it as checkpoint=…"),
        ("transcribe", "inputs=gone.wav checkpoint={tiny} device=cpu", 2, "there is no file or folder gone.wav"),
        ("transcribe", "inputs={dev} checkpoint=gone.pt device=cpu", 1, "asr: no checkpoint 'gone.pt'"),
        ("export", "checkpoint={tiny} output=out", 2, "give --check and a manifest, so that the export is heard"),
        ("export", "checkpoint=gone.pt output=out without_check=true", 1, "asr: no checkpoint 'gone.pt'"),
        (
            "export",
            "checkpoint={tiny} output=out to=onnx",
            1,
            "asr: 'to': input should be 'ctranslate2', 'huggingface'",
        ),
        ("transcribe", "inputs={dev} +langage=fr", 1, "asr: unknown key 'langage' in the configuration; did you mean"),
    ],
)
def test_what_goes_wrong_is_a_sentence(
    script: str,
    overrides: str,
    code: int,
    message: str,
    dev: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = overrides.format(dev=dev, tiny=tiny_checkpoint).split()
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *words])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    stderr = capsys.readouterr().err
    # In a box, where the console breaks lines.
    assert message in " ".join(stderr.replace("│", " ").split()), stderr
    assert caught.value.code == code
    assert "Traceback" not in stderr


def test_an_export_has_the_flags_of_its_configuration(dev: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    given = (f"checkpoint={tiny_checkpoint}", "to=huggingface", "output=out", f"check={dev}", "fragments=1")
    done = run(tmp_path, "export", *given, "tolerance=500")
    assert done.returncode == 0, done.stderr
    assert "heard by transformers" in done.stdout
    assert load_checkpoint(tmp_path / "out").info.base_model == "tiny-random"


def test_the_benchmark_of_delivery_measures_every_setting(tmp_path: Path) -> None:
    done = run(tmp_path, "benchmark_delivery", "--events", "30")
    assert done.returncode == 0, done.stderr
    rows = [[int(cell) for cell in line.strip("| ").split(" | ")] for line in done.stdout.splitlines()[2:]]
    assert [row[:2] for row in rows] == [[w, c] for w in (1, 4, 8) for c in (1, 100)] and min(map(min, rows)) > 0
    assert not list(tmp_path.iterdir())


def test_the_benchmark_of_modes_measures_and_computes(corpus: Path, tmp_path: Path) -> None:
    given = ("--measured", "tiny-random", "--computed", "tiny", "--modes", "full", "upper", "lora", "--steps", "1")
    done = run(tmp_path, "benchmark_modes", str(corpus), *given, "--batch-seconds", "1", "--precision", "32-true")
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[4:]]
    assert [row[1] for row in rows] == ["full", "upper", "lora"] * 2
    # openai's own numbers: 37.2 million, of which the adapters are no part.
    assert [row[0] for row in rows[3:]] == ["tiny (37.2 M)", "tiny (37.2 M)", "tiny (39.3 M)"]
    # Matrices and biases of three of the encoder's four blocks, of the decoder's four, and their last norms.
    width = 384
    learning = 3 * (12 * width**2 + 12 * width) + 4 * (16 * width**2 + 17 * width) + 4 * width
    assert rows[4][2] == f"{learning / 1e6:.2f} M"
    small, *_, large, upper, frozen = ([float(cell) if cell else None for cell in row[3:]] for row in rows)
    assert small[0] > 0.005 and small[2] > 0 and large[0] is large[2] is None
    # 16 bytes for each weight that learns, 4 for one that does not, and what is kept.
    assert 0.55 < large[1] < 0.75 and frozen[1] < upper[1] < large[1] and 0.15 < frozen[1] < 0.35


def test_the_benchmark_of_adapters_measures_every_way(
    tmp_path: Path, dev: Path, tiny_checkpoint: Path, tiny_lora: Path
) -> None:
    base, learnt = load_checkpoint(tiny_checkpoint), load_checkpoint(tiny_lora)
    write_adapter(take_out(base, learnt), learnt.model, tmp_path / "adapters/fr-CA.safetensors")
    base.model.set_heads({"dialect": HeadSpec(("fr-CA", "en-GB"), ("fr", "en"))})
    save_checkpoint(base.model, base.info, tmp_path / "base.pt")
    done = run(
        tmp_path,
        "benchmark_adapters",
        str(dev),
        "--model",
        "base.pt",
        "--adapters",
        "adapters",
        "--joint",
        tiny_lora.name,
    )
    assert done.returncode == 0, done.stderr
    head, titles, *rows = done.stdout.splitlines()
    assert head.startswith("2 fragments, 1 s, 2 speakers, 6 words: 1 en-GB, 1 fr-CA")
    assert titles.startswith("| | WER % | change against the base, % | en-GB | fr-CA | adapter taken |")
    cells = {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:]] for row in rows}
    assert list(cells) == ["base alone", "given", "soft", "hard", "joint model"]
    assert {name: cell[4] for name, cell in cells.items()} == {
        "base alone": "none 100 %",
        "given": "own 50 %, none 50 %",
        # These are noise, of which no head tells anything.
        "soft": "none 100 %",
        "hard": "none 100 %",
        "joint model": "none 100 %",
    }
    # What has no adapter is heard by the base.
    assert cells["given"][2] == cells["base alone"][2] and cells["given"][3] != cells["base alone"][3]
    assert cells["soft"][:4] == cells["base alone"][:4]


def test_the_benchmark_of_inference_measures_every_system(tmp_path: Path, dev: Path, tiny_checkpoint: Path) -> None:
    systems = ["ours, ctranslate2", "ours, torch", "faster-whisper", "whisper.cpp"]
    chosen = [word for system in systems for word in ("--system", system)]
    given = ("--runs", "1", "--long-minutes", "0.02", "--output", "out", *chosen)
    done = run(tmp_path, "benchmark_inference", str(tiny_checkpoint), str(dev), *given)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert list(results) == ["fragments", "one long recording"]
    for found in results.values():
        assert list(found) == systems and all(one["seconds"] > 0 and one["peak_mib"] > 10 for one in found.values())
    assert done.stdout.strip() == (tmp_path / "out/table.md").read_text().strip()
    assert (tmp_path / "out/plot.png").stat().st_size > 1000


def test_the_benchmark_of_training_trains_both(tmp_path: Path, corpus: Path, dev: Path, tiny_checkpoint: Path) -> None:
    given = ("--model", str(tiny_checkpoint), "--batch-seconds", "1", "--steps", "2", "--precisions", "32-true")
    adapters = ("--adapters", "full", "lora", "--lr", "1e-5", "1e-4")
    done = run(tmp_path, "benchmark_training", str(corpus), *given, *adapters, "--dev", str(dev))
    assert done.returncode == 0, done.stdout + done.stderr
    # All trainers write their own lines between, and their progress before some of ours.
    head, *told = re.findall(r"(?:32-true: \d|hugging face:|full:|lora:).*", done.stdout)
    assert head.startswith("32-true: 2 steps of ")
    names = ("hugging face", "full", "lora")
    for kind, of in (("GFLOP a fragment", names[1:]), ("fragments a second", names), (" times the recipe", names[1:])):
        lines, told = told[: len(of)], told[len(of) :]
        assert [line.partition(":")[0] for line in lines] == list(of) and all(kind in line for line in lines)
    assert [line.partition(": WER ")[0] for line in told] == list(names)
    assert all(line.endswith("% on dev.jsonl") for line in told)


def test_the_recipe_that_training_is_measured_against_begins_with_the_same_model(tiny_whisper: Whisper) -> None:
    recipe = runpy.run_path(str(SCRIPTS / "benchmark_training.py"))["as_huggingface"](
        Checkpoint(DialectWhisper(tiny_whisper), CheckpointInfo("tiny-random"))
    )
    label = Labeller(tiny_whisper)("hello there", "en")
    mel = torch.randn(1, tiny_whisper.dims.n_mels, 2 * tiny_whisper.dims.n_audio_ctx)
    with torch.no_grad():
        logits = tiny_whisper(mel, torch.tensor([label.tokens]))
        # The recipe's labels are all tokens but the first, which it puts before them.
        labels = torch.tensor([[*label.tokens[1:], label.targets[-1]]])
        told = recipe(input_features=mel, labels=labels)
    torch.testing.assert_close(told.logits, logits, rtol=1e-3, atol=1e-4)
    assert float(told.loss) == pytest.approx(float(cross_entropy(logits[0], labels[0])), rel=1e-4)


def test_the_benchmark_of_manifests_measures_every_step(tmp_path: Path) -> None:
    done = run(tmp_path, "benchmark_manifests", "--rows", "200")
    assert done.returncode == 0, done.stderr
    steps = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [step for step, *_ in steps] == [
        "| import common_voice", "| import kaldi", "| import nemo", "| validate --no-audio", "| convert kaldi",
        "| pseudonymise --no-audio", "| draw training batches",
    ]  # fmt: skip
    for _, *rates, few, many in steps:
        assert len(rates) == 2 and int(few) > 10 and int(many.strip(" |")) > 10
        assert all(int(rate) > 0 for rate in rates)


def test_needs_are_measured_on_our_sentences_and_on_others(tmp_path: Path) -> None:
    rows = {
        "clinc150": [("i need a hotel", "book_hotel", "test"), ("i need a hotel", "weather", "train")],
        "snips_nlu_benchmark": [
            ("book a restaurant", "BookRestaurant", "train"),
            ("i want a restaurant", "Rate", "train"),
        ],
        "slurp_text": [("what a hotel", "transport_ticket", "devel")],
    }
    for name, own in rows.items():
        lines = [
            json.dumps({"text": text, "intent": intent, "lang": "en", "split": split}) for text, intent, split in own
        ]
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.jsonl").write_text("\n".join(lines), "utf-8")
    done = run(tmp_path, "benchmark_needs", ".")
    assert done.returncode == 0, done.stderr
    told = {line[:16].strip(): line[16:].split() for line in done.stdout.splitlines()}
    assert {"dev", "heldout", "hard", "after", "heldout fr", "after en"} <= told.keys()
    # Sentences, needs told, the precision with its interval, sentences with a need, the recall.
    assert told["CLINC150 test"] == ["1", "1", "100.0", "[2.5,", "100.0]", "1", "100.0", "[2.5,", "100.0]"]
    assert told["SNIPS"][:3] == ["2", "2", "50.0"]
    assert told["SLURP devel"][:3] == ["1", "0", "-"]


def test_intent_sentences_are_spoken_with_their_intents(tmp_path: Path) -> None:
    rows = [
        {"text": f"{text} number {number}", "intent": intent, "lang": "en", "split": split}
        for intent, text in (("ask", "what is it"), ("tell", "this is it"))
        for split in ("train", "val", "test")
        for number in range(30)
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    done = run(tmp_path, "speak_intents", "m.jsonl", "out", "--per-intent", "20", "--per-dialect", "6")
    assert done.returncode == 0, done.stderr
    spoken = {name: list(read_manifest(tmp_path / "out" / f"{name}.jsonl")) for name in ("train", "test")}
    assert {name: len(own) for name, own in spoken.items()} == {"train": 20, "test": 10}
    for fragment in (*spoken["train"], *spoken["test"]):
        assert fragment.custom["intent"] == ("ask" if fragment.text.startswith("what") else "tell")
        assert fragment.intonation is None and Path(fragment.audio).is_file()
    for of in (lambda one: one.speaker, lambda one: one.custom["sentence"]):
        assert not {of(one) for one in spoken["train"]} & {of(one) for one in spoken["test"]}
    assert len((tmp_path / "out" / "learn.jsonl").read_text("utf-8").splitlines()) == 60
