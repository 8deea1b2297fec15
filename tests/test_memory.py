"""Memory that is free goes back to the system."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asr.memory import give_back


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


def told_by(script: str) -> tuple[float, float]:
    """Two numbers, from a process of its own: what is asked of glibc holds for all that follows."""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    without, kept = map(float, found.stdout.split())
    return without, kept


# Blocks of 8 MB, each with a small one behind it that stays.
AT_ONCE = """
import sys
from pathlib import Path
import numpy as np
from asr.memory import give_back_at_once

def megabytes():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024

def kept():
    blocks, small = [], []
    for _ in range(30):
        blocks.append(np.ones(1 << 20))
        small.append(np.ones(1000))
    before = megabytes()
    blocks.clear()
    return 240 - (before - megabytes())

# glibc maps from a size on that it raises to that of what was freed last.
del_me = np.ones(3 << 20)
del del_me
without = kept()
give_back_at_once()
print(without, kept())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc keeps what is free")
def test_large_blocks_go_back_at_once() -> None:
    without, kept = told_by(AT_ONCE)
    assert kept < 10 < 100 < without


KEPT = """
import resource
import numpy as np
from asr.memory import keep

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(8 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

without = faults()
keep()
faults()
print(without, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc gives large blocks back")
def test_what_a_step_has_freed_is_there_for_the_next() -> None:
    without, kept = told_by(KEPT)
    assert kept * 20 < without
