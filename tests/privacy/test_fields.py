import json
from collections import Counter
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asr.fragment import Consent, Expression, Fragment, WordTime
from asr.privacy.fields import coarsen_consent, coarsen_times, pseudonymous
from asr.privacy.pseudonyms import pseudonym

KEY, OTHER = bytes(32), b"\1" * 32

FULL = Fragment.from_dict(
    {
        "id": "interview-dupont-0007",
        "audio": "/data/dupont/2024-05-14.wav",
        "text": "y fait frette à matin",
        "text_standard": "il fait froid ce matin",
        "language": "fr",
        "start": 61.5,
        "duration": 2.0,
        "dialect": "fr-CA",
        "speaker": "Jeanne Dupont",
        "gender": "f",
        "age_band": "30-39",
        "intonation": "statement",
        "tune": "fall",
        "emphasis": [2],
        "words": [
            {"text": "y", "start": 61.45, "duration": 0.25, "heard_by": "Luc Tremblay"},
            {"text": "fait", "start": 61.7, "duration": 0.3},
            {"text": "frette", "start": 63.2, "duration": 0.9},
            {"text": "matin", "start": 64.0, "duration": 0.5},
        ],
        "expressions": [{"text": "frette", "standard": "froid", "start_word": 2, "seen_in": "Dupont, p. 3"}],
        "conversation": "call-514-555-0199",
        "corpus": "parlers",
        "split": "train",
        "consent": {
            "id": "form of J. Dupont",
            "purposes": ["training"],
            "granted": "2024-05-14",
            "expires": "2026-05-14",
            "withdrawn": "2025-02-10",
            "signed_at": "Rimouski",
        },
        "licence": "CC-BY-4.0",
        "annotator": "Luc Tremblay",
        "recorded": "2024-05-14T10:15:30Z",
        "phone": "514-555-0199",
    }
)


def test_nobody_is_named_and_what_was_said_stays() -> None:
    dropped: Counter[str] = Counter()
    told = pseudonymous(FULL, KEY, dropped=dropped)
    written = json.dumps(told.to_dict() | {"audio": ""}, ensure_ascii=False)
    for secret in (
        "Dupont",
        "Luc",
        "555",
        "2024-05",
        "2026-05",
        "14",
        "Rimouski",
        "61",
        "recorded",
        "phone",
        "seen_in",
    ):
        assert secret not in written
    assert (told.id, told.speaker) == (pseudonym("fragment", FULL.id, KEY), pseudonym("speaker", "Jeanne Dupont", KEY))
    for name in ("text", "text_standard", "language", "dialect", "gender", "age_band", "intonation", "tune", "emphasis",
                 "corpus", "split", "licence", "duration"):  # fmt: skip
        assert getattr(told, name) == getattr(FULL, name)
    dates = told.consent and (told.consent.granted, told.consent.expires, told.consent.withdrawn)
    assert dates == (date(2024, 6, 1), date(2026, 4, 30), date(2025, 2, 1))
    assert told.expressions == (Expression(text="frette", standard="froid", start_word=2),)
    assert dropped == {"recorded": 1, "phone": 1, "consent.signed_at": 1, "words.heard_by": 1, "expressions.seen_in": 1}


def test_words_count_from_the_new_beginning_and_stay_within() -> None:
    assert pseudonymous(FULL, KEY).words == (
        WordTime(text="y", start=0.0, duration=0.2),
        WordTime(text="fait", start=0.2, duration=0.3),
        WordTime(text="frette", start=1.7, duration=0.3),
    )


def test_keys_stay_where_they_are_asked_for_with_months_for_days() -> None:
    dropped: Counter[str] = Counter()
    told = pseudonymous(FULL, KEY, {"recorded", "consent.signed_at", "words.heard_by"}, dropped)
    assert told.custom == {"recorded": "2024-05"}
    assert told.consent is not None and told.consent.model_extra == {"signed_at": "Rimouski"}
    assert told.words[0].model_extra == {"heard_by": "Luc Tremblay"}
    assert dropped == {"phone": 1, "expressions.seen_in": 1}


labels = st.text(min_size=1, max_size=8).filter(lambda text: text.strip() and text.isprintable())


@given(st.lists(st.tuples(labels, labels, labels), min_size=1, max_size=8))
def test_two_keys_share_nothing_and_one_key_keeps_who_is_who(rows: list[tuple[str, str, str]]) -> None:
    def told(key: bytes) -> list[Fragment]:
        return [
            pseudonymous(
                Fragment(
                    id=one,
                    audio="a",
                    text="",
                    language="en",
                    speaker=two,
                    conversation=three,
                    annotator=one,
                    consent=Consent(id=two),
                ),
                key,
            )
            for one, two, three in rows
        ]

    def ids(fragment: Fragment) -> tuple[str | None, ...]:
        consent = fragment.consent.id if fragment.consent else None
        return fragment.id, fragment.speaker, fragment.conversation, fragment.annotator, consent

    first, second = told(KEY), told(OTHER)
    assert {name for item in first for name in ids(item)}.isdisjoint(name for item in second for name in ids(item))
    for field, column in (("id", 0), ("speaker", 1), ("conversation", 2)):
        same = {(getattr(item, field), row[column]) for item, row in zip(first, rows, strict=True)}
        assert len(same) == len({name for name, _ in same}) == len({value for _, value in same})


days = st.one_of(st.none(), st.dates())


@given(days, days, days)
@example(date(9999, 12, 2), date(1, 1, 30), date(1, 1, 1))
@example(date(9999, 11, 2), date(2024, 2, 29), date(2024, 2, 29))
@example(date(2024, 1, 31), date(2023, 2, 28), None)
def test_coarser_dates_allow_no_day_more(granted: date | None, expires: date | None, withdrawn: date | None) -> None:
    fine = Consent(id="c", purposes=("training",), granted=granted, expires=expires, withdrawn=withdrawn)
    coarse = coarsen_consent(fine, KEY)
    for before, after in ((granted, coarse.granted), (expires, coarse.expires), (withdrawn, coarse.withdrawn)):
        assert (before is None) == (after is None)
        # Nothing moves by a month or more, so the month is what is told.
        assert before is None or after is None or abs(after - before) < timedelta(days=31)
    assert granted is None or coarse.granted is None or (coarse.granted >= granted)
    assert expires is None or coarse.expires is None or (coarse.expires <= expires)
    assert withdrawn is None or coarse.withdrawn is None or coarse.withdrawn <= withdrawn
    for day, edge in ((coarse.granted, date.max), (coarse.withdrawn, None)):
        assert day is None or day.day == 1 or day == edge
    if coarse.expires not in (None, date.max, date.min):
        assert (coarse.expires + timedelta(days=1)).day == 1
    assert coarsen_consent(coarse, KEY).model_dump(exclude={"id"}) == coarse.model_dump(exclude={"id"})


@given(st.dates(date(2001, 9, 10), date(2099, 12, 31)), st.times())
def test_a_day_is_recognised_however_it_is_written(day: date, clock: object) -> None:
    moment = datetime.combine(day, clock, timezone.utc)  # type: ignore[arg-type]
    month = f"{day:%Y-%m}"
    for written in (day.isoformat(), moment.isoformat(), f"{day:%Y/%m/%d}", f"{day:%Y%m%d}", f"{moment:%Y%m%dT%H%M%S}"):
        assert coarsen_times(written) == month
        assert coarsen_times({"a": [f"taken on {written}, indoors"]}) == {"a": [f"taken on {month}, indoors"]}
    assert coarsen_times(f"{day:%d/%m/%Y}") == f"{day.year}"
    for number in (moment.timestamp(), int(moment.timestamp()), int(1000 * moment.timestamp())):
        assert coarsen_times(number) == month
    assert coarsen_times(str(int(moment.timestamp()))) == month


@pytest.mark.parametrize("value", [None, True, 3, 0.25, 16000, "room 2024", "2024-13-01", "a1", [], {"n": "12.5"}])
def test_what_is_no_day_stays(value: object) -> None:
    assert coarsen_times(value) == value  # type: ignore[arg-type]
