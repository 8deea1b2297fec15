"""Consent: to the day, for a purpose, and what happens where there is none."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ManifestError
from asr.fragment import Consent, Fragment, Purpose, write_manifest
from asr.privacy.consent import ConsentCheck, Reason, ask, consented, read_consented, refusal

TODAY = date.today()
DAY = timedelta(days=1)
days = st.integers(-3, 3).map(lambda number: TODAY + number * DAY)


def fragment(name: str, consent: Consent | None) -> Fragment:
    return Fragment(id=name, audio="/a.wav", text="x", language="fr", speaker="secret", consent=consent)


def agreed(**changes: object) -> Consent:
    return Consent.model_validate({"id": "c", "purposes": ("training",)} | changes)


@given(granted=st.none() | days, expires=st.none() | days, withdrawn=st.none() | days, on=days)
def test_consent_holds_on_the_days_that_lie_between(
    granted: date | None, expires: date | None, withdrawn: date | None, on: date
) -> None:
    # Told by sets of days instead of comparisons.
    valid = {TODAY + number * DAY for number in range(-10, 11)}
    if granted:
        valid &= {granted + number * DAY for number in range(20)}
    if expires:
        valid &= {expires - number * DAY for number in range(20)}
    if withdrawn:
        valid -= {withdrawn + number * DAY for number in range(20)}
    consent = agreed(granted=granted, expires=expires, withdrawn=withdrawn)
    assert (refusal(consent, "training", on) is None) == (on in valid)


@pytest.mark.parametrize(
    ("consent", "reason"),
    [
        (None, "none"),
        (agreed(purposes=()), "purpose"),
        (agreed(purposes=("evaluation", "Training")), "purpose"),
        (agreed(granted=TODAY), None),
        (agreed(granted=TODAY + DAY), "not yet"),
        (agreed(expires=TODAY), None),
        (agreed(expires=TODAY - DAY), "expired"),
        (agreed(withdrawn=TODAY + DAY), None),
        (agreed(withdrawn=TODAY), "withdrawn"),
        (agreed(granted=TODAY, expires=TODAY, withdrawn=TODAY), "withdrawn"),
    ],
)
def test_every_reason(consent: Consent | None, reason: Reason | None) -> None:
    refused: Counter[str] = Counter()
    kept = list(consented([fragment("a", consent)], "training", on=TODAY, refused=refused))
    assert len(kept) == (reason is None)
    assert refused == ({} if reason is None else {reason: 1})


def test_it_streams() -> None:
    def endless():  # type: ignore[no-untyped-def]
        while True:
            yield fragment("a", None)
            yield fragment("b", agreed())

    refused: Counter[str] = Counter()
    assert next(consented(endless(), "training", on=TODAY, refused=refused)).id == "b"
    assert refused == {"none": 1}


def test_a_run_that_began_earlier_keeps_places_and_hears_less() -> None:
    began = TODAY - 2 * DAY
    check = ConsentCheck("training", began)
    cases = {
        "still": (agreed(), True, True),
        "withdrawn since": (agreed(withdrawn=TODAY - DAY), True, False),
        "withdrawn on the first day": (agreed(withdrawn=began), True, False),
        "withdrawn before": (agreed(withdrawn=began - DAY), False, False),
        "expired since": (agreed(expires=began), True, False),
        "granted since": (agreed(granted=TODAY - DAY), False, True),
        "never": (None, False, False),
    }
    for name, (consent, place, heard) in cases.items():
        one = fragment(name, consent)
        assert (check.has_place(one), check.allows(one)) == (place, heard), name
        # What keeps no place goes by the day alone.
        assert check.today.has_place(one) == check.today.allows(one) == heard, name


def test_what_is_refused_is_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    write_manifest([fragment("a", agreed()), fragment("b", None), fragment("c", agreed(withdrawn=TODAY))], one)
    write_manifest([fragment("d", agreed()), fragment("e", None)], two)
    one.write_text(one.read_text() + "{broken\n")
    with caplog.at_level(logging.WARNING):
        assert ask([one, two], ConsentCheck("training")) == {"none": 2, "withdrawn": 1}
    assert caplog.messages == [
        "one.jsonl: 2 of 3 fragments are refused for want of consent to training (1 none, 1 withdrawn)",
        "two.jsonl: 1 of 2 fragments are refused for want of consent to training (1 none)",
    ]
    assert [item.id for item in read_consented(one, ConsentCheck("training"))] == ["a"]
    assert [item.id for item in read_consented(one, None)] == ["a", "b", "c"]


def test_an_ended_consent_is_said_of_a_run_that_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "m.jsonl"
    write_manifest([fragment("a", agreed()), fragment("b", agreed(withdrawn=TODAY)), fragment("c", None)], path)
    with caplog.at_level(logging.WARNING):
        ask([path], ConsentCheck("training", TODAY - DAY))
    assert caplog.messages[1].startswith(
        f"m.jsonl: the consent of 1 of them has ended since the run began on {TODAY - DAY}: they are passed over"
    )
    assert "secret" not in caplog.text


def test_where_nothing_is_left_the_remedy_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_manifest([fragment("a", None), fragment("b", agreed(expires=TODAY - DAY))], path)
    with pytest.raises(ManifestError, match=r"2 of 2 .* consent to training \(1 expired, 1 none\)") as caught:
        ask([path], ConsentCheck("training"))
    assert "--without-consent-check" in str(caught.value) and "without_consent_check=true" in str(caught.value)
    # An empty manifest is another fault, and not this one's to name.
    (tmp_path / "empty.jsonl").write_text("")
    assert ask([tmp_path / "empty.jsonl"], ConsentCheck("training")) == {}


def test_who_was_told_to_ask_nothing_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert ask([tmp_path / "not even read.jsonl"], None) == {}
    assert caplog.messages == ["no consent is asked for: without_consent_check is on the record"]


def test_the_purposes_are_those_of_the_project() -> None:
    assert get_args(Purpose) == ("training", "annotation", "evaluation", "offer")
