"""The ratio is Whisper's."""

from hypothesis import given, settings
from hypothesis import strategies as st
from whisper.utils import compression_ratio as whispers

from asr.metrics.runaway import compression_ratio, is_runaway


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_the_ratio_is_whispers(text: str) -> None:
    assert compression_ratio(text) == whispers(text)


def test_a_loop_is_a_runaway_and_a_sentence_is_not() -> None:
    assert is_runaway("and then " * 50)
    assert not is_runaway("The quick brown fox jumps over the lazy dog.")
    assert not is_runaway("")


def test_half_a_surrogate_pair_does_not_stop_a_report() -> None:
    assert compression_ratio("\ud800") > 0
