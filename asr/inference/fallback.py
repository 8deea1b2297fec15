"""What is decoded again in another way: texts that loop, and such as the model itself hardly believes.

Steps hide faults, so each one is counted in the transcript. A window in which the model believes nobody speaks is
dropped at the end; no step is taken where there is no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from asr.errors import ConfigError

# What can be tried, in this order.
STEPS = ("beam", "temperature", "drop")


@dataclass(frozen=True, slots=True)
class Fallback:
    """When and how a text is decoded again; it is believed as soon as neither fault is there.

    Attributes:
        steps: Some of `STEPS`, in their order: ``beam`` searches wider; ``temperature`` draws tokens at random, the
            same ones in every run; ``drop`` leaves out what looks like no speech.
        compression: Texts of a higher compression ratio loop.
        logprob: Texts of a lower average log-probability are not believed.
        no_speech: Probability of no speech from which on a text that is not believed, or loops, is dropped.
        beam_size: Beams of the first step.
        temperature: Of the second step.

    Raises:
        ConfigError: A step is unknown, or a number cannot work.
    """

    steps: tuple[str, ...] = STEPS
    compression: float = 2.4
    logprob: float = -1.0
    no_speech: float = 0.6
    beam_size: int = 5
    temperature: float = 0.4

    def __post_init__(self) -> None:
        # A configuration brings a list.
        object.__setattr__(self, "steps", tuple(self.steps))
        if self.steps != tuple(step for step in STEPS if step in self.steps):
            raise ConfigError(f"fallback steps are some of {', '.join(STEPS)}, in this order; found {self.steps}")
        if self.beam_size < 1:
            raise ConfigError(f"a fallback's beam_size must be 1 or more, found {self.beam_size}")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"a fallback's temperature must be a number above 0, found {self.temperature}")


class Result(Protocol):
    """What a decoder says of its text."""

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def avg_logprob(self) -> float: ...  # noqa: D102
    @property
    def no_speech_prob(self) -> float: ...  # noqa: D102
    @property
    def compression_ratio(self) -> float: ...  # noqa: D102


Heard = TypeVar("Heard", bound=Result)


def decode_again(
    results: Sequence[Heard],
    fallback: Fallback,
    again: Callable[[list[int], str], Sequence[Heard]],
) -> tuple[list[Heard], list[tuple[str, ...]]]:
    """Take the steps on those of a batch that need them.

    Args:
        results: What was decoded first.
        fallback: When and how.
        again: Decodes rows of the batch by a step, ``beam`` or ``temperature``.

    Returns:
        The results, and the steps that each took. One that ends in ``drop`` is to be taken for silence. Of several
        attempts without success the likeliest that does not loop counts, or the likeliest of all.
    """
    attempts = [[result] for result in results]
    steps: list[tuple[str, ...]] = [() for _ in results]
    failing = [row for row, result in enumerate(results) if _fails(result, fallback)]
    for step in fallback.steps:
        if not failing:
            break
        if step == "drop":
            for row in failing:
                if results[row].no_speech_prob >= fallback.no_speech:
                    steps[row] = (*steps[row], step)
            break
        for row, result in zip(failing, again(failing, step), strict=True):
            attempts[row].append(result)
            steps[row] = (*steps[row], step)
        failing = [row for row in failing if _fails(attempts[row][-1], fallback)]
    chosen = [tried[-1] for tried in attempts]
    for row in failing:
        chosen[row] = max(
            attempts[row], key=lambda one: (one.compression_ratio <= fallback.compression, one.avg_logprob)
        )
    return chosen, steps


def _fails(result: Result, fallback: Fallback) -> bool:
    loops = result.compression_ratio > fallback.compression
    return bool(result.text) and (loops or result.avg_logprob < fallback.logprob)
