"""Windows against brute force and against what they must never do: lose speech, hear it twice, be too long."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError
from asr.inference import windows as module
from asr.inference.speech import FRAME, SpeechOptions, Stretches
from asr.inference.windows import BREATHS, JOINED, PADDED, Cutter, WindowOptions, options_for, windows

Span = tuple[int, int]
SECOND = 16000 / FRAME
# 2 s of window are 62 frames, of which the padding takes 2 on either side.
SMALL = WindowOptions(longest=2.0, pause=0.5)
SPEECH = SpeechOptions(min_speech=0.064, min_silence=0.128, padding=0.064)


def plan(chances: list[float], options: WindowOptions = SMALL, speech: SpeechOptions = SPEECH) -> list[Span]:
    cutter = Cutter(options, speech)
    return [*(span for chance in chances for span in cutter.step(chance)), *cutter.finish()]


def stretches_in(chances: list[float], speech: SpeechOptions = SPEECH) -> list[Span]:
    told = Stretches(speech)
    turns = [turn for turn in [*map(told.step, chances), told.finish()] if turn]
    return [(begin.frame, end.frame) for begin, end in zip(turns[::2], turns[1::2], strict=True)]


# Probabilities that stay for some frames, long and short.
talk = st.lists(
    st.tuples(st.sampled_from([0.05, 0.2, 0.4, 0.7, 0.95]), st.integers(1, 90)), min_size=1, max_size=25
).map(lambda pairs: [chance for chance, times in pairs for _ in range(times)])
# The longest window is at least 62 frames; a pause may be joined over or not.
how = st.builds(WindowOptions, st.floats(2, 4), st.floats(0, 3) | st.just(float("inf")))


@given(talk, how)
def test_nothing_is_lost_or_heard_twice(chances: list[float], options: WindowOptions) -> None:
    spans = plan(chances, options)
    assert all(0 <= begin < end <= len(chances) for begin, end in spans)
    assert all(end - begin <= options.longest * SECOND for begin, end in spans)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    heard = np.zeros(len(chances), bool)
    for begin, end in spans:
        heard[begin:end] = True
    spoken = stretches_in(chances)
    assert all(heard[begin:end].all() for begin, end in spoken)
    # And nothing else: every window has speech at its ends, but for the padding.
    edges = {frame for stretch in spoken for frame in stretch}
    for begin, end in spans:
        assert begin in {0, *(e for _, e in spans)} or begin + 2 in edges
        assert any(first < end and begin < last for first, last in spoken)


@given(talk, how)
def test_stretches_are_joined_as_far_as_they_go(chances: list[float], options: WindowOptions) -> None:
    # Where no stretch is too long, one pass over them all says what belongs together.
    room = int(options.longest * SECOND) - 4
    spoken = stretches_in(chances)
    if any(end - begin > room for begin, end in spoken):
        return
    joined: list[list[int]] = []
    for begin, end in spoken:
        if joined and begin - joined[-1][1] <= options.pause * SECOND and end - joined[-1][0] <= room:
            joined[-1][1] = end
        else:
            joined.append([begin, end])
    assert len(plan(chances, options)) == len(joined)
    for (begin, end), (first, last) in zip(plan(chances, options), joined, strict=True):
        assert begin <= first and last <= end <= last + 2


def test_speech_without_end_is_cut_at_its_longest_silence() -> None:
    chances = np.full(400, 0.9)
    # In the first window's second half a breath, and a longer one; too short to end the speech.
    chances[[35, 36]] = 0.0
    chances[[45, 46, 47]] = 0.0
    # In the second one nothing but a soft place.
    chances[90:93] = 0.6
    spans = plan(chances.tolist())
    assert spans[0] == (0, 46)
    assert spans[1] == (46, 91)
    assert spans[-1][1] == 400


def test_music_without_a_pause_is_cut_too() -> None:
    spans = plan([0.9] * 1000)
    assert [end - begin for begin, end in spans[:-1]] == [spans[0][1]] * (len(spans) - 1)
    assert 29 <= spans[0][1] <= 58


def test_a_window_is_told_as_soon_as_nothing_can_be_joined() -> None:
    cutter = Cutter(SMALL, SPEECH)
    for chance in [0.9] * 20 + [0.0] * 15:
        assert list(cutter.step(chance)) == []
    assert list(cutter.step(0.0)) == [(0, 22)]
    assert cutter.needed == 36 - 2


def test_what_was_taught_single_fragments_is_given_what_is_said_in_one_breath() -> None:
    assert options_for("tight", joined=False) == BREATHS and options_for("tight", joined=True) == JOINED
    assert options_for("padded", joined=False) == options_for("padded", joined=True) == PADDED


@pytest.mark.parametrize("options", [PADDED, BREATHS, JOINED])
def test_a_cutter_holds_no_more_than_it_may_need(options: WindowOptions) -> None:
    random = np.random.default_rng(0)
    for chances in (random.random(20000), np.repeat(random.random(400), 50), np.zeros(20000), np.ones(20000)):
        cutter = Cutter(options, SpeechOptions())
        for frame, chance in enumerate(chances):
            list(cutter.step(float(chance)))
            # What is joined, and speech that goes on behind it.
            assert frame + 1 - cutter.needed <= 2 * 30 * SECOND
            assert len(cutter._chances) <= 2 * 30 * SECOND


class Told:
    """Stands for the network: the probability of a frame is what its first sample says."""

    def __init__(self) -> None:
        self.rest = np.zeros(0, np.float32)

    def hear(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        self.rest = np.concatenate((self.rest, samples))
        count = len(self.rest) // FRAME
        chances = np.abs(self.rest[: count * FRAME : FRAME]) % 1
        self.rest = self.rest[count * FRAME :]
        return chances

    def finish(self) -> npt.NDArray[np.float32]:
        return self.hear(np.zeros(-len(self.rest) % FRAME, np.float32))


@settings(max_examples=50, deadline=None)
@given(chances=talk, size=st.integers(100, 20000), rest=st.integers(0, FRAME - 1))
def test_windows_hold_the_samples_of_their_place(chances: list[float], size: int, rest: int) -> None:
    samples = np.repeat(np.array(chances, np.float32), FRAME) + np.repeat(np.arange(len(chances)), FRAME)
    samples = np.concatenate((samples, np.full(rest, 0.9))).astype(np.float32)
    blocks = [samples[first : first + size] for first in range(0, len(samples), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SpeechProbabilities", Told)
        found = list(windows(blocks, SMALL, SPEECH))
        whole = list(windows([samples], SMALL, SPEECH))
    assert [(one.start, len(one.samples)) for one in found] == [(one.start, len(one.samples)) for one in whole]
    for one in found:
        first = round(one.start * 16000)
        np.testing.assert_array_equal(one.samples, samples[first : first + len(one.samples)])
        assert one.samples.base is None  # which would keep the recording in memory


def test_memory_does_not_grow_with_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SpeechProbabilities", Told)

    def blocks(minutes: int) -> Iterator[npt.NDArray[np.float32]]:
        random = np.random.default_rng(0)
        for _ in range(minutes):
            yield np.repeat(random.choice([0.0, 0.1, 0.9], 60), 16000).astype(np.float32)

    def peak(minutes: int) -> int:
        tracemalloc.start()
        assert sum(len(one.samples) for one in windows(blocks(minutes), PADDED, SpeechOptions())) > 0
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(120) < 1.3 * peak(12)


def test_a_recording_without_speech_has_no_window() -> None:
    assert list(windows([np.zeros(160000, np.float32)] * 6, PADDED, SpeechOptions())) == []
    assert list(windows([], PADDED, SpeechOptions())) == []


@pytest.mark.parametrize("options", [(1.9, 0.0), (30.1, 0.0), (float("nan"), 0.0), (15.0, -0.1), (15.0, float("nan"))])
def test_options_that_cannot_be(options: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="found"):
        WindowOptions(*options)
