"""Who is heard with which adapter, and that each is heard as by a checkpoint of its own, alone and in any batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from asr import Transcriber
from asr.errors import AsrError, CheckpointError, ConfigError
from asr.inference.adapters import Router
from asr.inference.clips import Clip, End
from asr.inference.decoding import DecodeOptions
from asr.inference.heads import NOTHING, Answer
from asr.inference.stitch import stitched
from asr.model.adapt import LoraOptions, Part, adapt
from asr.model.adapter import read_adapter, take_out, write_adapter
from asr.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from asr.model.heads import HeadSpec
from asr.model.mixture import Mixture
from asr.model.network import DialectWhisper, Encoded, Silence
from asr.prosody import final_contour
from asr.transcript import Transcript
from asr.weights.state import weights_sha256

Samples = npt.NDArray[np.float32]
Voice = Callable[..., Samples]
# Told a dialect that it hears, a merged model would be told another one than its base.
OPTIONS = DecodeOptions(max_tokens=8, tag="never")
LANGUAGES = ("en", "fr", "de")
BOTH: tuple[Part, ...] = ("encoder", "decoder")
HEARD = Answer("fr-CA", {"fr-CA": 0.7, "fr-BE": 0.2, "fr-FR": 0.09, "fr-CH": 0.01})


@pytest.fixture(params=[BOTH, ("decoder",)], ids=["both", "decoder"])
def parts(request: pytest.FixtureRequest) -> tuple[Part, ...]:
    return tuple(request.param)


@pytest.fixture
def checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    """Without a head that has a say in the text: it hears the base, and in a merged model what was merged."""
    del checkpoint.model.heads["intonation"]
    return checkpoint


@pytest.fixture
def merged(checkpoint: Checkpoint, parts: tuple[Part, ...], tmp_path: Path) -> dict[str, Path]:
    """A merged checkpoint for each of three dialects; ``adapters`` takes the adapters out."""
    paths = {}
    for number, dialect in enumerate(("fr-CA", "fr-BE", "en-IN")):
        model = copy.deepcopy(checkpoint.model)
        torch.manual_seed(number)
        rank = 2 + number
        adapt(model, "lora", LoraOptions(rank=rank, parts=parts))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.copy_(0.5 * torch.randn(parameter.shape))
        config = {"adapter": {"mode": "lora", "lora": {"rank": rank}}}
        paths[dialect] = tmp_path / f"{dialect}.pt"
        save_checkpoint(model, replace(checkpoint.info, training_config=config), paths[dialect])
    return paths


@pytest.fixture
def adapters(checkpoint: Checkpoint, merged: dict[str, Path], tmp_path: Path) -> Path:
    folder = tmp_path / "adapters"
    for dialect, path in merged.items():
        loaded = load_checkpoint(path)
        write_adapter(take_out(checkpoint, loaded), loaded.model, folder / f"{dialect}.safetensors")
    return folder


@pytest.fixture
def sounds(voice: Voice) -> list[Samples]:
    return [voice(seconds, number) for number, seconds in enumerate((0.6, 2.0, 1.1, 1.7, 0.9, 1.4))]


@pytest.mark.parametrize("parts", [("decoder",)])
def test_who_takes_which(checkpoint: Checkpoint, adapters: Path) -> None:
    hard = Router(adapters, checkpoint.model, LANGUAGES)
    assert hard.dialects == ("en-IN", "fr-BE", "fr-CA")
    assert hard.choose(None, HEARD) == {"fr-CA": 1.0}
    # Given counts more than heard, in any case of its letters; a finer dialect takes what is there of the wider one.
    assert hard.choose("FR-be", HEARD) == {"fr-BE": 1.0} == hard.choose("fr-BE-x-liege", HEARD)
    # What is given and has no adapter is not heard as something else.
    assert hard.choose("fr-FR", HEARD) == {} == hard.choose("fr", HEARD)
    assert hard.choose(None, None) == {} == hard.choose(None, NOTHING)
    assert hard.choose(None, replace(HEARD, label="unknown")) == {}
    soft = Router(adapters, checkpoint.model, LANGUAGES, "soft")
    assert soft.choose(None, HEARD) == {"fr-CA": 0.7, "fr-BE": 0.2}
    assert soft.choose(None, replace(HEARD, label="unknown")) == {"fr-CA": 0.7, "fr-BE": 0.2}
    assert soft.choose(None, Answer("fr-CA", {"fr-CA": 0.97, "fr-BE": 0.01, "fr-CA-x-gaspe": 0.02})) == {
        "fr-CA": pytest.approx(0.99)
    }
    assert soft.choose("fr-FR", HEARD) == {} == soft.choose(None, NOTHING)
    given = Router(adapters, checkpoint.model, LANGUAGES, "given")
    assert given.choose(None, HEARD) == {} and given.choose("en-IN", HEARD) == {"en-IN": 1.0}


@pytest.mark.parametrize("parts", [("decoder",)])
def test_a_batch_holds_the_updates_that_are_taken_and_no_others(checkpoint: Checkpoint, adapters: Path) -> None:
    router = Router(adapters, checkpoint.model, LANGUAGES)
    assert router.mixture([{}, {}]) is None
    mixture = router.mixture([{}, {"fr-CA": 0.5, "en-IN": 0.25}])
    assert mixture is not None
    assert mixture.weights.tolist() == [[0.0, 0.0], [0.25, 0.5]]
    assert {(one.down.shape[1], tuple(one.owners.tolist())) for one in mixture.layers.values()} == {
        (6, (0, 0, 0, 0, 1, 1))
    }


def transcriber(checkpoint: Checkpoint, adapters: Path | dict[str, Path] | None, **options: object) -> Transcriber:
    return Transcriber(checkpoint, options=OPTIONS, speech=None, adapters=adapters, **options)  # type: ignore[arg-type]


def hear(transcriber: Transcriber, sounds: list[Samples], dialects: list[str | None]) -> list[Transcript]:
    """All in one batch, each with its dialect."""
    clips = [
        Clip(number, "", sound, "fr", dialect, contour=final_contour(sound))
        for number, (sound, dialect) in enumerate(zip(sounds, dialects, strict=True))
    ]
    with torch.inference_mode():
        heard = transcriber._hear(clips)
    return [transcript for _, transcript in sorted(heard, key=lambda one: one[0].number)]


MIXED = ["fr-CA", None, "fr-BE", "en-IN", "fr-CA", "fr-CH"]


def of_its_own(checkpoint: Checkpoint, adapters: Path, shares: dict[str, float]) -> Transcriber:
    """The outside truth: no adapter, but weights to which they were added."""
    model = copy.deepcopy(checkpoint.model)
    base = weights_sha256(model.whisper)
    with torch.no_grad():
        for dialect, share in shares.items():
            updates = read_adapter(adapters / f"{dialect}.safetensors", checkpoint.model, base).updates
            for name, one in updates.items():
                model.whisper.get_submodule(name).weight += share * (one.down.float() @ one.up.float()).T
    return transcriber(Checkpoint(model, checkpoint.info), None, words=True)


@pytest.mark.parametrize("beam_size", [None, 3])
def test_each_is_heard_as_by_a_checkpoint_of_its_own(
    checkpoint: Checkpoint, adapters: Path, sounds: list[Samples], beam_size: int | None
) -> None:
    ours = transcriber(checkpoint, adapters, routing="given", words=True)
    ours.options = replace(OPTIONS, beam_size=beam_size)
    together = hear(ours, sounds, MIXED)
    plain = of_its_own(checkpoint, adapters, {})
    plain.options = ours.options
    before = hear(plain, sounds, MIXED)
    for row, dialect in enumerate(MIXED):
        shares = {dialect: 1.0} if dialect in ours._router.dialects else {}
        own = of_its_own(checkpoint, adapters, shares)
        own.options = ours.options
        (theirs,) = hear(own, [sounds[row]], [dialect])
        (alone,) = hear(ours, [sounds[row]], [dialect])
        for found in (together[row], alone):
            assert found.text == theirs.text
            assert found.segments[0].avg_logprob == pytest.approx(theirs.segments[0].avg_logprob, abs=1e-4)
            assert [(word.text, word.start) for word in found.words] == [
                (word.text, pytest.approx(word.start, abs=0.021)) for word in theirs.words
            ]
            assert found.adapters == shares
            # Heads hear the base.
            assert found.dialect_scores == pytest.approx(before[row].dialect_scores, abs=1e-4)
    assert sum(one.text != other.text for one, other in zip(together, before, strict=True)) >= 3


def test_a_mixture_is_heard_as_by_a_model_of_mixed_weights(
    checkpoint: Checkpoint, adapters: Path, sounds: list[Samples]
) -> None:
    # Of French its own head knows one dialect alone.
    checkpoint.model.set_heads({"dialect": HeadSpec(("fr-CA", "fr-BE"), ("fr", "fr"))})
    found = hear(transcriber(checkpoint, adapters, routing="soft"), sounds, [None] * len(sounds))
    for sound, transcript in zip(sounds, found, strict=True):
        # A head that has learnt nothing is sure of nothing.
        assert set(transcript.adapters) == {"fr-CA", "fr-BE"}
        assert transcript.adapters == pytest.approx(transcript.dialect_scores)
        (theirs,) = hear(of_its_own(checkpoint, adapters, transcript.adapters), [sound], [None])
        assert transcript.text == theirs.text
        assert transcript.segments[0].avg_logprob == pytest.approx(theirs.segments[0].avg_logprob, abs=1e-4)


def test_the_base_stays_as_it_is_and_hears_once_or_twice(
    checkpoint: Checkpoint,
    adapters: Path,
    parts: tuple[Part, ...],
    sounds: list[Samples],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whisper = checkpoint.model.whisper
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in whisper.state_dict().items()}
    ours = transcriber(checkpoint, adapters, routing="given")
    passes: list[int] = []
    silent: list[Mixture | None] = []
    encode, silence = DialectWhisper.encode, DialectWhisper.silence

    def counted(model: DialectWhisper, mel: torch.Tensor, *rest: Any, **named: Any) -> Encoded:
        passes.append(len(mel))
        return encode(model, mel, *rest, **named)

    def counted_silence(model: DialectWhisper, mixture: Mixture | None = None) -> Silence | None:
        silent.append(mixture)
        return silence(model, mixture)

    monkeypatch.setattr(DialectWhisper, "encode", counted)
    monkeypatch.setattr(DialectWhisper, "silence", counted_silence)
    hear(ours, sounds, MIXED)
    # Four of them have an adapter; the silence behind the others was heard when the model was loaded.
    assert passes == ([6, 4] if parts == BOTH else [6])
    assert [None if mixture is None else len(mixture.weights) for mixture in silent] == passes[1:]
    after = whisper.state_dict()
    assert list(after) == list(before)
    assert all(
        after[name].data_ptr() == place and torch.equal(after[name], old) for name, (place, old) in before.items()
    )


@pytest.mark.parametrize("parts", [("decoder",)])
def test_a_dialect_heard_for_sure_is_written_with_its_adapter(
    checkpoint: Checkpoint, adapters: Path, voice: Voice
) -> None:
    ours = transcriber(checkpoint, {"fr-CA": adapters / "fr-CA.safetensors"})
    assert ours.transcribe(voice(1.0), language="fr").adapters == {"fr-CA": 1.0}
    head = checkpoint.model.head("dialect")
    head.spec = replace(head.spec, threshold=1.1)
    assert ours.transcribe(voice(1.0), language="fr").adapters == {}
    assert ours.transcribe(voice(1.0), dialect="fr-CA").adapters == {"fr-CA": 1.0}


def test_of_windows_it_is_the_mean() -> None:
    def window(seconds: float, adapters: dict[str, float]) -> Transcript:
        return Transcript("r", "", "fr", None, seconds, (), adapters=adapters)

    parts = [(0.0, window(3.0, {"fr-CA": 1.0})), (3.0, window(1.0, {})), (4.0, window(4.0, {"fr-BE": 0.5}))]
    assert stitched(End("r", 8.0, "fr", None), parts, None).adapters == {"fr-CA": 0.375, "fr-BE": 0.25}
    assert stitched(End("r", 8.0, "fr", None), [], None).adapters == {}


@pytest.mark.parametrize("parts", [("decoder",)])
def test_what_cannot_be_an_adapter_is_a_sentence(
    checkpoint: Checkpoint, adapters: Path, folder: Path, tmp_path: Path
) -> None:
    def refused(adapters: object, **options: object) -> str:
        with pytest.raises(AsrError) as caught:
            transcriber(checkpoint, adapters, **options)  # type: ignore[arg-type]
        assert isinstance(caught.value, ConfigError | CheckpointError)
        return str(caught.value)

    path = adapters / "fr-CA.safetensors"
    assert refused(adapters, routing="best") == "routing 'best' is not known; choose hard, soft, given"
    assert refused({}) == "there is no adapter; give one for a dialect at least, or leave adapters out"
    assert refused(path) == f"{path} is no folder of adapters; give one that holds files such as fr-CA.safetensors"
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").startswith(
        f"there is no adapter in {tmp_path / 'empty'}; they are files such as "
    )
    assert refused({"fr_CA": path}) == (
        f"an adapter is named by its dialect, such as fr-CA.safetensors, and 'fr_CA' ({path}) is no BCP 47 tag: "
        "subtags are joined by '-', not '_'"
    )
    assert "there is no adapter" in refused({"fr-CA": tmp_path / "gone"})
    other = copy.deepcopy(checkpoint)
    with torch.no_grad():
        other.model.whisper.decoder.ln.bias += 1
    with pytest.raises(CheckpointError, match="belongs to another base"):
        transcriber(other, adapters)
    with pytest.raises(ConfigError, match="the engine ctranslate2 writes with one set of weights"):
        Transcriber(folder, adapters=adapters)
