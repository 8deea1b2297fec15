"""How weights are changed: by AdamW, with a learning rate that rises and falls again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field


@dataclass(frozen=True, slots=True)
class OptimOptions:
    """How weights are changed.

    Attributes:
        lr: Highest learning rate of AdamW.
        warmup_steps: Steps over which it rises to that.
        schedule: How it falls afterwards, to reach zero after the last step.
        weight_decay: Of matrices; biases and norms have none.
        clip_norm: Longest gradient; 0 does not clip.
        label_smoothing: Share of probability spread over the vocabulary, from 0 to less than 1.
    """

    lr: Annotated[float, Field(gt=0)] = 1e-5
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def lr_share(self, step: int, max_steps: int) -> float:
        """The learning rate of a step as a share of the highest, when the schedule ends after ``max_steps``."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return 1.0
        done = min(1.0, (step - self.warmup_steps) / max(1, max_steps - self.warmup_steps))
        return 1.0 - done if self.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def adamw(learning: Iterable[tuple[Sequence[torch.nn.Parameter], float, float]]) -> torch.optim.AdamW:
    """AdamW with a group for the matrices and one for the rest of each part of a model.

    Args:
        learning: Of each part the parameters that learn, their highest learning rate, and the matrices' decay.
    """
    groups = [
        {"params": [p for p in parameters if (p.ndim > 1) is matrix], "lr": lr, "weight_decay": decay * matrix}
        for parameters, lr, decay in learning
        if parameters
        for matrix in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6, fused=True)
    # A fused optimiser offers to undo fp16's loss scale by itself, after the gradient was clipped.
    optimizer._step_supports_amp_scaling = False
    return optimizer
