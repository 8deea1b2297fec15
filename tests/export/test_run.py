"""Exports from beginning to end: there whole and heard, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import asr.export.run
from asr.errors import AsrError
from asr.export.run import OPENAI_MODEL, export
from asr.export.targets import Target
from asr.fragment import Fragment
from asr.model.checkpoint import Checkpoint, load_checkpoint
from asr.sums import SUMS

Make = Callable[..., Checkpoint]

FILES = {
    "ctranslate2": {
        "config.json", "dialect_asr.safetensors", "model.bin", "preprocessor_config.json", "tokenizer.json",
        "vocabulary.json",
    },
    "huggingface": {
        "config.json", "dialect_asr.safetensors", "generation_config.json", "model.safetensors",
        "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json",
    },
    "ggml": {"dialect_asr.safetensors", "ggml-model.bin"},
    "openai": {"model.pt"},
}  # fmt: skip


@pytest.mark.parametrize("target", FILES)
def test_an_export_is_heard_by_its_runtime(
    target: Target, make: Make, fragments: list[Fragment], tmp_path: Path
) -> None:
    # Of a random model nearly every word is wrong, in one runtime and in the other.
    found = export(
        make(), target, tmp_path / "new" / "out", fragments, quantization="float32", tolerance=1.0, max_tokens=4
    )
    assert [one.runtime for one in found] == list(asr.export.run.RUNTIMES[target])
    assert all(one.fragments == 3 and one.ours.errors > 0 for one in found)
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == FILES[target] | {SUMS}
    assert not list((tmp_path / "new").glob(".*"))
    assert len({path.stat().st_mode for path in (tmp_path / "new" / "out").iterdir()}) == 1


def test_a_checkpoint_stays_a_checkpoint(make: Make, tmp_path: Path) -> None:
    checkpoint = make()
    assert export(checkpoint, "openai", tmp_path / "out", None) == ()
    read = load_checkpoint(tmp_path / "out" / OPENAI_MODEL)
    assert (read.info.tags, read.model.window) == (("fr-CA",), "tight")
    assert torch.equal(read.model.whisper.decoder.ln.weight, checkpoint.model.whisper.decoder.ln.weight)


def test_garbage_is_refused_and_leaves_nothing(
    make: Make, fragments: list[Fragment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = asr.export.run.write_ctranslate2

    def broken(checkpoint: Checkpoint, *rest: object) -> None:
        """As a converter that mixes two tensors up."""
        model = checkpoint.model.whisper
        kept = model.decoder.positional_embedding.detach().clone()
        with torch.no_grad():
            model.decoder.positional_embedding.copy_(kept.flip(0))
        write(checkpoint, *rest)  # type: ignore[arg-type]
        with torch.no_grad():
            model.decoder.positional_embedding.copy_(kept)

    monkeypatch.setattr(asr.export.run, "write_ctranslate2", broken)
    checkpoint = make()
    # What the checkpoint says is the reference, so that every word that the export says otherwise is an error.
    padded = asr.export.check.Checkpoint(
        asr.export.check.DialectWhisper(checkpoint.model.whisper, "padded"), checkpoint.info
    )
    transcriber = asr.export.check.Transcriber(
        padded, device="cpu", options=asr.export.check.DecodeOptions(max_tokens=4)
    )
    right = [fragment.replace(text=transcriber.transcribe(fragment).text) for fragment in fragments]
    with pytest.raises(AsrError, match=r"refused, it differs by more than 2 points: WER 0\.00 % as a checkpoint, "):
        export(checkpoint, "ctranslate2", tmp_path / "out", right, quantization="float32", max_tokens=4)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_our_engine_is_compared_in_its_own_window(
    make: Make, fragments: list[Fragment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = asr.export.ctranslate2.write_companion

    def broken(checkpoint: Checkpoint, path: Path, *, encoder: bool) -> None:
        """What faster-whisper does not load is of another encoder."""
        layer = checkpoint.model.whisper.encoder.ln_post
        kept = layer.weight.detach().clone()
        with torch.no_grad():
            layer.weight.copy_(-kept)
        written(checkpoint, path, encoder=encoder)
        with torch.no_grad():
            layer.weight.copy_(kept)

    monkeypatch.setattr(asr.export.ctranslate2, "write_companion", broken)
    checkpoint = make()
    transcriber = asr.export.check.Transcriber(
        checkpoint, device="cpu", options=asr.export.check.DecodeOptions(max_tokens=4)
    )
    right = [fragment.replace(text=transcriber.transcribe(fragment).text) for fragment in fragments]
    with pytest.raises(AsrError, match=r"refused, .*WER 0\.00 % as a checkpoint, .* heard by the engine ctranslate2"):
        export(checkpoint, "ctranslate2", tmp_path / "out", right, quantization="float32", tolerance=0.7, max_tokens=4)
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(make: Make, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(AsrError, match="there already and not an empty folder"):
        export(make(), "ggml", tmp_path / "out", None)
    assert (tmp_path / "out" / "mine").read_text() == "kept"


@pytest.mark.weights
@pytest.mark.parametrize("target", FILES)
def test_base_is_heard_alike_everywhere(target: Target, tmp_path: Path) -> None:
    import soundfile
    import soxr

    from asr.importers.espeak import ESPEAK_SAMPLE_RATE, speak

    text = "The train to the coast leaves from platform three."
    samples = soxr.resample(speak(text, "en-us").astype(np.float32) / 32768, ESPEAK_SAMPLE_RATE, 16000)
    soundfile.write(tmp_path / "speech.wav", samples, 16000)
    fragment = Fragment(id="speech", audio=str(tmp_path / "speech.wav"), text=text, language="en")
    found = export(load_checkpoint("base"), target, tmp_path / "out", [fragment])
    assert found and all(one.difference == 0.0 and one.ours.rate == 0.0 for one in found)
