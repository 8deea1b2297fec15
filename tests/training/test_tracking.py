"""What MLflow holds after a run, read with its own client; and what happens where it is missing or falls silent."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run as Tracked
from mlflow.tracking import MlflowClient

from asr.errors import ConfigError, MissingExtraError
from asr.fragment import read_manifest, write_manifest
from asr.training import tracking
from asr.training.card import RunCard
from asr.training.tracking import RUN_ID, LoggerOptions, MlflowRun

MLFLOW = LoggerOptions("mlflow")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without a run: MLflow takes seconds to make its tables."""
    folder = tmp_path_factory.mktemp("store")
    MlflowRun(folder, MLFLOW, {})
    with sqlite3.connect(folder / "mlflow" / "mlflow.db") as database:
        for table in ("tags", "runs", "experiments"):
            database.execute(f"DELETE FROM {table}")
    return folder / "mlflow" / "mlflow.db"


@pytest.fixture
def folder(empty_store: Path, tmp_path: Path) -> Path:
    """A run's folder in which the store is there already."""
    (tmp_path / "run" / "mlflow").mkdir(parents=True)
    shutil.copy(empty_store, tmp_path / "run" / "mlflow" / "mlflow.db")
    return tmp_path / "run"


def store(folder: Path) -> tuple[MlflowClient, list[Tracked]]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}")
    return client, client.search_runs([one.experiment_id for one in client.search_experiments()])


def logged(folder: Path, client: MlflowClient, run_id: str) -> list[tuple[int, str, float]]:
    """The figures of the run's own log that MLflow lacks."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    told = {(row["step"], name, value) for row in rows for name, value in row.items() if "/" in name}
    held = {
        (one.step, name, one.value)
        for name in {name for _, name, _ in told}
        for one in client.get_metric_history(run_id, name)
    }
    assert told
    return sorted(told - held)


def test_a_run_s_figures_and_card_are_in_its_folder(
    run: Callable[..., Path], corpus: Path, dev: Path, folder: Path, tmp_path: Path
) -> None:
    spoken = [one.replace(speaker=f"zoe{n}quist", text=f"zanzibar {n}") for n, one in enumerate(read_manifest(corpus))]
    write_manifest(spoken, corpus)
    with RunCard(folder).part():
        tracker = MlflowRun(folder, MLFLOW, {"optim": {"lr": 0.5}, "data": {"dev": None}})
        run(folder, dev=dev, max_steps=2, validate_every=2, loggers=[tracker])
    tracker.add_card(folder)
    client, (tracked,) = store(folder)
    assert tracked.info.status == "FINISHED" and tracked.info.run_name == "run"
    assert tracked.data.params == {"optim/lr": "0.5", "data/dev": "None"}
    assert logged(folder, client, tracked.info.run_id) == []
    assert [one.path for one in client.list_artifacts(tracked.info.run_id)] == ["card.json", "card.md"]
    # Neither what was said nor by whom, nor where it lies, nor who trains; and nothing beside the run's folder.
    held = b"".join(path.read_bytes() for path in (folder / "mlflow").rglob("*") if path.is_file())
    assert not any(word in held for word in (b"zanzibar", b"zoe", b".wav", str(tmp_path / "audio").encode()))
    assert "mlflow.user" not in tracked.data.tags and "mlflow.source.name" not in tracked.data.tags
    assert {path.name for path in tmp_path.iterdir()} == {"audio", "corpus.jsonl", "dev.jsonl", "run"}


def test_a_run_that_goes_on_goes_on_in_the_same_one(run: Callable[..., Path], folder: Path) -> None:
    tracker = MlflowRun(folder, MLFLOW, {"seed": 0})
    run(folder, max_steps=2, loggers=[tracker])
    again = MlflowRun(folder, MLFLOW, {"seed": 0, "resume": "run"})
    client, (tracked,) = store(folder)
    assert tracked.info.status == "RUNNING"
    run(folder, max_steps=4, resume=True, loggers=[again])
    client, (tracked,) = store(folder)
    assert tracked.info.run_id == tracker.run_id == again.run_id == (folder / RUN_ID).read_text().strip()
    assert tracked.data.params == {"seed": "0"}
    assert {one.step for one in client.get_metric_history(tracked.info.run_id, "train/loss")} == {0, 1, 2, 3}
    assert logged(folder, client, tracked.info.run_id) == []


def test_one_store_holds_many_runs(empty_store: Path, tmp_path: Path) -> None:
    shutil.copy(empty_store, tmp_path / "all.db")
    options = LoggerOptions("mlflow", f"sqlite:///{tmp_path / 'all.db'}", "lessons")
    for name in ("one", "two"):
        MlflowRun(tmp_path / name, options, {}).log_metrics({"dev/wer": 1.0}, 3)
    client = MlflowClient(f"sqlite:///{tmp_path / 'all.db'}")
    experiment = client.get_experiment_by_name("lessons")
    assert {one.info.run_name for one in client.search_runs([experiment.experiment_id])} == {"one", "two"}


@pytest.mark.parametrize(("said", "held"), [("success", "FINISHED"), ("failed", "FAILED"), ("KILLED", "KILLED")])
def test_how_a_run_ended_is_told(folder: Path, said: str, held: str) -> None:
    MlflowRun(folder, MLFLOW, {}).finalize(said)
    assert [one.info.status for one in store(folder)[1]] == [held]


def test_a_store_that_fails_stops_no_training(
    run: Callable[..., Path], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = MlflowRun(folder, MLFLOW, {})
    with sqlite3.connect(folder / "mlflow" / "mlflow.db") as database:
        database.execute("DROP TABLE metrics")
    best = run(folder, max_steps=3, loggers=[tracker])
    assert best.is_file()
    tracker.add_card(folder)  # there is none
    (said,) = [line for line in caplog.messages if "MLflow" in line]
    assert said.startswith("MLflow cannot be written to, and lacks some of what follows: ") and "\n" not in said


def test_what_cannot_be_logged_to_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in ("nonsense://here", f"sqlite:///{tmp_path}", f"file:{tmp_path}/mlruns"):
        with pytest.raises(ConfigError, match=r"^logger\.uri=.* cannot be used: .*; correct it, or train with logger="):
            MlflowRun(tmp_path, LoggerOptions("mlflow", uri), {})
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigError, match=r"^logger\.uri=http://127\.0\.0\.1:9 cannot be used"):
        MlflowRun(tmp_path, LoggerOptions("mlflow", "http://127.0.0.1:9"), {})
    with pytest.raises(ConfigError, match="holds a password") as caught:
        LoggerOptions("mlflow", "https://me:hidden@example.org/mlflow")
    assert "hidden" not in str(caught.value)


def test_a_silent_server_is_not_asked_at_every_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = MlflowRun(folder, MLFLOW, {})
    tried = []

    def silent(*_: object, **__: object) -> None:
        tried.append(clock)
        raise OSError("no answer")

    clock = 1000.0
    monkeypatch.setattr(tracking.time, "monotonic", lambda: clock)
    monkeypatch.setattr(tracker.experiment, "log_batch", silent)
    for step in range(100):
        clock = 1000.0 + 10 * step
        tracker.log_metrics({"train/loss": 1.0}, step)
    assert tried == [1000.0, 1600.0]


@pytest.mark.parametrize("missing", ["mlflow", "alembic"])
def test_the_extra_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dialect-asr\[tracking\]'"):
        MlflowRun(tmp_path, MLFLOW, {})
    assert not list(tmp_path.iterdir())
