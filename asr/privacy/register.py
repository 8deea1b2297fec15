"""The processing register: one page that says which data there are, from where, and what is done with them.

Its headings are those of Article 30 (1) of the General Data Protection Regulation (EU) 2016/679, the record of
processing activities. What it says comes from the record, the cards of the corpora, the consents in manifests and the
figures of benchmarks; where none of them says anything, it says "not stated".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from asr.privacy.holdings import NOT_STATED, PERSONAL, Card, Figure, Held
from asr.privacy.page import Page, Section, Table

if TYPE_CHECKING:
    from asr.privacy.entries import Entry

_WHO_HEARD = ("listen", "annotate")


def make_register(
    entries: Iterable[Entry],
    cards: Iterable[Card],
    held: Mapping[str, Held],
    figures: Iterable[Figure] = (),
    *,
    now: datetime,
    controller: str = "",
    chain: str = "",
    broken: int = 0,
) -> Page:
    """Make the page.

    Args:
        entries: The record; it is streamed.
        cards: Of the corpora.
        held: Of their manifests.
        figures: Measured figures of privacy.
        now: The page's time, UTC.
        controller: Name and contact of who is responsible.
        chain: What a check of the record found, as a sentence.
        broken: Lines of manifests that cannot be read.
    """
    log = _Log()
    for entry in entries:
        log.add(entry)
    known = {card.name: card for card in cards}
    names = sorted({*known, *held})
    introduction = (
        f"Drawn up on {now:%Y-%m-%d} at {now:%H:%M} UTC by asr register, from the record of what was done, the cards "
        "of the corpora, the consents in the manifests and the figures that benchmarks have measured.",
        "Speakers bear pseudonyms. That is not anonymity: a voice is personal data.",
        *([chain] if chain else []),
        *([f"{broken} lines of the manifests cannot be read and are not counted; see asr validate."] if broken else []),
    )
    sections = (
        Section("Who is responsible", (controller or f"Name and contact of the controller: {NOT_STATED}.",)),
        _purposes(log, held),
        _people(held),
        Section(
            "Where the data come from, under which licence and consent",
            (),
            Table("Corpora by their cards and manifests", _ORIGIN, tuple(_origin(n, known, held) for n in names)),
        ),
        _recipients(log),
        Section("Transfers to third countries", (f"{NOT_STATED.capitalize()}.",)),
        Section(
            "How long they are kept",
            (),
            Table("Time limits by corpus", _KEPT, tuple(_kept(n, known, held) for n in names)),
        ),
        _measures(log, tuple(figures)),
        Section(
            "What was done",
            () if log.days else ("The record is empty.",),
            Table(
                "Actions by date",
                ("date", "action", "times", "by", "why", "manifests", "fragments"),
                tuple(
                    (day, action, str(found.times), who, why, _few(sorted(found.manifests)), str(found.fragments))
                    for (day, action, who, why), found in log.days.items()
                ),
            ),
        ),
    )
    return Page("Register of processing activities", introduction, sections)


@dataclass
class _Done:
    times: int = 0
    fragments: int = 0
    manifests: set[str] = field(default_factory=set)
    first: str = ""
    last: str = ""

    def add(self, entry: Entry) -> None:
        day = f"{entry.when:%Y-%m-%d}"
        self.times += 1
        self.first, self.last = self.first or day, day
        self.came_of_it(entry)

    def came_of_it(self, entry: Entry) -> None:
        self.fragments += sum(manifest.fragments for manifest in entry.manifests)
        self.manifests |= {manifest.name for manifest in entry.manifests}


class _Log:
    """Counts the record's entries, so that a page can be made of however many."""

    def __init__(self) -> None:
        self.days: dict[tuple[str, str, str, str], _Done] = defaultdict(_Done)
        self.received: dict[tuple[str, str], _Done] = defaultdict(_Done)
        self.purposes: Counter[tuple[str, str]] = Counter()
        # Of actions whose end has not come yet, by the number of their entry.
        self._begun: dict[object, _Done] = {}
        self.erased: list[tuple[str, Mapping[str, Any]]] = []

    def add(self, entry: Entry) -> None:
        # What came of an action has an entry of its own, which is not another action.
        begun = self._begun.pop(entry.details.get("begun"), None)
        if begun is not None:
            begun.came_of_it(entry)
            return
        done = self.days[f"{entry.when:%Y-%m-%d}", entry.action, entry.who, entry.why]
        done.add(entry)
        if entry.details.get("stage") == "begin":
            self._begun[entry.number] = done
        self.purposes[entry.action, entry.why] += 1
        if entry.action in _WHO_HEARD:
            self.received[entry.who, entry.action].add(entry)
        if entry.action == "export":
            self.received[entry.who, f"export: {entry.why}"].add(entry)
        if entry.action == "erase":
            self.erased.append((f"{entry.when:%Y-%m-%d}", entry.details))


def _purposes(log: _Log, held: Mapping[str, Held]) -> Section:
    agreed = sum((each.purposes for each in held.values()), Counter[str]())
    said = ", ".join(f"{purpose} ({count} fragments)" for purpose, count in sorted(agreed.items()))
    return Section(
        "What the data are processed for",
        (f"Purposes that speakers agreed to: {said or NOT_STATED}.",),
        Table(
            "Purposes by the record",
            ("action", "why", "times"),
            tuple((action, why, str(times)) for (action, why), times in sorted(log.purposes.items())),
        ),
    )


def _people(held: Mapping[str, Held]) -> Section:
    total = sum(each.fragments for each in held.values())
    speakers = len(set().union(*(each.speakers for each in held.values())))
    fields = sum((each.fields for each in held.values()), Counter[str]())
    return Section(
        "Whose data, and which",
        (
            f"People who speak in the recordings: {speakers} pseudonyms in {total} fragments. People who annotate.",
            "The way somebody speaks can tell where they come from, and so their origin.",
        ),
        Table(
            "Categories of personal data",
            ("category", "fragments"),
            tuple((PERSONAL[name], str(fields[name])) for name in PERSONAL if fields[name]),
        ),
    )


_ORIGIN = ("corpus", "source", "licence", "consent by the card", "consent in the manifests", "how much")


def _origin(name: str, cards: Mapping[str, Card], held: Mapping[str, Held]) -> tuple[str, ...]:
    card, has = cards.get(name), held.get(name)
    stated: Mapping[str, str] = {} if card is None else card.stated
    licences = (
        "" if has is None else ", ".join(f"{licence} ({count})" for licence, count in has.licences.most_common(3))
    )
    size = stated.get("size", NOT_STATED)
    if has is not None:
        size = f"{has.fragments} fragments, {has.seconds / 3600:.2f} hours, {len(has.speakers)} speakers"
    return (
        name,
        stated.get("source", NOT_STATED),
        stated.get("licence", licences or NOT_STATED),
        stated.get("consent", NOT_STATED),
        "no manifest given" if has is None else _consents(has),
        size,
    )


def _consents(has: Held) -> str:
    parts = [f"{has.fragments - has.without_consent} of {has.fragments} fragments have one"]
    parts += [f"{count} withdrawn" for count in (has.withdrawn,) if count]
    parts += [f"{count} expired" for count in (has.expired,) if count]
    if has.purposes:
        parts.append("for " + ", ".join(sorted(has.purposes)))
    return "; ".join(parts)


def _recipients(log: _Log) -> Section:
    return Section(
        "Who heard or saw the data, and who was given them",
        () if log.received else ("Nobody by the record.",),
        Table(
            "Recipients by the record",
            ("who", "what", "times", "fragments", "first", "last"),
            tuple(
                (who, what, str(done.times), str(done.fragments), done.first, done.last)
                for (who, what), done in sorted(log.received.items())
            ),
        ),
    )


_KEPT = ("corpus", "by the card", "consent ends", "without an end", "without a consent record", "expired or withdrawn")


def _kept(name: str, cards: Mapping[str, Card], held: Mapping[str, Held]) -> tuple[str, ...]:
    card, has = cards.get(name), held.get(name)
    stated = NOT_STATED
    if card is not None:
        stated = next((card.stated[key] for key in ("retention", "kept") if key in card.stated), NOT_STATED)
    if has is None:
        return (name, stated, "no manifest given", "", "", "")
    first, last = has.expires or (None, None)
    ends = NOT_STATED if first is None else f"{first}" if first == last else f"{first} to {last}"
    return (name, stated, ends, str(has.endless), str(has.without_consent), str(has.expired + has.withdrawn))


def _measures(log: _Log, figures: tuple[Figure, ...]) -> Section:
    erasures = [
        f"{day}: a speaker was erased: {details.get('fragments', '?')} fragments, "
        f"{details.get('recordings_removed', '?')} recordings removed, {details.get('recordings_silenced', '?')} "
        f"silenced in part; trained on them: {len(details.get('models', ()))} model files; "
        f"left for a person to look at: {details.get('left', '?')}."
        for day, details in log.erased
    ]
    return Section(
        "Measures, and what they reach",
        (
            *erasures,
            "What was measured of the protection stands in the table, each figure with the command that printed it."
            if figures
            else f"Measured figures of privacy: {NOT_STATED}.",
        ),
        Table(
            "Measured figures",
            ("what", "value", "95 % interval", "n", "printed by"),
            tuple(
                (
                    figure.name,
                    str(figure.value),
                    "" if figure.interval is None else f"{figure.interval[0]} to {figure.interval[1]}",
                    "" if figure.n is None else str(figure.n),
                    figure.command,
                )
                for figure in figures
            ),
        ),
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
