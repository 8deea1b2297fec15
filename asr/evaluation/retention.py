"""What the retention gate (`asr.metrics.retention`) is asked of: the groups in the reports of evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from asr.errors import AsrError
from asr.evaluation.report import Abilities
from asr.metrics.retention import ABILITIES, Count

Side = Literal["system", "baseline"]


def counts_of(report: Mapping[str, Any], side: Side = "system", where: str = "the report") -> dict[str, Count]:
    """The word errors of every group in a report of `scripts/evaluate.py`, by ``dimension=group``, and its abilities.

    Fragments whose group is not known are a group only in ``overall``.

    Args:
        report: As JSON holds it.
        side: Whose errors.
        where: Names the report in an error.

    Raises:
        AsrError: It is no such report, or has no such side.
    """
    try:
        target = next(target for target in report["targets"] if target["target"] == "text")
        counts = {"overall": _count(target["overall"], side, where)}
        for group in target["groups"]:
            if group["group"] is not None:
                counts[f"{group['dimension']}={group['group']}"] = _count(group, side, where)
        # A report of before they were measured has none.
        abilities = report.get("abilities" if side == "system" else "baseline_abilities") or {}
        for name, share in abilities.items():
            if share is not None:
                counts[_ability(name)] = Count(int(share["part"]), int(share["whole"]))
    except (KeyError, TypeError, StopIteration):
        raise AsrError(f"{where} is no report of scripts/evaluate.py; write one with output=report.json") from None
    return {name: count for name, count in counts.items() if count.words}


def _count(group: Mapping[str, Any], side: Side, where: str) -> Count:
    score = group[side]
    if score is None:
        raise AsrError(f"{where} compares with no baseline; evaluate with baseline= the model that must not be harmed")
    return Count(int(score["words"]["errors"]), int(score["words"]["reference"]))


def read_report(path: str | Path) -> dict[str, Any]:
    """Read a report of `scripts/evaluate.py`.

    Raises:
        AsrError: It cannot be read.
    """
    try:
        report = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise AsrError(f"there is no report {path}; write one with scripts/evaluate.py … output={path}") from None
    except (OSError, ValueError) as error:
        raise AsrError(f"{path} is no readable JSON: {error}") from None
    if not isinstance(report, dict):
        raise AsrError(f"{path} is no report of scripts/evaluate.py; write one with output={path}")
    return report


def unmeasured(before: Mapping[str, Count], after: Mapping[str, Count]) -> list[str]:
    """The abilities that were not measured on both sides, so that no gate has looked at them."""
    names = [_ability(field.name) for field in fields(Abilities)]
    return [name.removeprefix(ABILITIES) for name in names if name not in before or name not in after]


def _ability(name: str) -> str:
    return f"{ABILITIES}{name.replace('_', ' ')}"
