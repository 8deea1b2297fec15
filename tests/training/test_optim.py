"""The optimiser's numbers in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from asr.training.optim import OptimOptions, adamw


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # Four steps up, then six down to zero at the tenth, which is none any more.
        ("linear", [1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0, 0]),
        ("constant", [1 / 4, 2 / 4, 3 / 4, *[1] * 9]),
        ("cosine", [1 / 4, 2 / 4, 3 / 4, 1, *((1 + math.cos(math.pi * k / 6)) / 2 for k in range(7)), 0]),
    ],
)
def test_schedules(schedule: str, expected: list[float]) -> None:
    options = OptimOptions(schedule=schedule, warmup_steps=4)  # type: ignore[arg-type]
    assert [options.lr_share(step, 10) for step in range(len(expected))] == pytest.approx(expected, abs=1e-12)


def test_no_warm_up_begins_at_the_top() -> None:
    assert OptimOptions(warmup_steps=0).lr_share(0, 10) == 1.0


def test_matrices_decay_and_a_part_that_learns_nothing_has_no_group() -> None:
    linear, norm = torch.nn.Linear(2, 3), torch.nn.LayerNorm(3)
    optimizer = adamw([(list(linear.parameters()), 0.1, 0.3), ([], 0.2, 0.3), (list(norm.parameters()), 0.4, 0.5)])
    found = [(len(group["params"]), group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert found == [(1, 0.1, 0.3), (1, 0.1, 0.0), (0, 0.4, 0.5), (2, 0.4, 0.0)]


def test_the_loss_scale_is_undone_once() -> None:
    parameter = torch.nn.Parameter(torch.ones(4))
    optimizer = adamw([([parameter], 0.1, 0.0)])
    assert optimizer.defaults["fused"]
    # By torch's scaler and not by the optimiser again.
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(3 * parameter.sum()).backward()
    scaler.unscale_(optimizer)
    assert torch.equal(parameter.grad, torch.full_like(parameter, 3.0))
    scaler.step(optimizer)
    assert not torch.equal(parameter, torch.ones(4))
