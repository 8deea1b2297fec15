"""The card of a run, through kills and parts, and what it says of the code that made it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from markdown_it import MarkdownIt

from asr.errors import ConfigError
from asr.training import card
from asr.training.card import CARD, PAGE, RunCard, code, environment, note_verdict, read_card, render
from asr.training.checkpoints import TrainingStopped


def test_a_run_in_parts_has_one_card(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped), RunCard(tmp_path).part(code={"commit": "a1"}):
        begun = read_card(tmp_path)
        assert begun is not None and begun["parts"][0]["status"] == "running" and begun["parts"][0]["ended"] is None
        raise TrainingStopped("at step 3", signal=15)
    again = RunCard(tmp_path)
    again.tell(base={"name": "base"})
    with pytest.raises(ConfigError), again.part(code={"commit": "b2"}):
        again.tell(figures={"steps": 7})
        raise ConfigError("fragment 'f1' is in the way")
    # After a kill nothing could be noted.
    killed = RunCard(tmp_path).part(code={"commit": "b2"})
    killed.__enter__()
    with RunCard(tmp_path).part(code={"commit": "b2"}):
        pass
    facts = read_card(tmp_path)
    assert facts is not None and (facts["run"], facts["figures"]) == (tmp_path.name, {"steps": 7})
    assert [part["status"] for part in facts["parts"]] == ["stopped", "failed", "running", "finished"]
    assert facts["parts"][1]["error"] == "ConfigError"
    # What an error says may name fragments.
    text = (tmp_path / CARD).read_text() + (tmp_path / PAGE).read_text()
    assert "f1" not in text and all(word in text for word in ("Part 4 of 4", "a1", "b2"))


def test_a_card_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunCard(tmp_path)
    with run.part():
        run.tell(figures={"steps": 1})
    before = {name: (tmp_path / name).read_bytes() for name in (CARD, PAGE)}

    def dies(facts: object) -> str:
        raise MemoryError

    monkeypatch.setattr(card, "render", dies)
    monkeypatch.setattr(json, "dump", lambda facts, handle, **_: (handle.write("{"), dies(facts)))
    with pytest.raises(MemoryError):
        run.tell(figures={"steps": 2})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_page_says_what_the_facts_say() -> None:
    manifest = {"for": "training", "name": "a|b.jsonl", "fragments": 12, "sha256": "0" * 64}
    part = {"began": "then", "status": "finished", "code": {"commit": "c0ffee", "changed": True}}
    facts = {
        "run": "mine",
        "parts": [part | {"manifests": [manifest], "environment": {"torch": "2.14"}}],
        "figures": {"best": {"metrics": {"dev/wer": 12.3456789}}, "steps": 70},
        "config": {"seed": 3, "why": "```\nnothing"},
    }
    tokens = MarkdownIt().enable("table").parse(render(facts))
    cells = [token.content for token in tokens if token.type == "inline"]
    assert "best metrics dev/wer" in cells and "12.3457" in cells
    assert cells[cells.index("changed") + 1] == "yes"
    assert cells[cells.index("a|b.jsonl") + 1 :][:3] == ["training", "12", f"`{'0' * 64}`"]
    (fence,) = [token.content for token in tokens if token.type == "fence"]
    assert "seed: 3" in fence and "nothing" in fence


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": 99}', None])
def test_a_card_that_cannot_be_read_is_begun_anew(tmp_path: Path, damage: str | None) -> None:
    if damage is not None:
        (tmp_path / CARD).write_text(damage)
    assert read_card(tmp_path) is None
    with RunCard(tmp_path).part():
        pass
    assert len(json.loads((tmp_path / CARD).read_text())["parts"]) == 1


def test_a_verdict_goes_only_to_a_run_that_has_a_card(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "last.pt"
    for path in (checkpoint, "base", ""):
        note_verdict(path, {"passed": True})
    assert not list(tmp_path.iterdir())
    with RunCard(tmp_path / "run").part():
        pass
    for name in ("last.pt", "best.pt", "last.pt"):
        note_verdict(checkpoint.with_name(name), {"passed": name == "best.pt"})
    facts = read_card(tmp_path / "run")
    assert facts is not None and facts["gate"] == {"last.pt": {"passed": False}, "best.pt": {"passed": True}}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working tree that holds a package of our name; nobody else's git settings count there."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed here")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setattr(card, "_ROOT", tmp_path)
    for name in card._CODE:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    for command in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "all"),
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_which_code_it_is(repository: Path) -> None:
    head = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert code() == {"commit": head.stdout.strip(), "changed": False}
    (repository / "runs").mkdir()
    (repository / "runs" / "log.jsonl").write_text("{}")
    assert code()["changed"] is False, "what runs write is no code"
    (repository / "asr" / "new.py").write_text("")
    assert code()["changed"] is True


def test_code_that_no_git_knows(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Installed into the virtual environment of somebody else's project.
    subprocess.run(["git", "-C", str(repository), "rm", "-q", "--cached", "asr/__init__.py"], check=True)
    assert code() == {"commit": None, "reason": "the package stands in no git working tree"}
    shutil.rmtree(repository / ".git")
    assert code() == {"commit": None, "reason": "the package stands in no git working tree"}
    monkeypatch.setenv("PATH", str(repository))
    assert code() == {"commit": None, "reason": "git is not installed"}


def test_the_environment_has_the_versions_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment("2 x nothing")
    assert found["torch"] == torch.__version__.split("+")[0] and found["device"] == "2 x nothing"
    monkeypatch.setattr(card, "_PACKAGES", ("no-such-package",))
    assert environment("")["no-such-package"] == "not installed"
