"""Where personal data is silenced, and that nothing else is touched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ManifestError
from asr.fragment import Fragment, WordTime
from asr.privacy.silence import mask_samples, silences
from asr.privacy.spans import Span

WORDS = (("c'est", 1.0, 0.2), ("Marie", 1.3, 0.3), ("Dupont,", 1.7, 0.4), ("oui", 2.4, 0.2), ("Luc", 2.7, 0.3))


def fragment(words: tuple[tuple[str, float, float], ...] = WORDS) -> Fragment:
    timed = tuple(WordTime(text=text, start=start, duration=duration) for text, start, duration in words)
    return Fragment(id="f", audio="a.wav", text="c'est Marie Dupont, oui Luc", language="fr", start=1.0, words=timed)


def test_times_are_those_of_the_words_and_a_margin() -> None:
    assert silences(fragment(), ()) == ()
    (one,) = silences(fragment(), [Span(6, 18, "NAME", 1.0)])
    assert one == pytest.approx((1.2, 2.2))
    # "Dupont" and "Luc" are 0.6 s apart, "oui" and "Luc" 0.1 s: what the margins join is one stretch.
    assert silences(fragment(), [Span(12, 18, "NAME", 1.0), Span(24, 27, "NAME", 1.0)]) == (
        pytest.approx((1.6, 2.2)),
        pytest.approx((2.6, 3.1)),
    )
    assert silences(fragment(), [Span(20, 23, "NAME", 1.0), Span(24, 27, "NAME", 1.0)]) == (pytest.approx((2.3, 3.1)),)


def test_without_times_there_is_no_masking() -> None:
    with pytest.raises(ManifestError, match=r"fragment 'f' has personal data .* no times of its words"):
        silences(fragment(()), [Span(6, 18, "NAME", 1.0)])
    with pytest.raises(ManifestError, match="are not those of its text"):
        silences(fragment(WORDS[:3]), [Span(6, 18, "NAME", 1.0)])


STRETCHES = st.lists(
    st.tuples(st.floats(-1, 3), st.floats(0, 1.5)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=4
)


@given(STRETCHES, st.booleans(), st.sampled_from([8000, 16000, 44100]), st.sampled_from([0.0, 0.25]))
def test_all_other_samples_are_the_same_bit_for_bit(
    stretches: list[tuple[float, float]], beep: bool, rate: int, start: float
) -> None:
    samples = np.random.default_rng(0).uniform(0.5, 1, rate).astype(np.float32)
    before = samples.copy()
    masked = mask_samples(samples, rate, stretches, start=start, beep=beep)
    assert np.array_equal(samples, before) and masked.dtype == np.float32 and len(masked) == rate
    times = start + np.arange(rate) / rate
    inside = np.zeros(rate, bool)
    near = np.zeros(rate, bool)
    for begin, end in stretches:
        inside |= (times >= begin) & (times < end)
        near |= (times > begin - 2 / rate) & (times < end + 2 / rate)
    # Nothing of what was said is left, and nothing more than a sample at either end is lost.
    assert not (masked[inside] == samples[inside]).any()
    assert masked[~near].tobytes() == samples[~near].tobytes()
    if not beep:
        assert not masked[inside].any()


def test_the_tone_is_one_of_1_khz_without_clicks() -> None:
    samples = np.ones(16000, np.float32)
    tone = mask_samples(samples, 16000, [(0.25, 0.75)], beep=True)[4000:12000]
    spectrum = np.abs(np.fft.rfft(tone))
    assert np.fft.rfftfreq(len(tone), 1 / 16000)[spectrum.argmax()] == pytest.approx(1000, abs=2)
    assert np.abs(tone).max() == pytest.approx(0.1, rel=0.01)
    # It begins and ends at nothing; in the middle a sample moves by up to 0.1 * 2 pi / 16.
    assert abs(tone[0]) < 1e-6 and abs(tone[-1]) < 1e-6
    assert np.abs(np.diff(tone[:40])).max() < 0.01
