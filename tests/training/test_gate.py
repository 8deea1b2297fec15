"""The gate inside a run: made-up counts, and a run in which what is protected is forgotten."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.errors import AsrError, ConfigError
from asr.fragment import read_manifest, write_manifest
from asr.model.checkpoint import load_checkpoint
from asr.training.counts import Counts
from asr.training.gate import Gate
from asr.training.task import TranscriptionTask

BEFORE = {"fr-CA": [300.0, 1000.0], "fr-BE": [200.0, 1000.0], "en-US": [100.0, 1000.0], "fr": [2.0, 0.0]}


def test_a_protected_dialect_may_not_get_worse_and_does_not_choose() -> None:
    gate = Gate(["en-US"], 2.0)
    gate.begin(BEFORE)
    kept = gate.look(BEFORE | {"fr-CA": [150.0, 1000.0], "en-US": [102.0, 1000.0]})
    assert (kept.passed, kept.worst, kept.wer) == (True, "fr-BE", 20.0)
    harmed = gate.look({"fr-CA": [100.0, 1000.0], "en-US": [900.0, 1000.0]})
    assert (harmed.worst, harmed.wer) == ("fr-CA", 10.0)
    assert [str(one) for one in harmed.harmed] == ["en-US 10.00 → 90.00 % (+800.0 %)"]
    # Where all is protected, all of it is told.
    alone = Gate(["en-US"], 2.0)
    alone.begin({"en-US": [100.0, 1000.0]})
    assert (alone.look({"en-US": [90.0, 1000.0]}).worst, alone.look({"en-US": [90.0, 1000.0]}).wer) == ("overall", 9.0)


def test_what_is_protected_must_be_heard() -> None:
    with pytest.raises(
        ConfigError, match=r"names 'fr', of which data\.dev had no words when the run began; it had en-US, fr-BE"
    ):
        Gate(["en-US", "fr"], 2.0).begin(BEFORE)
    # Somebody has written it into the configuration of a run that goes on.
    with pytest.raises(ConfigError, match=r"names 'en-US', of which data\.dev had no words .* none at all"):
        Gate(["en-US"], 2.0).load_state_dict({})
    gate = Gate(["en-US"], 2.0)
    gate.begin(BEFORE)
    for now, words in ((BEFORE | {"en-US": [1.0, 990.0]}, 990), ({"fr-CA": [1.0, 2.0]}, 0)):
        with pytest.raises(AsrError, match=f"has {words} words of 'en-US' that can be heard, and had 1000 when"):
            gate.look(now)
    again = Gate(["en-US"], 2.0)
    again.load_state_dict(gate.state_dict())
    assert again.look(BEFORE) == gate.look(BEFORE)


def test_a_run_keeps_what_harms_nothing(
    run: Any, dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors of both dialects by step; with the better figures of the later steps the standard is forgotten."""
    two = [item.replace(dialect=("en-US", "en-GB")[n % 2]) for n, item in enumerate(read_manifest(dev))]
    write_manifest(two, dev)
    errors = {0: (90, 10), 1: (80, 10), 2: (50, 20), 3: (40, 30), 4: (30, 11)}

    def counted(self: TranscriptionTask) -> None:
        learnt, kept = errors[self.global_step]
        self._counts = Counts([1.0, 1.0], {"en-GB": [learnt, 100.0], "en-US": [kept, 100.0]})

    original = TranscriptionTask.on_validation_epoch_end
    monkeypatch.setattr(TranscriptionTask, "on_validation_epoch_end", lambda self: (counted(self), original(self))[1])
    options = {
        "dev": dev,
        "max_steps": 4,
        "validate_every": 1,
        "keep_best": 1,
        "monitor": "dev/wer_worst",
        "protect": ("en-US",),
    }
    with caplog.at_level(logging.INFO, "asr"):
        best = run(tmp_path / "run", **options)
    assert load_checkpoint(best).info.metrics["step"] == 1
    assert load_checkpoint(best).info.metrics["dev/wer_worst"] == 80.0
    last = load_checkpoint(best.with_name("last.pt")).info.metrics
    assert (last["step"], last["dev/harmed"], last["dev/wer_worst"]) == (4, 1.0, 30.0)
    assert [text for text in caplog.messages if "harms" in text] == [
        f"step {step} harms en-US 10.00 → {kept:.2f} % ({10 * (kept - 10):+.1f} %)"
        for step, (_, kept) in errors.items()
        if kept > 10
    ]
    # Where all do, that is said; without the gate the last one is the best.
    errors |= {1: (80, 11)}
    run(tmp_path / "none", **options)
    assert any("every checkpoint makes a protected dialect worse by more than 2 %" in text for text in caplog.messages)
    assert load_checkpoint(run(tmp_path / "free", **options | {"protect": ()})).info.metrics["step"] == 4


def test_the_beginning_is_heard_and_changes_nothing(run: Any, dev: Path, tmp_path: Path) -> None:
    names = sorted({item.dialect or item.language for item in read_manifest(dev)})
    options = {"dev": dev, "max_steps": 4, "validate_every": 2, "keep_best": 9}
    ends = {}
    for name, protected in (("gated", {"protect": names[:1], "protect_limit": 1e9}), ("free", {})):
        run(tmp_path / name, **options, **protected)
        ends[name] = load_checkpoint(tmp_path / name / "checkpoints/last.pt")
    for name, weight in ends["gated"].model.state_dict().items():
        assert torch.equal(weight, ends["free"].model.state_dict()[name]), name
    assert ends["gated"].info.metrics.pop("dev/harmed") == 0
    # Of a run that goes on the beginning is in its state.
    state = torch.load(tmp_path / "gated/checkpoints/last.state", weights_only=True)
    assert sorted(state["gate"]) == names and all(words > 0 for _, words in state["gate"].values())
    run(tmp_path / "gated", **options, protect=names[:1], protect_limit=1e9, resume=True)
    with pytest.raises(ConfigError, match=r"trainer\.protect is asked of data\.dev"):
        run(tmp_path / "nothing", protect=names[:1])
