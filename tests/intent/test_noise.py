"""Learnt errors against counts by hand, and what they do to a text in the long run."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from asr.errors import ManifestError
from asr.intent.noise import learn_confusions, read_pairs

# "light" is heard four times, once as "lite" and once not at all; "the" is heard six times, once with "uh" before it.
PAIRS = [
    ("The light.", "the light"),
    ("the light", "the lite"),
    ("the light", "the"),
    ("the light", "uh the light"),
    ("the door", "the boor"),
    ("the", "the"),
]


def test_what_is_learnt_is_what_happened() -> None:
    found = learn_confusions(PAIRS)
    assert set(found.words) == {"the", "light"}
    assert dict(zip(found.words["light"].heard, found.words["light"].counts, strict=True)) == {
        "": 1, "light": 2, "lite": 1
    }  # fmt: skip
    assert dict(zip(found.errors.heard, found.errors.counts, strict=True)) == {"": 1, "lite": 1, "boor": 1}
    assert (found.error_rate, found.insertion_rate) == (3 / 11, 1 / 11)
    assert found.insertions.heard == ("uh",)


def test_errors_come_as_often_as_they_were_heard() -> None:
    found = learn_confusions(PAIRS)
    source = random.Random(0)
    heard = " ".join(found.corrupt("light", source) or "-" for _ in range(10_000)).split()
    said = [word for word in heard if word != "uh"]
    for word, share in (("light", 0.5), ("lite", 0.25), ("-", 0.25)):
        # An inserted "uh" hides a deletion, which leaves a little less of them.
        assert said.count(word) / len(said) == pytest.approx(share, abs=0.03)
    assert heard.count("uh") / 10_000 == pytest.approx(1 / 11, abs=0.02)
    # A word that nobody has heard is mistaken as often as all words are.
    unknown = [found.corrupt("zebra", source).removeprefix("uh").strip() for _ in range(10_000)]
    assert unknown.count("zebra") / 10_000 == pytest.approx(8 / 11, abs=0.02)
    assert set(unknown) == {"zebra", "", "lite", "boor"}


def test_the_same_draws_give_the_same_errors_in_any_order_of_pairs() -> None:
    one, other = learn_confusions(PAIRS), learn_confusions(PAIRS[::-1])
    texts = ["the light in the hall", "open the door"] * 20
    first, second = random.Random(3), random.Random(3)
    assert [one.corrupt(text, first) for text in texts] == [other.corrupt(text, second) for text in texts]


def test_a_recogniser_without_errors_changes_nothing() -> None:
    found = learn_confusions([("open the door", "open the door")] * 3)
    assert found.corrupt("open the unknown door", random.Random(0)) == "open the unknown door"


def test_batches_add_up() -> None:
    assert learn_confusions(PAIRS * 300).error_rate == learn_confusions(PAIRS).error_rate


@pytest.mark.parametrize("pairs", [[], [("", "uh"), ("?!", "")]])
def test_nothing_to_learn_from_is_a_sentence(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(ManifestError, match="there is no pair of what was said and what was heard"):
        learn_confusions(pairs)


def test_pairs_are_read_and_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "heard.jsonl"
    path.write_text(json.dumps({"text": "a", "heard": "", "more": 1}) + "\n", "utf-8")
    assert read_pairs(path) == [("a", "")]
    for line in ('{"text": "a"}', '{"text": 1, "heard": "b"}', "{"):
        path.write_text('{"text": "a", "heard": "b"}\n' + line, "utf-8")
        with pytest.raises(ManifestError, match=r"heard\.jsonl:2"):
            read_pairs(path)
