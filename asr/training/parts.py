"""Steps in parts: of a batch that a device cannot hold at once, it learns one part after the other.

The step stays the same: its gradient is the sum of its parts'. So `data.batch_seconds` says what is learnt from, and
the device's memory only how.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from asr.audio import SAMPLE_RATE
from asr.data.batch import Batch
from asr.errors import TrainingError

log = logging.getLogger(__name__)

Gradients = Sequence[Tensor | None]


class Parts:
    """Into how many parts batches are divided, by the length of what is in them; doubled when memory does not suffice.

    What takes memory is how long the longest fragment is, since all batches have the same seconds. The numbers belong
    to the state of a run: dropout is drawn for each part, so another division would be another run.
    """

    def __init__(self) -> None:
        self._parts: dict[int, int] = {}

    def state_dict(self) -> dict[int, int]:
        """Return the parts by seconds of the longest fragment."""
        return dict(self._parts)

    def load_state_dict(self, state_dict: dict[int, int]) -> None:
        """Go on with the parts of a state."""
        self._parts = dict(state_dict)

    def of(self, batch: Batch) -> int:
        """In how many parts a batch is learnt."""
        return min(self._parts.get(_seconds(batch), 1), len(batch.audio))

    def divide(self, batch: Batch) -> None:
        """Learn batches like this one in twice as many parts from now on.

        Raises:
            TrainingError: Each part is one fragment already.
        """
        now = self.of(batch)
        if now == len(batch.audio):
            raise TrainingError(
                f"the device has too little memory for a fragment of {_seconds(batch)} s alone; take "
                "trainer.gradient_checkpointing=true, adapter=lora, or a smaller model"
            )
        self._parts[_seconds(batch)] = min(2 * now, len(batch.audio))
        log.warning(
            "memory does not suffice: batches of up to %d s are learnt in %d parts", _seconds(batch), self.of(batch)
        )

    def rows(self, batch: Batch) -> list[slice]:
        """The rows of each part."""
        size = math.ceil(len(batch.audio) / self.of(batch))
        return [slice(first, first + size) for first in range(0, len(batch.audio), size)]


def _seconds(batch: Batch) -> int:
    return math.ceil(batch.audio.shape[1] / SAMPLE_RATE)


class _WayBack(torch.autograd.Function):
    """A value whose gradients somebody else computes, and only when they are asked for."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Callable[[Tensor], Gradients], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *ctx.gradients(given))


def with_way_back(
    value: Tensor, parameters: Sequence[nn.Parameter], gradients: Callable[[Tensor], Gradients]
) -> Tensor:
    """Return a value that has the gradients that a function gives.

    The caller of ``backward`` holds nothing of the graph behind it, so that its memory is free when that fails.

    Args:
        value: Without a graph.
        parameters: What learns.
        gradients: Gives a gradient for each parameter, of the value times what it is given.
    """
    result: Tensor = _WayBack.apply(value, gradients, *parameters)
    return result
