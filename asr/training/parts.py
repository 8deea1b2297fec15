"""Steps in parts: of a batch that a device cannot hold at once, it learns one part after the other.

The step stays the same: its gradient is the sum of its parts'. So `data.batch_seconds` says what is learnt from, and
the device's memory only how. Of several processes each divides its own batches: the others see its gradients when all
are there.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from asr.audio import SAMPLE_RATE
from asr.data.batch import Batch
from asr.errors import TrainingError

log = logging.getLogger(__name__)

Losses = dict[str, Tensor]
Gradients = list[Tensor | None]


@dataclass(frozen=True, slots=True)
class Step:
    """What is learnt from a batch.

    Attributes:
        batch: The batch.
        losses: Gives the losses of some of its rows, each with its weight in the whole.
        objective: Makes one of them.
        parameters: What learns.
    """

    batch: Batch
    losses: Callable[[slice], Losses]
    objective: Callable[[Losses], Tensor]
    parameters: Sequence[nn.Parameter]


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

    def learn(self, step: Step, before_parts: Callable[[], float]) -> tuple[Losses, Tensor]:
        """The losses of a batch and their objective, in as many parts as memory asks for, on the way there or back.

        Args:
            step: What is learnt.
            before_parts: Called before a step that is in parts from the beginning; gives what the objective will be
                multiplied by before the way back.

        Raises:
            TrainingError: There is too little memory for one fragment.
        """
        device = step.batch.audio.device.type
        # The way back is another thread's, with a precision of its own.
        precision = torch.autocast(device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        if self.of(step.batch) == 1:
            whole = _whole(step)
            if whole is not None:
                losses, objective = whole
                kept = [objective]

                def back(given: Tensor) -> Gradients:
                    gradients = _back(kept, step, given)
                    if gradients is not None:
                        return gradients
                    self.divide(step.batch)
                    return self._in_parts(step, given, precision)[1]

                return losses, with_way_back(objective.detach(), step.parameters, back)
            self.divide(step.batch)
        scaled = torch.tensor(before_parts(), device=step.batch.audio.device)
        losses, gradients = self._in_parts(step, scaled, precision)

        def rescaled(given: Tensor) -> Gradients:
            share = given / scaled
            for place, gradient in enumerate(gradients):
                gradients[place] = None if gradient is None else gradient * share
            return gradients

        return losses, with_way_back(step.objective(losses), step.parameters, rescaled)

    def _in_parts(self, step: Step, given: Tensor, precision: torch.autocast) -> tuple[Losses, Gradients]:
        """The losses of a batch, and the gradients of their objective times what is given."""
        while True:
            try:
                with torch.enable_grad(), precision:
                    return self._sums(step, given)
            except torch.OutOfMemoryError:
                pass  # further down nothing of the failed try is held
            self.divide(step.batch)

    def _sums(self, step: Step, given: Tensor) -> tuple[Losses, Gradients]:
        torch.manual_seed(step.batch.seed)
        total: Losses = {}
        gradients: Gradients = [None] * len(step.parameters)
        for rows in self.rows(step.batch):
            losses = step.losses(rows)
            found = torch.autograd.grad(step.objective(losses), step.parameters, given, allow_unused=True)
            for place, (before, one) in enumerate(zip(gradients, found, strict=True)):
                gradients[place] = one if before is None else before if one is None else before + one
            total = {name: loss.detach() + total.get(name, 0) for name, loss in losses.items()}
            torch.clear_autocast_cache()  # weights in half precision, with the part's graph behind them
        return total, gradients

    def rows(self, batch: Batch) -> list[slice]:
        """The rows of each part."""
        size = math.ceil(len(batch.audio) / self.of(batch))
        return [slice(first, first + size) for first in range(0, len(batch.audio), size)]


def _seconds(batch: Batch) -> int:
    return math.ceil(batch.audio.shape[1] / SAMPLE_RATE)


def _whole(step: Step) -> tuple[Losses, Tensor] | None:
    """The losses of a batch, and their objective with its graph; None without the memory for it."""
    try:
        losses = step.losses(slice(None))
        return {name: loss.detach() for name, loss in losses.items()}, step.objective(losses)
    except torch.OutOfMemoryError:
        return None


def _back(kept: list[Tensor], step: Step, given: Tensor) -> Gradients | None:
    """The gradients of what is kept, which is given up; None without the memory for it."""
    try:
        return list(torch.autograd.grad(kept.pop(), step.parameters, given, allow_unused=True))
    except torch.OutOfMemoryError:
        return None


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
