"""Memory that is free goes back to the system."""

import sys
from pathlib import Path

import numpy as np
import pytest

from asr.inference.memory import give_back


def megabytes() -> float:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="glibc keeps what is free")
def test_what_is_free_between_what_is_not_goes_back() -> None:
    blocks = [np.ones(1250) for _ in range(20_000)]
    kept = blocks[::100]
    blocks.clear()
    before = megabytes()
    give_back()
    assert before - megabytes() > 100 and len(kept) == 200
