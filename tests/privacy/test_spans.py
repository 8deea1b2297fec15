"""Words with their places, and spans that are merged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ConfigError
from asr.privacy.spans import Span, check_language, cut, resolve

TEXTS = st.text(alphabet=st.sampled_from("aZé0 .,'’-[]@\n\t\u00a0\x00\x1f"), max_size=40)


@given(TEXTS)
def test_words_stand_where_they_say(text: str) -> None:
    words = cut(text)
    end = 0
    for word in words:
        assert word.start >= end
        assert word.key == text[word.start : word.end].casefold()
        assert len(word.gap) == word.start - end
        end = word.end
    # Nothing with a letter or digit is passed over.
    left = list(text)
    for word in words:
        left[word.start : word.end] = " " * (word.end - word.start)
    assert not any(map(str.isalnum, left))


def test_gaps_and_masks() -> None:
    words = cut("Bon. Il a 06.44, d'Anne-Lise [PHONE] !")
    assert [word.key for word in words] == ["bon", "il", "a", "06", "44", "d", "anne", "lise", "[phone]"]
    assert [word.hard for word in words] == [False, True, False, False, False, False, False, False, False]
    assert [word.soft for word in words] == [False, True, False, False, False, True, False, False, False]


SPANS = st.lists(
    st.builds(
        lambda start, length, kind, score: Span(start, start + length, kind, score),
        st.integers(0, 30),
        st.integers(1, 8),
        st.sampled_from(["NAME", "PHONE"]),
        st.sampled_from([0.5, 0.9]),
    ),
    max_size=8,
)


@given(SPANS)
def test_merged_spans_cover_the_same_characters(spans: list[Span]) -> None:
    merged = resolve(spans)
    covered = {place for span in spans for place in range(span.start, span.end)}
    assert [place for span in merged for place in range(span.start, span.end)] == sorted(covered)


def test_the_surest_type_wins_and_then_the_longest() -> None:
    assert resolve([Span(0, 9, "NAME", 0.6), Span(2, 4, "EMAIL", 0.9)]) == (Span(0, 9, "EMAIL", 0.9),)
    assert resolve([Span(0, 3, "NAME", 0.9), Span(2, 9, "STREET", 0.9)]) == (Span(0, 9, "STREET", 0.9),)


@pytest.mark.parametrize("language", ["de", "", "FR", "français"])
def test_other_languages_are_refused(language: str) -> None:
    with pytest.raises(ConfigError, match=r"French .* and English"):
        check_language(language)
