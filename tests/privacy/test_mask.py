"""A masked fragment against a twin that is masked word by word."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError, ManifestError
from asr.fragment import Expression, Fragment, WordTime
from asr.privacy import mask
from asr.privacy.mask import mask_fragment, mask_text, word_places
from asr.privacy.spans import Span

BASE = {"id": "f", "audio": "a.wav", "language": "fr"}


def timed(text: str) -> tuple[WordTime, ...]:
    return tuple(WordTime(text=word, start=float(place), duration=0.5) for place, word in enumerate(text.split()))


@st.composite
def masked_texts(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """A text, and spans that begin and end anywhere but at a blank."""
    words = draw(st.lists(st.text(alphabet="abcé',-.", min_size=1, max_size=5), min_size=1, max_size=10))
    text = draw(st.sampled_from(["", " "])) + draw(st.sampled_from([" ", "  ", "\n"])).join(words)
    inside = [place for place, letter in enumerate(text) if not letter.isspace()]
    ends = sorted(draw(st.lists(st.sampled_from(inside), max_size=6, unique=True)))
    pairs = list(zip(ends[::2], ends[1::2], strict=False))
    return text, [Span(first, last + 1, "NAME", 1.0) for first, last in pairs]


@given(masked_texts(), st.data())
@settings(max_examples=200)
def test_what_counts_words_counts_the_new_ones(given_text: tuple[str, list[Span]], data: st.DataObject) -> None:
    text, spans = given_text
    old = text.split()
    emphasis = tuple(sorted(data.draw(st.sets(st.integers(0, len(old) - 1)))))
    start = data.draw(st.integers(0, len(old) - 1))
    length = data.draw(st.integers(1, len(old) - start))
    expression = Expression(text=" ".join(old[start : start + length]), start_word=start)
    fragment = Fragment(**BASE, text=text, words=timed(text), emphasis=emphasis, expressions=(expression,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask, "find_spans", lambda given, _: tuple(spans) if given == text else ())
        masked = mask_fragment(fragment).fragment
    new = masked.text.split()

    # The twin: a letter of each word says where the word went.
    places, at = [], 0
    for word in old:
        at = text.index(word, at)
        places.append((at, at + len(word)))
        at += len(word)
    gone = [any(span.start < last and first < span.end for span in spans) for first, last in places]
    home, count = [], 0
    for (first, _), before in zip(places, [None, *places], strict=False):
        glued = before is not None and any(span.start < before[1] and first < span.end for span in spans)
        count += not glued
        home.append(count - 1)
    assert len(new) == count
    for place, word in enumerate(old):
        assert new[home[place]] == word if not gone[place] else "[NAME]" in new[home[place]]
    assert masked.emphasis == tuple(dict.fromkeys(home[place] for place in emphasis))

    # Words with times are those of the text, each from the start of its first to the end of its last.
    assert [word.text for word in masked.words] == new
    for place, word in enumerate(masked.words):
        own = [number for number, where in enumerate(home) if where == place]
        assert (word.start, word.end) == (own[0], own[-1] + 0.5)

    if any(gone[start : start + length]):
        assert masked.expressions == ()
    else:
        (moved,) = masked.expressions
        assert moved.start_word is not None
        assert new[moved.start_word : moved.end_word] == old[start : start + length]


def test_a_whole_fragment() -> None:
    text = "Euh, je m'appelle Marie Dupont, mon numéro c'est le zéro six, douze, trente, vingt, dix, chu ben content."
    fragment = Fragment(
        **BASE,
        text=text,
        text_standard="Je m'appelle Marie Dupont et je suis content.",
        words=timed(text),
        emphasis=(3, 4, 15),
        expressions=(
            Expression(text="chu ben", standard="je suis bien", start_word=15),
            Expression(text="Marie Dupont"),
        ),
        custom={"said": "ici Marie Dupont", "code": "0612345678", "list": [{"deep": "je m'appelle Marie"}], "n": 3},
    )
    found = mask_fragment(fragment)
    masked = found.fragment
    assert [span.type for span in found.spans] == ["NAME", "PHONE"]
    assert masked.text == "Euh, je m'appelle [NAME], mon numéro c'est le [PHONE], chu ben content."
    assert masked.text_standard == "Je m'appelle [NAME] et je suis content."
    assert [word.text for word in masked.words] == masked.text.split()
    assert masked.emphasis == (3, 9)
    assert masked.expressions == (Expression(text="chu ben", standard="je suis bien", start_word=9),)
    assert masked.custom == {
        "said": "ici [NAME]",
        "code": "0612345678",
        "list": [{"deep": "je m'appelle [NAME]"}],
        "n": 3,
    }
    # Done twice is done once, and nothing personal changes nothing.
    assert mask_fragment(masked).fragment == masked
    plain = Fragment(**BASE, text="Il fait beau.", emphasis=(9,), custom={"a": None})
    assert mask_fragment(plain).fragment == plain


def test_words_may_be_cut_and_written_otherwise() -> None:
    fragment = Fragment(
        **BASE,
        text="Bonjour, c'est l'amie d'Anne-Lise.",
        words=tuple(
            WordTime(text=word, start=float(place), duration=1.0)
            for place, word in enumerate(["bonjour", "c'", "est", "l'amie,", "d'anne", "lise"])
        ),
    )
    assert [fragment.text[first:last] for first, last in word_places(fragment)] == [
        "Bonjour", "c'", "est", "l'amie", "d'Anne", "Lise"
    ]  # fmt: skip
    masked = mask_fragment(fragment).fragment
    assert masked.text == "Bonjour, c'est l'amie d'[NAME]."
    assert [(word.text, word.start, word.end) for word in masked.words][-1] == ("d'[NAME]", 4.0, 6.0)


@pytest.mark.parametrize(
    "words", ["je m'appelle Luc", "je m'appelle Marie Dupont enfin", "m'appelle Marie Dupont", "je m'appelle Marie"]
)
def test_words_of_another_text_are_refused(words: str) -> None:
    fragment = Fragment(**BASE, text="je m'appelle Marie Dupont", words=timed(words))
    with pytest.raises(ManifestError, match="words with times of fragment 'f'"):
        mask_fragment(fragment)


def test_bad_input() -> None:
    assert mask_fragment(Fragment(**BASE, text="")).fragment.text == ""
    assert mask_text("", ()) == ""
    assert "Marie" not in mask_fragment(Fragment(**BASE, text="je m'appelle\x00 Marie\x07")).fragment.text
    with pytest.raises(ConfigError, match="'gsw'"):
        mask_fragment(Fragment(**(BASE | {"language": "gsw"}), text="Grüezi"))
    deep: dict[str, object] = {}
    for _ in range(30):
        deep = {"in": deep}
    with pytest.raises(ManifestError, match="nested"):
        mask_fragment(Fragment(**BASE, text="a", custom=deep))
