"""The engine of CTranslate2 against torch's, on a tiny export in float32: the same text, the same figures."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from whisper.tokenizer import get_tokenizer

from asr.errors import CheckpointError, MissingExtraError
from asr.inference.decoding import DecodeOptions, sayable_tokens
from asr.inference.engines.ctranslate2 import _CUBLAS, CTranslate2Engine, _load_cublas, is_export
from asr.inference.engines.pytorch import TorchEngine
from asr.inference.punctuation import has_words, mark_tokens, tokens_of_words
from asr.model.checkpoint import Checkpoint
from asr.model.companion import COMPANION
from asr.model.network import Encoded

Voice = Callable[..., npt.NDArray[np.float32]]
CPU = torch.device("cpu")


@pytest.fixture
def torch_engine(checkpoint: Checkpoint) -> TorchEngine:
    return TorchEngine(checkpoint)


@pytest.fixture
def engine(folder: Path) -> CTranslate2Engine:
    return CTranslate2Engine(folder, CPU, replicas=1)


@pytest.fixture(params=[0, 60], ids=["no-tail", "tail"])
def encoded(
    checkpoint: Checkpoint, voice: Voice, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Encoded:
    """Four sounds of a second, in a window of a second and a half, and what follows it in 30 s."""
    monkeypatch.setattr(checkpoint.model, "tail", request.param)
    audio = torch.from_numpy(np.stack([voice(1.0, number) for number in range(4)]))
    with torch.inference_mode():
        return checkpoint.model.encode(*checkpoint.model.features(audio, torch.full((4,), 24000)))


@pytest.mark.parametrize(
    ("options", "tag"),
    [
        (DecodeOptions(max_tokens=8), ""),
        (DecodeOptions(beam_size=3, max_tokens=8), ""),
        (DecodeOptions(max_tokens=8, prompt="Bonjour !"), "fr-CA"),
        (DecodeOptions(max_tokens=8, prompt="la la la " * 200), ""),
        (DecodeOptions(max_tokens=1), ""),
    ],
)
def test_it_writes_what_torch_writes(
    torch_engine: TorchEngine, engine: CTranslate2Engine, encoded: Encoded, options: DecodeOptions, tag: str
) -> None:
    expected = torch_engine.decode(encoded, "fr", options, tag=tag)
    found = engine.decode(encoded, "fr", options, tag=tag)
    # Behind a second of sound there is so much silence that random weights hear little else.
    assert encoded.tail is not None or len({one.text for one in expected}) > 1
    for theirs, own in zip(expected, found, strict=True):
        assert (own.text, own.tokens, own.language) == (theirs.text, theirs.tokens, "fr")
        assert own.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-3)
        assert own.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-4)
        assert own.compression_ratio == theirs.compression_ratio


@pytest.mark.parametrize("options", [DecodeOptions(max_tokens=6), DecodeOptions(max_tokens=6, beam_size=2)])
@torch.inference_mode()
def test_the_odds_of_a_question_are_those_of_torchs_decoder(
    engine: CTranslate2Engine, checkpoint: Checkpoint, encoded: Encoded, options: DecodeOptions
) -> None:
    tokenizer = get_tokenizer(True, num_languages=99, language="fr", task="transcribe")
    found = engine.decode(encoded, "fr", options, marks=True)
    assert any(has_words(one.text) for one in found)
    for row, one in enumerate(found):
        if not has_words(one.text):
            assert one.question_log_odds is None
            continue
        last = tokens_of_words(tokenizer, one.tokens, one.text)
        tokens = torch.tensor([[*tokenizer.sot_sequence_including_notimestamps, *one.tokens[:last]]])
        scores = checkpoint.model.logits(checkpoint.model.decode(tokens, encoded.select([row])))[0, -1]
        question, statement = (scores[ids].logsumexp(-1) for ids in mark_tokens(tokenizer, "fr"))
        assert one.question_log_odds == pytest.approx(float(question - statement), abs=1e-3)
    assert all(one.question_log_odds is None for one in engine.decode(encoded, "fr", options))


def test_the_best_texts_are_those_of_torch(
    torch_engine: TorchEngine, engine: CTranslate2Engine, encoded: Encoded
) -> None:
    options = DecodeOptions(beam_size=4, n_best=3, max_tokens=6)
    expected = torch_engine.decode(encoded, "fr", options)
    shared = 0
    for theirs, own in zip(expected, engine.decode(encoded, "fr", options), strict=True):
        assert own.hypotheses[0].text == own.text and 1 < len(own.hypotheses) <= 3
        probable = {one.text: one.log_probability for one in theirs.hypotheses}
        for one in own.hypotheses:
            if one.text in probable:
                shared += 1
                assert one.log_probability == pytest.approx(probable[one.text], abs=1e-3)
    # Where the search may stop is another question for each.
    assert shared >= 2 * len(expected)


def test_it_hears_the_language_that_torch_hears(
    torch_engine: TorchEngine, engine: CTranslate2Engine, encoded: Encoded
) -> None:
    assert engine.detect_language(encoded) == torch_engine.detect_language(encoded)


def test_words_are_where_torch_finds_them(
    torch_engine: TorchEngine, engine: CTranslate2Engine, encoded: Encoded
) -> None:
    results = torch_engine.decode(encoded, "fr", DecodeOptions(max_tokens=8))
    results[1] = replace(results[1], tokens=(), text="")
    expected = torch_engine.word_times(encoded, [50, 50, 40, 50], results, "fr")
    found = engine.word_times(encoded, [50, 50, 40, 50], results, "fr")
    assert found[1] == () and any(expected)
    for theirs, own in zip(expected, found, strict=True):
        assert [word.text for word in own] == [word.text for word in theirs]
        for one, other in zip(own, theirs, strict=True):
            assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=0.021)
            assert one.probability == pytest.approx(other.probability, abs=1e-3)


@given(st.integers(1, 480_000))
def test_windows_end_at_half_seconds(samples: int) -> None:
    engine = object.__new__(CTranslate2Engine)
    engine.model = _Window()  # type: ignore[assignment]
    window = engine.window_samples(samples)
    assert window % 8000 == 0 and min(samples + 4000, 480_000) <= window < min(samples + 12000, 480_001)


class _Window:
    def window_samples(self, samples: torch.Tensor) -> torch.Tensor:
        return (samples + 4000).clamp(max=480_000)


def test_no_text_is_longer_than_can_be_said(engine: CTranslate2Engine, encoded: Encoded) -> None:
    most = sayable_tokens(engine.model, 1.5, "fr")
    assert most < 224
    found = engine.decode(encoded, "fr", DecodeOptions())
    assert max(len(one.tokens) for one in found) <= most


def test_what_is_no_export_or_a_damaged_one(folder: Path, tmp_path: Path) -> None:
    assert is_export(folder) and not is_export(tmp_path)
    other = shutil.copytree(folder, tmp_path / "other")
    (other / COMPANION).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="is damaged or does not belong"):
        CTranslate2Engine(other, CPU)
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "model.bin").write_bytes((folder / "model.bin").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"is no complete CTranslate2 model .*; export the checkpoint again"):
        CTranslate2Engine(broken, CPU)
    (broken / "model.bin").unlink()
    assert not is_export(broken)


def test_a_gpu_without_what_it_computes_with_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def missing(name: str) -> None:
        tried.append(name)
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", missing)
    with pytest.raises(MissingExtraError, match=r"needs libcublas\.so\.12, .* pip install nvidia-cublas-cu12, or take"):
        CTranslate2Engine(folder, torch.device("cuda"))
    assert tried[0] == _CUBLAS


def test_what_pip_brought_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As the wheel has it; any library stands for it.
    libraries = tmp_path / "nvidia" / "cublas" / "lib"
    libraries.mkdir(parents=True)
    for folder in (libraries.parent, libraries.parent.parent):
        (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "nvidia"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError):
        _load_cublas()
    (libraries / _CUBLAS).symlink_to(next(Path(torch.__file__).parent.glob("lib/libc10.so")))
    _load_cublas()
