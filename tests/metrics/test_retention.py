"""The gate by hand: made-up counts with known relative changes."""

from __future__ import annotations

import pytest

from asr.errors import AsrError
from asr.metrics.retention import Count, choose, judge

BEFORE = {"dialect=fr-CA": Count(300, 1000), "dialect=en-US": Count(100, 1000), "overall": Count(400, 2000)}


def after(dialect: int, standard: int) -> dict[str, Count]:
    return {"dialect=fr-CA": Count(dialect, 1000), "dialect=en-US": Count(standard, 1000), "overall": Count(1, 2000)}


def test_the_best_of_those_that_harm_nobody() -> None:
    models = {"greedy": after(100, 103), "kept": after(150, 102), "timid": after(280, 90)}
    verdicts = [judge(name, counts, BEFORE, ["dialect=en-US"]) for name, counts in models.items()]
    assert [verdict.passed for verdict in verdicts] == [False, True, True]
    assert [str(harm) for harm in verdicts[0].harmed] == ["dialect=en-US 10.00 → 10.30 % (+3.0 %)"]
    best = choose(verdicts)
    assert best is not None and (best.name, best.worst, best.wer) == ("kept", "dialect=fr-CA", 15.0)
    assert choose(verdicts[:1]) is None
    # A wider limit lets the first one through.
    assert judge("greedy", models["greedy"], BEFORE, ["dialect=en-US"], 3.0).passed


def test_a_group_without_errors_may_get_none() -> None:
    before = BEFORE | {"dialect=en-US": Count(0, 1000)}
    assert judge("same", after(1, 0), before, ["dialect=en-US"]).passed
    harmed = judge("one", after(1, 1), before, ["dialect=en-US"]).harmed
    assert str(harmed[0]) == "dialect=en-US 0.00 → 0.10 % (from none)"


def test_a_dialect_of_few_words_does_not_choose() -> None:
    counts = after(150, 100) | {"dialect=fr-BE": Count(9, 10)}
    assert judge("one", counts, BEFORE, ["dialect=en-US"]).worst == "dialect=fr-CA"
    assert judge("one", counts, BEFORE, ["dialect=en-US"], learnt=["dialect=fr-BE"]).worst == "dialect=fr-BE"


def test_what_cannot_be_judged() -> None:
    with pytest.raises(AsrError, match=r"'dialect=de' was not measured in one; there are dialect=en-US, dialect=fr-CA"):
        judge("one", after(1, 1), BEFORE, ["dialect=de"])
    with pytest.raises(AsrError, match="has 1000 words in one and 999 in its baseline"):
        judge("one", after(1, 1), BEFORE | {"dialect=en-US": Count(1, 999)}, ["dialect=en-US"])
