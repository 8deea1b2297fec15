"""The card of a run: what was trained, on what, with which code, where, and what it reached.

It stands in the run's folder twice, as ``card.json`` for programs and as ``card.md`` for people, from the run's first
minute on. A run that goes on keeps its card and adds a part to it. Manifests, models and recordings are named there,
never what is said in them, nor by whom.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from asr.files import atomic_write

CARD, PAGE = "card.json", "card.md"
FORMAT_VERSION = 1
# What a result may depend on.
_PACKAGES = ("dialect-asr", "torch", "torchaudio", "lightning", "lhotse", "peft", "openai-whisper", "numpy")
_ROOT = Path(__file__).parents[2]
# Folders whose files are code; what a run writes elsewhere makes no tree dirty.
_CODE = ("asr", "configs", "scripts", "pyproject.toml")


class RunCard:
    """The card in a run's folder; every change is written at once, whole or not at all.

    Args:
        folder: The run's folder. A card that is there already is gone on with.

    Attributes:
        facts: All that the card says, as JSON holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = read_card(folder) or {"format": FORMAT_VERSION, "run": folder.name, "parts": []}

    @contextmanager
    def part(self, **about: Any) -> Iterator[None]:
        """Note that the run begins, or goes on, and at the end how it ended.

        Args:
            about: What is said of this part alone: the next one may be on another machine.
        """
        part = {"began": _now(), "ended": None, "status": "running", **about}
        self.facts["parts"].append(part)
        self._write()
        try:
            yield
        except BaseException as error:
            # Its message may name fragments.
            part |= {"status": "stopped" if getattr(error, "signal", None) else "failed", "error": type(error).__name__}
            raise
        else:
            part["status"] = "finished"
        finally:
            part["ended"] = _now()
            self._write()

    def tell(self, **about: Any) -> None:
        """Say something of the run as a whole, instead of what was said before."""
        self.facts |= about
        self._write()

    def _write(self) -> None:
        with atomic_write(self.folder / CARD) as handle:
            json.dump(self.facts, handle, ensure_ascii=False, indent=2)
            handle.write("\n")
        with atomic_write(self.folder / PAGE) as handle:
            handle.write(render(self.facts))


def read_card(folder: Path) -> dict[str, Any] | None:
    """Return what the card of a run says; None where there is none, or one that cannot be read."""
    try:
        facts = json.loads((folder / CARD).read_bytes())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and facts.get("format") == FORMAT_VERSION else None


def note_verdict(checkpoint: str | Path, verdict: Mapping[str, Any]) -> None:
    """Add what the retention gate says of a checkpoint to the card of its run; without a card nothing is done.

    Args:
        checkpoint: A file in the ``checkpoints`` of a run.
        verdict: In plain types.
    """
    path = Path(checkpoint)
    folder = path.parent.parent
    if path.parent.name == "checkpoints" and read_card(folder) is not None:
        card = RunCard(folder)
        card.tell(gate=card.facts.get("gate", {}) | {path.name: dict(verdict)})


def code() -> dict[str, Any]:
    """Which code this is: the commit of the working tree that it stands in, and whether that was changed since."""
    try:
        commit = _git("rev-parse", "HEAD")
        # A package that is installed into a folder of another project is no part of that project.
        _git("ls-files", "--error-unmatch", "asr/__init__.py")
        changed = bool(_git("status", "--porcelain", "--", *_CODE))
    except FileNotFoundError:
        return {"commit": None, "reason": "git is not installed"}
    except subprocess.CalledProcessError:
        return {"commit": None, "reason": "the package stands in no git working tree"}
    return {"commit": commit, "changed": changed}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def environment(device: str) -> dict[str, str]:
    """Versions of what a result may depend on, and the machine.

    Args:
        device: What is computed on, in words.
    """
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # run from a folder, not installed
            versions[name] = "not installed"
    return {"python": platform.python_version(), "system": platform.platform(), "device": device} | versions


def render(facts: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    parts = facts["parts"]
    last = parts[-1]
    lines = [f"# Run {facts['run']}", "", f"{last['status']}, began {parts[0]['began']}, as of {_now()}", ""]
    lines += ["## Figures", "", *_table(_flat(facts.get("figures", {}))), ""]
    for checkpoint, verdict in facts.get("gate", {}).items():
        lines += [f"## The retention gate on {checkpoint}", "", *_table(_flat(verdict)), ""]
    lines += ["## Trained from", "", *_table(_flat(facts.get("base", {}))), ""]
    for number, part in enumerate(parts, 1):
        title = f"Part {number} of {len(parts)}" if len(parts) > 1 else "The run"
        told = {name: value for name, value in part.items() if name not in ("manifests", "code", "environment")}
        lines += [f"## {title}", "", *_table(_flat(told | part.get("code", {}) | part.get("environment", {}))), ""]
        lines += ["| manifest | for | fragments | SHA-256 |", "|---|---|---:|---|"]
        lines += [
            f"| {_cell(one['name'])} | {one['for']} | {one['fragments']} | `{one['sha256']}` |"
            for one in part.get("manifests", ())
        ]
        lines += [""]
    written = yaml.safe_dump(facts.get("config", {}), sort_keys=False, allow_unicode=True)
    return "\n".join([*lines, "## Configuration", "", "```yaml", written + "```", ""])


def _table(rows: Mapping[str, Any]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items())]


def _cell(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else "yes" if value is True else "no" if value is False else value
    return str(text).replace("|", "\\|").replace("\n", " ")


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A table in a table as one, its names joined."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _flat(value, f"{prefix}{name} ") if isinstance(value, dict) else {prefix + name: value}
    return {name: value for name, value in found.items() if value is not None}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
