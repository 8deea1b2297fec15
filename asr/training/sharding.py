"""Weights, gradients and optimiser divided among processes (FSDP), and the whole model put together again.

All weights are one unit: in a step each process holds them whole, as with DDP; between steps, and of the optimiser,
which is twice as large, each holds its part.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from asr.model.network import DialectWhisper


def shard(module: nn.Module, mesh: DeviceMesh, methods: Sequence[str]) -> None:
    """Divide a module's weights among the processes of a mesh, in place.

    Args:
        module: What is divided.
        mesh: Of one dimension.
        methods: Names of the methods that need the weights whole.
    """
    fully_shard(module, mesh=mesh, reshard_after_forward=True)
    for method in methods:
        register_fsdp_forward_method(module, method)


class Whole:
    """A model that is never divided, to save the weights of the one that is.

    Args:
        model: The model before it is divided.
    """

    def __init__(self, model: DialectWhisper) -> None:
        self._model = copy.deepcopy(model).cpu() if torch.distributed.get_rank() == 0 else None

    def gathered(self, divided: DialectWhisper) -> DialectWhisper:
        """Return the model with the weights of the divided one; in processes but the first, that one itself."""
        weights = get_model_state_dict(divided, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        if self._model is None:
            return divided
        self._model.load_state_dict(weights)
        return self._model


def is_finite(norm: Tensor) -> bool:
    """Whether a gradient's norm is; of divided gradients each process holds a part of it."""
    return bool((norm.full_tensor() if isinstance(norm, DTensor) else norm).isfinite())
