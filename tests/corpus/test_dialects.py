"""Dialect tags against BCP 47, languages against Whisper's own list."""

import pytest

from asr.corpus.dialects import WHISPER_LANGUAGES, goes_with, implied_language, tag_fault, wider_tag


def test_languages_are_those_of_whisper() -> None:
    from whisper.tokenizer import LANGUAGES

    assert set(LANGUAGES) == WHISPER_LANGUAGES


@pytest.mark.parametrize(
    "tag",
    ["fr", "fr-CA", "gsw-CH", "en-GB-x-cumbria", "en-x-zh", "EN-gb", "en-021", "de-1996", "sl-nedis", "en-scotland",
     "oc-FR-x-gascon-1", "zh-Hant-TW"],
)  # fmt: skip
def test_tags(tag: str) -> None:
    assert tag_fault(tag) is None


@pytest.mark.parametrize(
    ("tag", "fault"),
    [
        ("fr_CA", "joined by '-'"),
        ("en Indian (L1 Tamil)", "alphanumeric"),
        ("québécois", "ASCII"),
        ("french", "language code"),
        ("xx-YY", "registered"),
        ("fr-CA-CA", "out of place"),
        ("en-US-nyc", "out of place"),
        ("en-x-thetagistoolong", "alphanumeric"),
        ("x-cumbria", "names no language"),
        ("und-FR", "names no language"),
        ("en-", "alphanumeric"),
    ],
)
def test_no_tags(tag: str, fault: str) -> None:
    found = tag_fault(tag)
    assert found is not None
    assert fault in found


@pytest.mark.parametrize(
    ("tag", "language"),
    [("fr-CA", "fr"), ("en-GB-x-cumbria", "en"), ("gsw-CH", "de"), ("bar-AT", "de"), ("sco", "en"), ("gcf-GP", "fr"),
     ("pcd", "fr"), ("yue-HK", "yue"), ("yue-HK", "zh"), ("cmn-CN", "zh"), ("nan-TW", "zh"), ("arz-EG", "ar"),
     ("nb-NO", "no"), ("nn-NO", "nn"), ("jv-ID", "jw"), ("fil-PH", "tl"), ("iw", "he"), ("ht", "fr")],
)  # fmt: skip
def test_dialects_that_go_with_a_language(tag: str, language: str) -> None:
    assert goes_with(tag, language)


@pytest.mark.parametrize(
    ("tag", "language"),
    [("fr-CA", "en"), ("en-x-fr", "fr"), ("de-AT", "nl"), ("ca-ES", "es"), ("yue-HK", "en"), ("nb-NO", "da")],
)
def test_dialects_that_do_not(tag: str, language: str) -> None:
    assert not goes_with(tag, language)


@pytest.mark.parametrize(
    ("tag", "language"),
    [("fr-CA", "fr"), ("EN-gb-x-cumbria", "en"), ("nb-NO", "no"), ("cmn-CN", "zh"), ("gsw-CH", None), ("gcf", None)],
)
def test_a_dialect_implies_its_language_where_whisper_knows_it(tag: str, language: str | None) -> None:
    assert implied_language(tag) == language


@pytest.mark.parametrize(
    ("tag", "steps"),
    [
        # The example of RFC 4647, section 3.4.
        ("zh-Hant-CN-x-private1-private2", ["zh-Hant-CN-x-private1", "zh-Hant-CN", "zh-Hant", "zh"]),
        ("en-GB-x-cumbria", ["en-GB", "en"]),
        ("en-scotland", ["en"]),
        ("fr", []),
        ("x-cumbria", []),
    ],
)
def test_a_tag_widens_step_by_step(tag: str, steps: list[str]) -> None:
    found = []
    step: str | None = tag
    while (step := wider_tag(step)) is not None:
        found.append(step)
    assert found == steps
