"""Labels as entries of controls, and back: what is left alone changes nothing, what is changed is looked up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.fragment import Expression, Fragment, WordTime
from asr.importers.entries import answered, entries_of

BASE = Fragment(id="a", audio="a.wav", text="", language="fr")
SAID = BASE.replace(
    text="Et toi , et moi",
    dialect="fr-BE",
    intonation="question",
    emphasis=(3,),
    expressions=(Expression(text="toi", standard="tu", start_word=1),),
    text_standard="Et tu",
    words=(WordTime(text="Et", start=0.0, duration=0.1),),
    custom={"mic": "phone"},
)


def test_entries() -> None:
    assert entries_of(SAID) == {
        "text": ("Et toi , et moi",),
        "dialect": ("fr-BE",),
        "intonation": ("question",),
        "emphasis": ("et",),
        "expressions": ("toi = tu",),
    }
    assert entries_of(SAID.replace(text="la la la", emphasis=(0, 2), expressions=()))["emphasis"] == (
        "la (1)",
        "la (3)",
    )
    assert entries_of(BASE) == {}


label = st.none() | st.sampled_from(["fr-BE", "rise", "x = y"])
words = st.lists(st.text(min_size=1, max_size=4).filter(str.strip), max_size=6).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_answers_that_change_nothing_change_nothing(data: st.DataObject) -> None:
    text = data.draw(words | st.text(max_size=8))
    count = len(text.split())
    index = st.integers(0, max(count - 1, 0))
    expression = st.builds(
        Expression,
        text=st.text(min_size=1, max_size=5),
        standard=st.none() | st.text(max_size=4),
        start_word=st.none() | index,
    )
    fragment = BASE.replace(
        text=text,
        dialect=data.draw(label),
        tune=data.draw(label),
        emphasis=tuple(data.draw(st.lists(index, max_size=3))),
        expressions=tuple(data.draw(st.lists(expression, max_size=2))),
        custom=data.draw(st.dictionaries(st.sampled_from(["cannot_tell", "unmapped", "x"]), st.lists(
            st.sampled_from(["text", "dialect", "tune", 1]), max_size=3))),
    )  # fmt: skip
    assert answered(fragment, entries_of(fragment)) == fragment


@settings(max_examples=200, deadline=None)
@given(words, st.data())
def test_emphasis_is_found_again_in_the_same_words(text: str, data: st.DataObject) -> None:
    count = len(text.split())
    chosen = data.draw(st.lists(st.integers(0, count - 1), max_size=4, unique=True)) if count else []
    shown = entries_of(BASE.replace(text=text, emphasis=tuple(chosen)))
    assert answered(BASE, shown).emphasis == tuple(chosen)


def test_another_text_takes_what_belongs_to_the_old_one_with_it() -> None:
    made = answered(SAID, entries_of(SAID) | {"text": ("Toi, ET MOI !",)})
    assert (made.text, made.text_standard, made.words) == ("Toi, ET MOI !", None, ())
    assert made.emphasis == (1,)  # "et", but for case
    assert made.expressions == (Expression(text="toi", standard="tu", start_word=0),)
    assert (made.dialect, made.custom) == ("fr-BE", {"mic": "phone"})


@pytest.mark.parametrize(
    ("entries", "found", "lost"),
    [
        (("toi",), (1,), None),
        (("et", "ET"), (3, 0), None),  # as it is written comes first, then but for case
        (("ET (2)", "moi (1)"), (3, 4), None),
        (("et (3)", "lui", ""), (), ["et (3)", "lui", ""]),
        (("toi", "toi"), (1,), None),
    ],
)
def test_emphasised_words(entries: tuple[str, ...], found: tuple[int, ...], lost: list[str] | None) -> None:
    text = "Et toi , et moi"
    made = answered(BASE, {"text": (text,), "emphasis": entries})
    assert made.emphasis == found
    assert made.custom == ({"unmapped": {"emphasis": lost}} if lost else {})


def test_what_nobody_can_tell_is_noted_and_comes_back() -> None:
    entries = {
        "text": ("oui",),
        "dialect": ("cannot tell",),
        "tune": ("rise",),
        "cannot_tell": ("emphasis", "nonsense"),
    }
    made = answered(SAID, entries)
    assert (made.dialect, made.intonation, made.tune, made.emphasis) == (None, None, "rise", ())
    assert made.custom == {"mic": "phone", "cannot_tell": ["dialect", "emphasis"]}
    assert answered(made, entries_of(made)) == made
    sure = answered(made, entries_of(made) | {"dialect": ("fr-CH",), "cannot_tell": ()})
    assert (sure.dialect, sure.custom) == ("fr-CH", {"mic": "phone"})
    assert answered(SAID, {"text": ("x",), "cannot_tell": ("text",)}).text == ""


def test_several_choices_are_reported_and_not_chosen_from() -> None:
    made = answered(SAID, entries_of(SAID) | {"dialect": ("fr-BE", "fr-CH")})
    assert (made.dialect, made.custom["unmapped"]) == (None, {"dialect": ["fr-BE", "fr-CH"]})
