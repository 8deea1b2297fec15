"""A tiny random Whisper with the real tokenizer's vocabulary, its checkpoint, and a corpus of made-up sounds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import soundfile
import torch
from hypothesis import settings
from whisper.model import ModelDimensions, Whisper

from asr.fragment import Consent, Fragment, read_manifest, write_manifest
from asr.model.adapt import LoraOptions, adapt
from asr.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from asr.model.network import DialectWhisper

# A busy machine is no failure; a test that hangs has pytest's own limit. All else is as Hypothesis has it.
settings.register_profile("house", settings(), deadline=None)
settings.load_profile("house")

# Of made-up recordings, which are nobody's.
CONSENT = Consent(id="made-up", purposes=("training", "annotation", "evaluation", "offer"))


@pytest.fixture
def consent() -> Consent:
    """Consent to everything."""
    return CONSENT


@pytest.fixture(autouse=True)
def record(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what tests do out of the developer's own record and tombstones; the file is made with its first entry."""
    path = tmp_path_factory.mktemp("record") / "record.db"
    monkeypatch.setenv("ASR_TOMBSTONES", str(path.with_name("tombstones.json")))
    monkeypatch.setenv("ASR_RECORD", str(path))
    monkeypatch.setenv("ASR_USER", "tester")
    return path


@pytest.fixture(autouse=True)
def quiet_root() -> Iterator[None]:
    """Take back what a script's main gave the root logger: a later test would write to a stream that is closed."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def tiny_whisper() -> Whisper:
    """Multilingual, two layers of width 16; every weight random, positions included, and exact in half precision."""
    dims = ModelDimensions(
        n_mels=80,
        n_audio_ctx=1500,
        n_audio_state=16,
        n_audio_head=2,
        n_audio_layer=2,
        n_vocab=51865,
        n_text_ctx=448,
        n_text_state=16,
        n_text_head=2,
        n_text_layer=2,
    )
    model = Whisper(dims)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            # Outputs stay near 1 and feel every weight: norms around 1, matrices scaled by what they sum over.
            centre = 1.0 if "ln" in name and name.endswith("weight") else 0.0
            scale = tensor[0].numel() ** -0.5 if tensor.dim() > 1 else 0.2
            tensor.copy_((centre + scale * noise).half())
    return model.eval()


@pytest.fixture
def tiny_checkpoint(tiny_whisper: Whisper, tmp_path: Path) -> Path:
    """A checkpoint of the tiny Whisper, saved as training saves it; it runs padded."""
    path = tmp_path / "tiny.pt"
    save_checkpoint(DialectWhisper(tiny_whisper), CheckpointInfo(base_model="tiny-random"), path)
    return path


@pytest.fixture
def tiny_lora(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """What a low-rank training of the tiny checkpoint's decoder left: merged, and saved as training saves it."""
    loaded = load_checkpoint(tiny_checkpoint)
    torch.manual_seed(0)
    adapt(loaded.model, "lora", LoraOptions(rank=2, parts=("decoder",)))
    with torch.no_grad():
        for name, parameter in loaded.model.named_parameters():
            if "lora_B" in name:  # which is zero at first
                parameter.copy_(0.5 * torch.randn(parameter.shape))
    config = {"adapter": {"mode": "lora", "lora": {"rank": 2}}}
    save_checkpoint(loaded.model, replace(loaded.info, training_config=config), tmp_path / "tiny_lora.pt")
    return tmp_path / "tiny_lora.pt"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A manifest of 12 fragments of 0.3 to 0.85 s in two dialects."""
    random = np.random.default_rng(0)
    fragments = []
    for number in range(12):
        seconds = 0.3 + 0.05 * number
        audio = tmp_path / "audio" / f"{number}.wav"
        audio.parent.mkdir(exist_ok=True)
        soundfile.write(audio, 0.1 * random.standard_normal(round(seconds * 16000)), 16000)
        fragments.append(
            Fragment(
                id=f"f{number}",
                audio=str(audio),
                text=f"sentence number {number}",
                language="fr" if number % 2 else "en",
                dialect="fr-CA" if number % 2 else "en-GB",
                duration=seconds,
                consent=CONSENT,
            )
        )
    write_manifest(fragments, tmp_path / "corpus.jsonl")
    return tmp_path / "corpus.jsonl"


@pytest.fixture
def voice() -> Callable[..., npt.NDArray[np.float32]]:
    """Makes a voice that goes up and down, of so many seconds, another one for every number."""

    def speak(seconds: float, number: int = 0) -> npt.NDArray[np.float32]:
        random = np.random.default_rng(number)
        times = np.arange(round(16000 * seconds)) / 16000
        f0 = random.uniform(100, 250) * 2 ** (0.3 * np.sin(2 * np.pi * random.uniform(1, 3) * times))
        phase = 2 * np.pi * np.cumsum(f0) / 16000
        tone = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 10))
        return np.asarray(0.2 * tone + 0.001 * random.standard_normal(len(times)), np.float32)

    return speak


# Three formants in hertz of a, i, u, e, o: what makes buzzing a vowel.
_VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))


def speak(seconds: float, number: int = 0) -> npt.NDArray[np.float32]:
    """Syllables that silero-vad takes for speech: pulses through formants that move, and hiss between them."""
    random = np.random.default_rng(number)
    times = np.arange(round(16000 * seconds)) / 16000
    pitch = 120 * 2 ** (0.25 * np.sin(2 * np.pi * 0.7 * times))
    pulses = np.diff(np.floor(np.cumsum(pitch) / 16000), prepend=0)
    source = scipy.signal.lfilter([1], [1, -0.97], pulses)
    states = [np.zeros(2)] * 3
    sound = np.zeros(len(times))
    for first in range(0, len(times), 500):
        syllable, part = divmod(first / 4000, 1)
        before, after = (np.array(_VOWELS[(int(syllable + step) * 7 + number) % 5]) for step in (0, 1))
        moved = np.clip((part - 0.6) / 0.3, 0, 1)
        piece = source[first : first + 500]
        for place, (formant, width) in enumerate(zip(before + moved * (after - before), (60, 90, 150), strict=True)):
            radius, angle = np.exp(-np.pi * width / 16000), 2 * np.pi * formant / 16000
            poles = [1, -2 * radius * np.cos(angle), radius**2]
            piece, states[place] = scipy.signal.lfilter([sum(poles)], poles, piece, zi=states[place])
        sound[first : first + 500] = piece
    loud = np.abs(np.sin(4 * np.pi * times))
    hiss = 0.01 * np.diff(random.standard_normal(len(times) + 1)) * (loud < 0.2)
    sound *= np.clip(2 * loud, 0.05, 1) * 0.2 / max(np.abs(sound).max(), 1e-9)
    return (sound + hiss + 0.001 * random.standard_normal(len(times))).astype(np.float32)


@pytest.fixture(name="speak", scope="session")
def _speak() -> Callable[..., npt.NDArray[np.float32]]:
    return speak


@pytest.fixture
def dev(corpus: Path) -> Path:
    """The two shortest fragments of the corpus, one of each dialect."""
    write_manifest(list(read_manifest(corpus))[:2], corpus.with_name("dev.jsonl"))
    return corpus.with_name("dev.jsonl")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
