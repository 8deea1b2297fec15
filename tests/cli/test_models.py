"""`asr label` and `asr interpolate` as they are typed: files out, exit codes, sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import asr.inference.transcriber
from asr import Transcriber, load_checkpoint, read_manifest
from asr.cli import app
from asr.fragment import Consent
from asr.inference.decoding import DecodeOptions
from asr.model.checkpoint import save_checkpoint
from asr.training.card import RunCard, read_card

OPTIONS = DecodeOptions(max_tokens=6)


@pytest.fixture(autouse=True)
def short_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model finds no end."""
    monkeypatch.setattr(asr.inference.transcriber, "DecodeOptions", lambda: OPTIONS)


def run(*arguments: str | Path | float) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_label(tiny_checkpoint: Path, dev: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "heard.jsonl"
    code, stdout, _ = run("label", dev, "--model", tiny_checkpoint, "--output", output, "--device", "cpu")
    transcriber = Transcriber(tiny_checkpoint, device="cpu", options=OPTIONS)
    fragments = list(read_manifest(dev))
    said = {item.id: transcriber.transcribe(item).text for item in fragments}
    heard = list(read_manifest(output))
    assert code == 0
    assert stdout == f"2 fragments written to {output}; 0 loops and 0 failures left out\n"
    assert [item.id for item in heard] == ["f0", "f1"]
    for item in heard:
        original = next(one for one in fragments if one.id == item.id)
        assert item == original.replace(text=said[item.id], audio=item.audio)
        assert Path(item.audio).samefile(original.audio)


def test_label_goes_on_after_a_failure_and_says_so(
    tiny_checkpoint: Path, dev: Path, tmp_path: Path, consent: Consent
) -> None:
    row = {"id": "gone", "audio": "gone.wav", "text": "x", "language": "fr"}
    row |= {"consent": consent.model_dump(mode="json")}
    with dev.open("a") as handle:
        handle.write(json.dumps(row) + "\n{broken\n")
    output = tmp_path / "heard.jsonl"
    code, stdout, stderr = run("label", dev, "--model", tiny_checkpoint, "--output", output, "--device", "cpu")
    assert code == 1
    assert stdout == f"2 fragments written to {output}; 0 loops and 2 failures left out\n"
    failed = [line for line in stderr.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2
    assert "gone.wav" in failed[0]
    assert failed[1].endswith("dev.jsonl:4)")
    assert [item.id for item in read_manifest(output)] == ["f0", "f1"]


def test_label_writes_nothing_where_nothing_is_heard(tiny_checkpoint: Path, tmp_path: Path) -> None:
    manifest, output = tmp_path / "m.jsonl", tmp_path / "heard.jsonl"
    manifest.write_text("{broken\n")
    output.write_text("older\n")
    code, stdout, stderr = run("label", manifest, "--model", tiny_checkpoint, "--output", output, "--device", "cpu")
    assert (code, stdout) == (1, "")
    assert "failed: not JSON" in stderr
    assert (
        f"asr: no fragment could be labelled (0 loops and 1 failures); run `asr validate` on it ({manifest})" in stderr
    )
    assert output.read_text() == "older\n"


def test_label_needs_a_manifest_and_a_model(dev: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    code, _, stderr = run("label", f"{gone}.jsonl", "--output", tmp_path / "o.jsonl")
    assert code == 1
    assert stderr == f"asr: there is no such manifest; check the path ({gone}.jsonl)\n"
    code, _, stderr = run("label", dev, "--model", f"{gone}.pt", "--output", tmp_path / "o.jsonl")
    assert code == 1
    assert stderr.startswith(f"asr: no checkpoint '{gone}.pt'")


@pytest.fixture
def pair(tiny_checkpoint: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A tight base, and the same with every weight moved by 1/8."""
    for name, step in (("base", 0.0), ("adapted", 0.125)):
        loaded = load_checkpoint(tiny_checkpoint)
        loaded.model.window = "tight"
        with torch.no_grad():
            for parameter in loaded.model.parameters():
                parameter.add_(step)
        save_checkpoint(loaded.model, loaded.info, tmp_path / f"{name}.pt")
    return tmp_path / "base.pt", tmp_path / "adapted.pt"


def test_interpolate(pair: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "new" / "mixed.pt"
    code, stdout, stderr = run("interpolate", *pair, "--share", 0.5, "--output", output)
    assert (code, stdout, stderr) == (0, f"written to {output}\n", "")
    base, mixed = (load_checkpoint(path) for path in (pair[0], output))
    assert mixed.info.training_config == {"interpolation_share": 0.5}
    assert mixed.model.window == "tight"
    name = "decoder.ln.weight"
    moved = mixed.model.whisper.state_dict()[name] - base.model.whisper.state_dict()[name]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.0625), atol=1e-3, rtol=0)
    run("interpolate", *pair, "--output", output)
    assert load_checkpoint(output).info.training_config == {"interpolation_share": 0.75}


def test_interpolate_refuses(pair: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "mixed.pt"
    code, _, stderr = run("interpolate", tiny_checkpoint, pair[1], "--output", output)
    assert code == 1
    assert stderr.startswith("asr: the base runs padded and the adapted model tight")
    code, _, stderr = run("interpolate", tmp_path / "gone.pt", pair[1], "--output", output)
    assert code == 1
    assert stderr.startswith(f"asr: no checkpoint '{tmp_path}/gone.pt'")
    assert run("interpolate", *pair, "--share", 1.5, "--output", output)[0] == 2
    assert not output.exists()


def test_adapter(tiny_checkpoint: Path, tiny_lora: Path, tmp_path: Path) -> None:
    output = tmp_path / "adapters" / "fr-CA.safetensors"
    code, stdout, stderr = run("adapter", tiny_checkpoint, tiny_lora, "--output", output)
    assert (code, stdout, stderr) == (0, f"written to {output}: 0.0 MB, 20 layers of the decoder alone\n", "")
    assert output.is_file()
    code, _, stderr = run("adapter", tiny_lora, tiny_checkpoint, "--output", output)
    assert (code, stderr) == (
        1,
        "asr: the adapted model was trained with no adapter, which changes more than an adapter holds; train it with "
        "adapter=lora\n",
    )


def test_sweep(tiny_checkpoint: Path, corpus: Path, dev: Path, tmp_path: Path) -> None:
    base = tmp_path / "tight.pt"
    loaded = load_checkpoint(tiny_checkpoint)
    loaded.model.window = "tight"
    save_checkpoint(loaded.model, loaded.info, base)
    output = tmp_path / "mixed.pt"
    arguments = ["sweep", base, base, "--dialect", corpus, "--standard", dev, "--output", output, "--points", "2"]
    code, stdout, _ = run(*arguments, "--device", "cpu")
    # Two equal models: nothing is gained, so the base it stays.
    assert code == 1
    assert [line.split()[0] for line in stdout.splitlines()[1:3]] == ["0.00", "1.00"]
    assert stdout.splitlines()[1].endswith("chosen")
    assert load_checkpoint(output).info.training_config["interpolation_share"] == 0
    assert json.loads(output.with_suffix(".json").read_text())["chosen"] == 0
    assert output.with_suffix(".png").is_file()


def test_gate(tmp_path: Path) -> None:
    def report(name: str, dialect: int, standard: int) -> Path:
        def group(dimension: str, value: str | None, after: int, before: int) -> dict[str, object]:
            sides = {"system": after, "baseline": before}
            scores = {side: {"words": {"errors": errors, "reference": 1000}} for side, errors in sides.items()}
            return {"dimension": dimension, "group": value} | scores

        groups = [group("dialect", "fr-CA", dialect, 300), group("dialect", "en-US", standard, 100)]
        target = {"target": "text", "overall": group("overall", None, 1, 1), "groups": groups}
        system = str(tmp_path / "run" / "checkpoints" / f"{name}.pt")
        (tmp_path / name).write_text(json.dumps({"system": system, "targets": [target]}))
        return tmp_path / name

    with RunCard(tmp_path / "run").part():
        pass
    harmful, good = report("harmful.json", 100, 110), report("good.json", 150, 101)
    code, stdout, _ = run("gate", harmful, good, "--protect", "dialect=en-US")
    assert code == 0
    assert stdout.splitlines() == [
        f"{harmful}: dialect=fr-CA 10.00 % WER, harms dialect=en-US 10.00 → 11.00 % (+10.0 %)",
        f"{good}: dialect=fr-CA 15.00 % WER, harms no protected group",
        "not measured, so that the gate says nothing of it: long recordings, silence, word times",
        f"best: {good}",
    ]
    card = read_card(tmp_path / "run")
    assert card is not None and card["gate"] == {
        "harmful.json.pt": {
            "limit": 2.0,
            "passed": False,
            "worst": "dialect=fr-CA",
            "worst_wer": 10.0,
            "harmed": {"dialect=en-US": {"before": 10.0, "after": 11.0}},
        },
        "good.json.pt": {"limit": 2.0, "passed": True, "worst": "dialect=fr-CA", "worst_wer": 15.0, "harmed": {}},
    }
    assert "retention gate on harmful.json.pt" in (tmp_path / "run" / "card.md").read_text()
    code, stdout, _ = run("gate", harmful, "--protect", "dialect=en-US")
    assert (code, stdout.splitlines()[-1]) == (1, "no model passes")
