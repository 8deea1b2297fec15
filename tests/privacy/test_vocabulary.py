"""The lists of words, and what happens without the package that has the names."""

import sys

import pytest

from asr.errors import MissingExtraError
from asr.privacy.vocabulary import STOP_WORDS, first_names, last_names, plain_first_names


@pytest.mark.parametrize("language", ["fr", "en"])
def test_lists_are_in_lower_case_and_hold_no_stop_words(language: str) -> None:
    for names in (first_names(language), last_names(language)):
        assert len(names) > 500
        assert all(name == name.casefold() for name in names)
        assert not names & STOP_WORDS[language]
    assert plain_first_names(language) < first_names(language)


def test_names_that_are_words_need_more() -> None:
    assert "rose" in first_names("en") and "rose" not in plain_first_names("en")
    assert "paris" not in first_names("en")
    assert {"claire", "mohamed", "ginette"} <= plain_first_names("fr")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "faker"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "faker", None)
    first_names.cache_clear()
    with pytest.raises(MissingExtraError, match=r"Faker.*dialect-asr\[privacy\]"):
        first_names("fr")
