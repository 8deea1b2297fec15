"""Speech detection against silero-vad's own streaming network and its own rule; however a stream is cut."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from silero_vad import get_speech_timestamps_from_probs, load_silero_vad

from asr.errors import ConfigError, WeightsError
from asr.inference import speech as module
from asr.inference.speech import FRAME, Edge, SpeechDetector, SpeechOptions, SpeechProbabilities, Stretches

Samples = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def sound(speak: Callable[..., Samples]) -> Samples:
    """Nine seconds that end within a frame: speech from 2 to 3.5 s and from 5 to 8 s, hiss all along."""
    whole = (0.001 * np.random.default_rng(0).standard_normal(16000 * 9 + 100)).astype(np.float32)
    for begin, end in ((2.0, 3.5), (5.0, 8.0)):
        whole[round(16000 * begin) : round(16000 * end)] += speak(end - begin)
    return whole


def cut(samples: Samples, sizes: list[int]) -> list[Samples]:
    return np.split(samples, [place for place in np.cumsum(sizes) if place < len(samples)])


@pytest.fixture(scope="module")
def probabilities(sound: Samples) -> Samples:
    """What silero-vad's own class for streams says, frame by frame."""
    network = load_silero_vad(onnx=True)
    padded = np.pad(sound, (0, -len(sound) % FRAME))
    return np.array([network(torch.from_numpy(frame), 16000).item() for frame in padded.reshape(-1, FRAME)])


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 40000), max_size=12))
def test_probabilities_are_those_of_the_package(sizes: list[int], sound: Samples, probabilities: Samples) -> None:
    stream = SpeechProbabilities()
    found = [stream.hear(block) for block in cut(sound, sizes)]
    np.testing.assert_allclose(np.concatenate([*found, stream.finish()]), probabilities, atol=1e-5)
    assert len(probabilities) == 282 and probabilities.max() > 0.9


def test_more_than_the_network_is_given_at_once() -> None:
    noise = (0.01 * np.random.default_rng(1).standard_normal(FRAME * 600)).astype(np.float32)
    at_once, in_parts = SpeechProbabilities(), SpeechProbabilities()
    parts = np.concatenate([in_parts.hear(part) for part in np.split(noise, 60)])
    np.testing.assert_allclose(at_once.hear(noise), parts, atol=1e-6)
    assert len(parts) == 600 and len(at_once.finish()) == 0


def runs(chances: list[float]) -> st.SearchStrategy[list[float]]:
    """Probabilities that stay for some frames, as those of speech do."""
    return st.lists(st.tuples(st.sampled_from(chances), st.integers(1, 40)), max_size=12).map(
        lambda pairs: [chance for chance, times in pairs for _ in range(times)]
    )


@given(chances=runs([0.1, 0.9]), min_speech=st.integers(1, 20), min_silence=st.integers(1, 20))
def test_stretches_are_those_of_the_package(chances: list[float], min_speech: int, min_silence: int) -> None:
    frame = FRAME / 16000
    # At the end of a recording it takes a silence that is not long enough for speech.
    chances = [*chances, *[0.0] * min_silence]
    stretches = Stretches(SpeechOptions(min_speech=min_speech * frame, min_silence=min_silence * frame, padding=0))
    turns = [turn for turn in [*map(stretches.step, chances), stretches.finish()] if turn]
    expected = get_speech_timestamps_from_probs(
        chances,
        # It counts the silence before a frame, and wants more speech than that.
        min_silence_duration_ms=(min_silence - 1) * 32,
        min_speech_duration_ms=min_speech * 32 - 1,
        speech_pad_ms=0,
    )
    assert [turn.begins for turn in turns] == [True, False] * len(expected)
    assert [turn.frame * FRAME for turn in turns] == [one[edge] for one in expected for edge in ("start", "end")]


def test_between_the_thresholds_speech_goes_on_but_does_not_begin() -> None:
    def told(*chances: tuple[float, int]) -> list[int]:
        stretches = Stretches(SpeechOptions(min_speech=0.05, min_silence=0.16, padding=0))
        turns = [stretches.step(chance) for chance, times in chances for _ in range(times)]
        return [turn.frame for turn in [*turns, stretches.finish()] if turn]

    assert told((0.4, 20)) == []
    assert told((0.0, 3), (0.6, 5), (0.4, 10), (0.0, 9)) == [3, 18]
    assert told((0.6, 5), (0.1, 2), (0.4, 10), (0.6, 5)) == [0, 5, 17, 22]


def test_a_live_stream_is_told_of_in_time(sound: Samples) -> None:
    options = SpeechOptions()
    detector = SpeechDetector(options)
    edges: list[tuple[float, Edge]] = []
    for number, chunk in enumerate(np.split(sound[: 16000 * 9], 450)):  # of 20 ms
        now = 0.02 * (number + 1)
        edges += [(now, edge) for edge in detector.hear(chunk)]
        assert detector.speaking is bool(edges and edges[-1][1].kind == "begin")
    assert detector.finish() == []
    kinds, times = zip(*[(edge.kind, edge.time) for _, edge in edges], strict=True)
    assert kinds == ("begin", "end") * 2
    assert times == pytest.approx((2 - options.padding, 3.5 + options.padding, 5 - options.padding, 8.2), abs=0.25)
    for now, edge in edges:
        waits = options.min_speech + options.padding if edge.kind == "begin" else options.min_silence - options.padding
        assert now - edge.time <= waits + 3 * FRAME / 16000


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(0, 40000), max_size=12))
def test_edges_do_not_depend_on_the_chunks(sizes: list[int], sound: Samples) -> None:
    def edges(chunks: list[Samples]) -> list[Edge]:
        detector = SpeechDetector()
        return [*(edge for chunk in chunks for edge in detector.hear(chunk)), *detector.finish()]

    # The stream ends while somebody speaks.
    spoken = sound[: 16000 * 7]
    found = edges(cut(spoken, sizes))
    assert found == edges([spoken])
    assert (found[-1].kind, found[-1].time) == ("end", 7.0)


def test_padding_stops_where_the_stretch_before_ended() -> None:
    detector = SpeechDetector(SpeechOptions(min_silence=0.3, padding=0.3))
    detector.hear(np.zeros(16000, np.float32))
    edges = [detector._edge(module.Turn(begins, frame)) for begins, frame in ((True, 2), (False, 4), (True, 11))]
    assert edges[1].time == edges[2].time == pytest.approx(4 * 0.032 + 0.3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"onset": 0.3}, "0 < offset <= onset < 1, found offset 0.35 and onset 0.3"),
        ({"onset": 1.0}, "onset 1.0"),
        ({"offset": float("nan")}, "offset nan"),
        ({"min_speech": -1.0}, "min_speech must be"),
        ({"padding": float("inf")}, "padding must be"),
        ({"padding": 0.3}, "padding must be at most min_silence"),
    ],
)
def test_options_that_cannot_be(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        SpeechOptions(**options)


def test_without_the_package_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    module._network.cache_clear()
    with pytest.raises(WeightsError, match="needs the package silero-vad"):
        SpeechProbabilities()
    assert find_spec("silero_vad") is not None
