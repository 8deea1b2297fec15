"""Our recognisers together: their score on sentences of both parts, their time, and what they are given by accident."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError
from asr.privacy.spoken import spoken_spans

WORDS = """
at dot com arobase point fr zéro six double u rue de des lilas 12 FR76 A M comme je m'appelle Jean , . ' - [PHONE]
né le mai soixante cent mille et my name is speaking Mr. Street Queen's @ _ \u2019
"""


@given(
    st.lists(st.sampled_from([*WORDS.split(), "\x00", "\n"]), max_size=30),
    st.sampled_from(["fr", "en"]),
    st.sampled_from(["", " "]),
)
@settings(max_examples=150)
def test_spans_are_in_order_and_begin_and_end_with_words(words: list[str], language: str, between: str) -> None:
    text = between.join(words)
    end = 0
    for span in spoken_spans(text, language):
        assert end <= span.start < span.end <= len(text)
        assert not text[span.start].isspace() and not text[span.end - 1].isspace()
        assert 0 < span.score <= 1
        end = span.end


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize(
    "piece",
    [
        "at dot ", "a.", "rue de ", "douze rue des lilas ", "A B ", "né le 1 mai ", "my name is Jean ",
         "arobase point fr ",
        "fr76 west ", "cent mille et ", "Jean-", "M comme ", "twelve Rose Lane ", "double ",
    ],
)  # fmt: skip
def test_ten_thousand_words_are_no_trouble(piece: str, language: str) -> None:
    text = piece * (10_000 // len(piece.split()))
    begin = time.process_time()
    spoken_spans(text, language)
    # It takes a few tenths of a second; what grows with the square of the words, or worse, would take minutes.
    assert time.process_time() - begin < 10


def test_what_is_no_speech() -> None:
    for text in ("", " ", "\x00\x1f", "\ud800", "…", "[PHONE]", "🎉🎉"):
        assert spoken_spans(text, "fr") == ()
    with pytest.raises(ConfigError, match="French"):
        spoken_spans("hallo", "de")


def test_it_needs_no_model() -> None:
    source = (Path(__file__).parents[2] / "asr/privacy/spoken.py").read_text("utf-8")
    assert "find" not in [line.split()[1].rpartition(".")[2] for line in source.splitlines() if line.startswith("from")]
