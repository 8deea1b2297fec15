"""Where blocks begin and end."""

from pathlib import Path

import numpy as np
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.archive.blocks import MOST_ITEMS, Item, cut
from asr.errors import ManifestError
from asr.fragment import Fragment


def fragment(seconds: float, name: str = "x") -> Fragment:
    return Fragment(id=name, audio="none.wav", text="", language="fr", duration=seconds)


@settings(max_examples=30)
@given(st.lists(st.floats(0.1, 40), max_size=60), st.floats(1, 100), st.sampled_from((0.0, 30.0)), st.integers(1, 4))
def test_a_block_is_full_with_its_last_item(lengths: list[float], full: float, least: float, workers: int) -> None:
    sources = [fragment(seconds, f"f{number}") for number, seconds in enumerate(lengths)]
    blocks = list(cut(sources, full, least, workers))
    assert [item.source for block in blocks for item in block] == sources
    sums = [[max(item.seconds, least) for item in block] for block in blocks]
    assert all(sum(block[:-1]) < full for block in sums)
    assert all(sum(block) >= full for block in sums[:-1])


def test_durations_come_from_manifest_header_or_not_at_all(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(32000), 16000)
    (tmp_path / "b.wav").touch()
    span = Fragment(id="s", audio=str(tmp_path / "a.wav"), text="", language="fr", start=0.5)
    sources = [str(tmp_path / "a.wav"), span, str(tmp_path / "b.wav"), fragment(3), ManifestError("x")]
    (block,) = cut(sources, 1000, 30, 2)
    assert block == [Item(source, seconds) for source, seconds in zip(sources, (2.0, 1.5, 0.0, 3.0, 0.0), strict=True)]


def test_broken_lines_alone_fill_a_block_too() -> None:
    blocks = list(cut((ManifestError("x") for _ in range(MOST_ITEMS + 1)), 10, 0, 1))
    assert [len(block) for block in blocks] == [MOST_ITEMS, 1]
