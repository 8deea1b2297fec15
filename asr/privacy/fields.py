"""A fragment's fields without who speaks and when: pseudonyms for ids, months for days, no key that nobody vouched for.

Dates of consent move to the edge of a month on the side that allows less: permission begins later, ends earlier, and
is withdrawn earlier. The words themselves stay as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta, timezone
from typing import Any

from pydantic import JsonValue

from asr.fragment import Consent, Expression, Fragment, WordTime
from asr.privacy.pseudonyms import Kind, pseudonym

# A day, with the time of day if one follows: 2024-05-14T10:15:30Z, 2024/05/14, 20240514, 20240514T101530.
_YEAR_FIRST = re.compile(
    r"(?<!\d)((?:19|20)\d\d)(?P<mark>[-/.]?)(0[1-9]|1[0-2])(?P=mark)(?:0[1-9]|[12]\d|3[01])"
    r"(?:[T ]?\d\d:?\d\d(?::?\d\d(?:[.,]\d+)?)?\s?(?:Z|[+-]\d\d:?\d\d)?)?(?!\d)"
)
# 14/05/2024, 14.05.2024; where the two could be told either way the month is not known, and only the year stays.
_YEAR_LAST = re.compile(r"(?<!\d)\d{1,2}([-/.])\d{1,2}\1((?:19|20)\d\d)(?:[T ]\d\d:\d\d(?::\d\d)?)?(?!\d)")
# Seconds or milliseconds since 1970, from 2001 to 2100.
_EPOCH = ((10**9, 4_102_444_800, 1), (10**12, 4_102_444_800_000, 1000))
_WRITTEN_EPOCH = re.compile(r"\d{10}(?:\d{3})?(?:\.\d+)?")


def pseudonymous(
    fragment: Fragment, key: bytes, keep: Collection[str] = (), dropped: Counter[str] | None = None
) -> Fragment:
    """Return a fragment that begins at 0 s of its own recording and names nobody.

    Its audio path and its attributes (dialect, gender, age) are as they were: they need the whole release.

    Args:
        fragment: As it was annotated.
        key: Makes the pseudonyms.
        keep: Keys that are no field of a fragment and stay nevertheless, as ``key`` or, in a part of it, as
            ``consent.key``, ``words.key`` or ``expressions.key``. Times in them are coarsened to the month.
        dropped: Counts, by key, the fragments that lost one.
    """
    lost: set[str] = set()

    def kept(extra: Mapping[str, JsonValue] | None, prefix: str = "") -> dict[str, Any]:
        names = extra or {}
        lost.update(prefix + name for name in names if prefix + name not in keep)
        return {name: coarsen_times(value) for name, value in names.items() if prefix + name in keep}

    def named(kind: Kind, value: str | None) -> str | None:
        return None if value is None else pseudonym(kind, value, key)

    changed = fragment.replace(
        id=pseudonym("fragment", fragment.id, key),
        start=0.0,
        speaker=named("speaker", fragment.speaker),
        conversation=named("conversation", fragment.conversation),
        annotator=named("annotator", fragment.annotator),
        words=tuple(
            WordTime(**times, **kept(word.model_extra, "words."))
            for word in fragment.words
            if (times := _from_zero(word, fragment)) is not None
        ),
        expressions=tuple(
            Expression(
                text=item.text,
                standard=item.standard,
                start_word=item.start_word,
                **kept(item.model_extra, "expressions."),
            )
            for item in fragment.expressions
        ),
        consent=None
        if fragment.consent is None
        else coarsen_consent(fragment.consent, key, kept(fragment.consent.model_extra, "consent.")),
        custom=kept(fragment.custom),
    )
    if dropped is not None:
        dropped.update(lost)
    return changed


def _from_zero(word: WordTime, fragment: Fragment) -> dict[str, Any] | None:
    """Return a word with its time from the fragment's start, cut to the fragment; None where nothing of it is left."""
    start = max(0.0, word.start - fragment.start)
    end = word.end - fragment.start
    if fragment.duration is not None:
        end = min(end, fragment.duration)
    # To the microsecond: the difference of two decimal fractions is not a short one.
    start, duration = round(start, 6), round(end - start, 6)
    return {"text": word.text, "start": start, "duration": duration} if duration > 0 else None


def coarsen_consent(consent: Consent, key: bytes, extra: Mapping[str, Any] | None = None) -> Consent:
    """Return a consent with a pseudonymous id and dates that tell no more than the month, and allow no day more.

    Args:
        consent: As it was given.
        key: Makes the pseudonym.
        extra: Further keys to carry.
    """
    return Consent(
        id=pseudonym("consent", consent.id, key),
        purposes=consent.purposes,
        granted=None if consent.granted is None else _next_first(consent.granted),
        expires=None if consent.expires is None else _previous_last(consent.expires),
        withdrawn=None if consent.withdrawn is None else consent.withdrawn.replace(day=1),
        **(extra or {}),
    )


def _next_first(day: date) -> date:
    """The first day of a month that is not before a day (in the last month there is, its last day)."""
    if day.day == 1:
        return day
    last = _month_end(day)
    return last if last == date.max else last + timedelta(days=1)


def _previous_last(day: date) -> date:
    """The last day of a month that is not after a day (in the first month there is, its first day)."""
    if day == _month_end(day):
        return day
    first = day.replace(day=1)
    return first if first == date.min else first - timedelta(days=1)


def _month_end(day: date) -> date:
    if (day.year, day.month) == (date.max.year, 12):
        return date.max
    # Four days after the 28th it is the next month, of whatever length this one is.
    following = day.replace(day=28) + timedelta(days=4)
    return following.replace(day=1) - timedelta(days=1)


def coarsen_times(value: JsonValue) -> JsonValue:
    """Return a JSON value in which every day that can be recognised as one is a month, ``2024-05``.

    Days in words (``14 May``) are not recognised: a key that is kept is vouched for by who keeps it.
    """
    if isinstance(value, dict):
        return {name: coarsen_times(item) for name, item in value.items()}
    if isinstance(value, list):
        return [coarsen_times(item) for item in value]
    if isinstance(value, str):
        if _WRITTEN_EPOCH.fullmatch(value):
            return _epoch_month(float(value)) or value
        return _YEAR_LAST.sub(r"\2", _YEAR_FIRST.sub(r"\1-\3", value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _epoch_month(value) or value
    return value


def _epoch_month(number: float) -> str | None:
    for low, high, unit in _EPOCH:
        if low <= number < high:
            return f"{datetime.fromtimestamp(number / unit, timezone.utc):%Y-%m}"
    return None
