"""Low-rank updates of linear layers, weighed anew for every fragment of a batch.

Updates stand side by side: ``x @ down`` for all of them in one product, each share scaled by its fragment's weight, and
``@ up`` sums them. So one product serves fragments of different dialects, and mixtures of several, and a fragment
that takes none is what it would be without.

Shapes: B batch, V frames of all fragments one after the other, S tokens, R rank of all updates together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class LowRank:
    """What is added to the weights of one linear layer: ``(down @ up).T``.

    Attributes:
        down: Float [in, R].
        up: Float [R, out].
    """

    down: Tensor
    up: Tensor

    @property
    def rank(self) -> int:
        """R."""
        return self.down.shape[1]


@dataclass(frozen=True, slots=True)
class Stacked:
    """The updates of one layer side by side.

    Attributes:
        down: Float [in, R].
        up: Float [R, out].
        owners: Long [R], whose column each is: a place among the updates that were stacked.
    """

    down: Tensor
    up: Tensor
    owners: Tensor


def stacked(updates: Sequence[Mapping[nn.Module, LowRank]]) -> dict[nn.Module, Stacked]:
    """Put the updates of several adapters side by side, layer by layer, in float32.

    Args:
        updates: Of each adapter, by layer; they need not have the same layers or ranks.
    """
    layers = dict.fromkeys(layer for update in updates for layer in update)
    found = {}
    for layer in layers:
        parts = [(owner, update[layer]) for owner, update in enumerate(updates) if layer in update]
        found[layer] = Stacked(
            torch.cat([part.down for _, part in parts], 1).float(),
            torch.cat([part.up for _, part in parts], 0).float(),
            torch.cat([torch.full((part.rank,), owner, device=part.down.device) for owner, part in parts]),
        )
    return found


@dataclass(frozen=True, slots=True)
class Mixture:
    """What is added in the linear layers of a batch.

    Attributes:
        layers: The stacked updates of K adapters, by layer.
        weights: Float [B, K], how much of each adapter every fragment takes.
        rows: Long [V], the fragment of every frame, where frames stand one after the other; None where the first
            dimension of what goes through a layer is the batch.
    """

    layers: Mapping[nn.Module, Stacked]
    weights: Tensor
    rows: Tensor | None = None

    def select(self, rows: Sequence[int]) -> Mixture:
        """Of some fragments of the batch."""
        return replace(self, weights=self.weights[list(rows)])

    def repeat(self, times: int) -> Mixture:
        """Of every fragment so many times, one after the other: its beams."""
        return replace(self, weights=self.weights.repeat_interleave(times, 0))

    def by_frame(self, rows: Tensor) -> Mixture:
        """For frames that stand one after the other, of the fragments ``rows``, long [V]."""
        return replace(self, rows=rows)

    def added(self, layer: nn.Module, x: Tensor, output: Tensor) -> Tensor:
        """What a layer gives with its updates.

        Args:
            layer: The layer.
            x: What went in, float [V, in] or [B, S, in].
            output: What came out, without the updates.
        """
        updates = self.layers.get(layer)
        if updates is None:
            return output
        weights = self.weights[:, updates.owners]
        weights = weights[:, None] if self.rows is None else weights[self.rows]
        low = x @ updates.down.to(x.dtype)
        return output + (low * weights.to(low.dtype)) @ updates.up.to(low.dtype)


def project(layer: nn.Module, x: Tensor, mixture: Mixture | None) -> Tensor:
    """Run a linear layer, with its updates where there are any."""
    output: Tensor = layer(x)
    return output if mixture is None else mixture.added(layer, x, output)
