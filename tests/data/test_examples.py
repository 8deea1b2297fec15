"""Joined examples against what they promise: every fragment once, one speaker, nothing too long, a bounded memory."""

from __future__ import annotations

import random
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asr.data.examples
from asr.corpus.validate import MAX_LABEL_TOKENS, label_tokens
from asr.data.examples import MAX_SECONDS, PAUSE, Example, examples_of
from asr.fragment import Fragment

SPEAKERS = [None, "s1", "s2", "s3"]


def said(name: str, seconds: float, speaker: str | None = "s1", text: str = "hello", **more: object) -> Fragment:
    given = {"language": "en", "audio": "none.wav"} | more
    return Fragment.model_validate({"id": name, "duration": seconds, "speaker": speaker, "text": text} | given)


FRAGMENTS = st.lists(
    st.tuples(st.floats(0.1, 30.0), st.sampled_from(SPEAKERS), st.sampled_from(["", "oui", "a " * 150]), st.booleans()),
    max_size=60,
).map(
    lambda rows: [
        said(f"f{number}", round(seconds, 3), speaker, text, dialect="fr-CA" if tagged else None)
        for number, (seconds, speaker, text, tagged) in enumerate(rows)
    ]
)


@settings(deadline=None)
@given(FRAGMENTS, st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 5))
def test_every_fragment_once_and_of_one_speaker(fragments: list[Fragment], joined: float, seed: int) -> None:
    examples = list(examples_of(fragments, joined, seed))
    assert sorted(part.id for example in examples for part in example.parts) == sorted(item.id for item in fragments)
    assert list(examples_of(fragments, joined, seed)) == examples
    order = {fragment.id: number for number, fragment in enumerate(fragments)}
    for example in examples:
        assert example.seconds <= MAX_SECONDS
        assert len({(part.speaker, part.language, part.dialect) for part in example.parts}) == 1
        numbers = [order[part.id] for part in example.parts]
        assert numbers == sorted(numbers)
        if len(numbers) > 1:
            assert example.parts[0].speaker is not None and all(part.text for part in example.parts)
            # Its label with times has room: two of them around each part, and what the tokenizer counts.
            assert label_tokens(example.fragment.text) + 2 * len(numbers) <= MAX_LABEL_TOKENS
        if example.before is not None:
            same = (example.parts[0].speaker, example.parts[0].language, example.parts[0].dialect)
            earlier = [
                item
                for item in fragments[: numbers[0]]
                if (item.speaker, item.language, item.dialect) == same and item.text.strip()
            ]
            assert example.before == earlier[-1]


def test_the_share_is_that_of_the_fragments_and_the_rest_is_as_it_was() -> None:
    fragments = [said(f"f{number}", 2.0, f"s{number % 7}") for number in range(2000)]
    assert [example.parts for example in examples_of(fragments)] == [(fragment,) for fragment in fragments]
    examples = list(examples_of(fragments, 0.2, 3))
    joined = [example for example in examples if len(example.parts) > 1]
    assert 0.15 < len(list(chain(*(example.parts for example in joined)))) / 2000 < 0.25
    # Long ones, from 10 s to what the encoder hears, and not all of one length.
    lengths = sorted(example.seconds for example in joined)
    assert lengths[len(lengths) // 10] >= 10 and lengths[-1] > 25 and lengths[len(lengths) // 2] < 25
    # All but the first of every speaker know what was said before.
    assert sum(example.before is None for example in examples) <= 7


def test_a_joined_example_as_one_fragment() -> None:
    parts = (
        said("a", 2.0, text=" hello ", intonation="question", emphasis=[0], dialect="en-IN"),
        said("b", 3.0, text="there", dialect="en-IN"),
    )
    whole = Example(parts).fragment
    assert (whole.id, whole.text, whole.duration) == ("a+b", "hello there", 5.0 + PAUSE[1])
    assert (whole.dialect, whole.intonation, whole.emphasis) == ("en-IN", None, ())
    assert Example(parts[:1]).fragment is parts[0]


def test_what_is_not_wanted_leaves_the_rest() -> None:
    one, two, three = (said(name, 1.0) for name in "abc")
    example = Example((two, three), one)
    assert example.only(lambda item: item.id != "b") == Example((three,), one)
    assert example.only(lambda item: item.id != "a") == Example((two, three))
    assert example.only(lambda item: item.id == "a") is None


def test_only_so_many_speakers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asr.data.examples, "_SPEAKERS", 3)
    chance = random.Random(0)
    fragments = [said(f"f{number}", 1.0, f"s{chance.randrange(20)}") for number in range(500)]
    waiting: set[str] = set()
    most = 0
    # Nobody is held who has not spoken lately: what was read and not given is of the last three speakers.
    given = []

    def read() -> object:
        nonlocal most
        for fragment in fragments:
            waiting.add(fragment.id)
            yield fragment
            most = max(most, len(waiting))

    for example in examples_of(read(), 1.0):  # type: ignore[arg-type]
        waiting.difference_update(part.id for part in example.parts)
        given += example.parts
    assert len(given) == 500
    assert most < 3 * MAX_SECONDS
