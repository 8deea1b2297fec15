"""Interpolation between two sets of weights (WiSE-FT, arXiv 2109.01903): part of the new, without losing the old.

The two must know the same window. Interpolating a tight model with a padded base brings standard words back but
forgets where speech ends, because that base never learnt it; so the first one is a tight base.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from asr.errors import CheckpointError
from asr.model.checkpoint import Checkpoint


def interpolate(base: Checkpoint, adapted: Checkpoint, share: float) -> Checkpoint:
    """Return weights ``(1 - share) * base + share * adapted``.

    Args:
        base: Where training started from.
        adapted: What came of it; the result is described as it is.
        share: 0 gives the base, 1 the adapted model.

    Raises:
        CheckpointError: The models differ in size or window, or the share is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise CheckpointError(f"the share of the adapted model must be between 0 and 1, found {share}")
    if base.model.whisper.dims != adapted.model.whisper.dims:
        raise CheckpointError("the two checkpoints are of different model sizes and cannot be interpolated")
    before, after = base.model.window_described, adapted.model.window_described
    if before != after:
        raise CheckpointError(
            f"the base runs {before} and the adapted model {after}; interpolate with the base that was taught the same "
            "window"
        )
    model = copy.deepcopy(adapted.model)
    with torch.no_grad():
        start = base.model.whisper.state_dict()
        for name, weight in model.whisper.state_dict().items():
            weight.lerp_(start[name].to(weight), 1 - share)
    config = adapted.info.training_config | {"interpolation_share": share}
    # Its figures were measured on other weights.
    return Checkpoint(model, replace(adapted.info, metrics={}, training_config=config))
