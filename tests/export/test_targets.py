"""The names of targets: each has a runtime."""

from typing import get_args

from asr.export.run import RUNTIMES
from asr.export.targets import Target


def test_every_target_has_a_runtime() -> None:
    assert set(RUNTIMES) == set(get_args(Target))
