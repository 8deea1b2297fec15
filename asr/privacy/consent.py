"""Consent: whether a fragment may be used for a purpose on a day, asked before every use."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Literal

from asr.errors import ManifestError
from asr.fragment import Consent, Fragment, Purpose, read_numbered

log = logging.getLogger(__name__)

# Why a fragment is refused: it states no consent; not for this purpose; before its first day; after its last day; taken
# back.
Reason = Literal["none", "purpose", "not yet", "expired", "withdrawn"]


def refusal(consent: Consent | None, purpose: str, on: date) -> Reason | None:
    """Return why a consent does not hold, or None when it does.

    It holds from the day ``granted`` to the day ``expires``, both included, and no longer on the day ``withdrawn``. A
    day that is not stated bounds nothing. Of several reasons the first in the order of `Reason` is given.

    Args:
        consent: What the speaker agreed to.
        purpose: What the fragment is to be used for.
        on: The day of use.
    """
    if consent is None:
        return "none"
    if purpose not in consent.purposes:
        return "purpose"
    if consent.granted is not None and on < consent.granted:
        return "not yet"
    if consent.expires is not None and on > consent.expires:
        return "expired"
    if consent.withdrawn is not None and on >= consent.withdrawn:
        return "withdrawn"
    return None


def consented(fragments: Iterable[Fragment], purpose: str, *, on: date, refused: Counter[str]) -> Iterator[Fragment]:
    """Yield the fragments that may be used.

    Args:
        fragments: A stream.
        purpose: What they are to be used for.
        on: The day of use.
        refused: Counts the others by `Reason`.
    """
    for fragment in fragments:
        reason = refusal(fragment.consent, purpose, on)
        if reason is None:
            yield fragment
        else:
            refused[reason] += 1


@dataclass(frozen=True, slots=True)
class ConsentCheck:
    """What is asked of every fragment of a run before it is heard.

    A training run that is interrupted goes on at its place in a shuffled order, which a fragment less would change. So
    the order is drawn from what had consent when the run began, and of that a fragment is passed over on the day when
    its consent no longer holds: it is not heard, and every other one is heard where it would have been.

    Attributes:
        purpose: What the fragments are used for.
        began: The day on which the run began; None where nothing is ever resumed, and the day of use counts alone.
    """

    purpose: Purpose
    began: date | None = None

    @property
    def today(self) -> ConsentCheck:
        """The same for what is heard once and has no place to keep."""
        return replace(self, began=None)

    @property
    def day(self) -> date:
        """The day of use: today, and no day before the run began, for a clock may have been set back since."""
        return date.today() if self.began is None else max(date.today(), self.began)

    def allows(self, fragment: Fragment) -> bool:
        """Whether it may be heard today."""
        return refusal(fragment.consent, self.purpose, self.day) is None

    def has_place(self, fragment: Fragment) -> bool:
        """Whether it is in the order, in which what is not allowed is passed over."""
        if self.began is None:
            return self.allows(fragment)
        reason = refusal(fragment.consent, self.purpose, self.began)
        # Taken back on the first day itself: before the run began, or after it? With a place it makes no difference.
        return reason is None or (
            reason == "withdrawn" and fragment.consent is not None and fragment.consent.withdrawn == self.began
        )


def read_consented(manifest: str | Path, check: ConsentCheck | None) -> Iterator[Fragment]:
    """Stream the fragments of a manifest that have a place in a run; broken lines are passed over.

    Args:
        manifest: The manifest.
        check: What is asked; None was told to ask nothing.

    Raises:
        ManifestError: It cannot be read.
    """
    for _, item in read_numbered(manifest):
        if isinstance(item, Fragment) and (check is None or check.has_place(item)):
            yield item


def ask(manifests: Sequence[str | Path], check: ConsentCheck | None) -> dict[str, int]:
    """Ask for consent before anything begins, and say in the log what is refused today.

    Args:
        manifests: All of them must hold something that may be used.
        check: What is asked; None was told to ask nothing, which is said in the log.

    Returns:
        Number of refused fragments by `Reason`, over all manifests.

    Raises:
        ManifestError: A manifest cannot be read, or nothing in it may be used.
    """
    if check is None:
        log.warning("no consent is asked for: without_consent_check is on the record")
        return {}
    total: Counter[str] = Counter()
    for manifest in manifests:
        refused: Counter[str] = Counter()
        fragments = ended = 0
        for _, item in read_numbered(manifest):
            if not isinstance(item, Fragment):
                continue
            fragments += 1
            if (reason := refusal(item.consent, check.purpose, check.day)) is not None:
                refused[reason] += 1
                ended += check.began is not None and check.has_place(item)
        check_some_left(manifest, check.purpose, fragments, refused)
        if refused:
            log.warning("%s: %s", Path(manifest).name, refused_in_words(check.purpose, fragments, refused))
        if ended and check.began != check.day:
            log.warning(
                "%s: the consent of %d of them has ended since the run began on %s: they are passed over, and the "
                "others are heard where they would have been",
                Path(manifest).name,
                ended,
                check.began,
            )
        total += refused
    return dict(total)


def check_some_left(manifest: str | Path, purpose: str, fragments: int, refused: Mapping[str, int]) -> None:
    """Refuse a manifest of which every fragment was refused.

    Raises:
        ManifestError: It is one.
    """
    if refused and sum(refused.values()) == fragments:
        raise ManifestError(
            f"nothing in it may be used: {refused_in_words(purpose, fragments, refused)}; state the speakers' "
            "'consent', or a corpus's in its recipe, or spell out --without-consent-check (without_consent_check=true)",
            manifest,
        )


def refused_in_words(purpose: str, fragments: int, refused: Mapping[str, int]) -> str:
    """Return how many were refused for want of consent, and why."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items()))
    return f"{sum(refused.values())} of {fragments} fragments are refused for want of consent to {purpose} ({reasons})"
