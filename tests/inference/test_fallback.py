"""The ladder, step by step, against what each step must do."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from asr.errors import ConfigError
from asr.inference.fallback import STEPS, Fallback, decode_again


@dataclass(frozen=True)
class Heard:
    text: str = "words"
    avg_logprob: float = -0.3
    no_speech_prob: float = 0.1
    compression_ratio: float = 1.0


FINE = Heard()
LOOP = Heard("la la la", compression_ratio=3.0)
UNSURE = Heard("perhaps", avg_logprob=-1.5)
NOBODY = Heard("thank you", avg_logprob=-1.6, no_speech_prob=0.8)


def ladder(
    first: list[Heard], fallback: Fallback | None = None, **answers: Heard
) -> tuple[list[Heard], list[tuple[str, ...]], list]:
    """Take the steps, where each step has one answer for every row."""
    asked = []

    def again(rows: list[int], step: str) -> list[Heard]:
        asked.append((step, rows))
        return [answers[step]] * len(rows)

    return *decode_again(first, fallback or Fallback(), again), asked


def test_what_is_believed_is_left_alone() -> None:
    first = [FINE, Heard("", avg_logprob=-9.0, no_speech_prob=1.0), Heard(no_speech_prob=0.9)]
    assert ladder(first) == (first, [(), (), ()], [])


def test_only_what_fails_goes_on_and_only_as_far_as_needed() -> None:
    better = Heard("better")
    results, steps, asked = ladder([FINE, LOOP, UNSURE], beam=better)
    assert (results, steps) == ([FINE, better, better], [(), ("beam",), ("beam",)])
    assert asked == [("beam", [1, 2])]
    results, steps, asked = ladder([LOOP, FINE], beam=UNSURE, temperature=better)
    assert (results, steps) == ([better, FINE], [("beam", "temperature"), ()])
    assert asked == [("beam", [0]), ("temperature", [0])]


def test_without_success_the_likeliest_that_does_not_loop_counts() -> None:
    results, steps, _ = ladder([LOOP], beam=UNSURE, temperature=Heard("worse", avg_logprob=-2.0))
    assert (results, steps) == ([UNSURE], [("beam", "temperature")])
    results, _, _ = ladder([LOOP], beam=Heard("lo lo lo", -0.1, compression_ratio=4.0), temperature=LOOP)
    assert results[0].text == "lo lo lo"


def test_what_is_probably_nobody_is_dropped_at_the_end() -> None:
    _, steps, _ = ladder([NOBODY, UNSURE], beam=NOBODY, temperature=NOBODY)
    assert steps[0] == STEPS
    # It depends on what was read at the beginning of the first try: no later one hears anything else.
    assert steps[1] == ("beam", "temperature")
    _, steps, asked = ladder([NOBODY], Fallback(steps=("drop",)))
    assert (steps, asked) == ([("drop",)], [])


def test_no_steps_is_no_fallback() -> None:
    assert ladder([LOOP, NOBODY], Fallback(steps=())) == ([LOOP, NOBODY], [(), ()], [])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": ("drop", "beam")}, "in this order"),
        ({"steps": ("pray",)}, "pray"),
        ({"beam_size": 0}, "beam_size"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_options_that_cannot_be(options: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Fallback(**options)
