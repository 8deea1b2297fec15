"""Annotators' answers as fragments to train on: what they agree on, what is adjudicated, and conflicts for a third."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.annotation.agreement import Agreement
from asr.errors import AsrError, ManifestError
from asr.fragment import Fragment
from asr.importers.entries import CANNOT_TELL, CANNOT_TELL_CONTROL, CHOSEN, answered
from asr.importers.label_studio import Answer, read_export
from asr.text import get_normalizer

Answers = dict[str, dict[str, Answer]]
"""Fragment's id to annotator to answer."""


@dataclass(slots=True)
class AnswerReport:
    """What became of the answers.

    Attributes:
        agreement: Between annotators.
        agreed: Fragments in which more than half agree on every field; one annotator agrees with themselves.
        adjudicated: Fragments in which the adjudicator has decided a conflict.
        untold: Fragments left out, because nobody could tell what is said, or nobody wrote it.
        conflicts: Fragments left out for a third annotator; the answers stand in ``custom["conflicts"]``.
        conflicting: Field to the number of fragments in conflict about it.
        unknown: Answered fragments that the manifest does not have, or that may not be used.
    """

    agreement: Agreement = field(default_factory=Agreement)
    agreed: int = 0
    adjudicated: int = 0
    untold: int = 0
    conflicts: list[Fragment] = field(default_factory=list)
    conflicting: Counter[str] = field(default_factory=Counter)
    unknown: int = 0


def read_answers(exports: Iterable[Path], failures: list[AsrError]) -> Answers:
    """Read the answers to tasks of `asr.annotation.tasks`; who has answered twice meant the last.

    All are held: they are what people have typed.

    Args:
        exports: Of Label Studio, in its format JSON.
        failures: Receives an error for every task or annotation that cannot be used.

    Raises:
        ManifestError: A file cannot be read at all.
        MissingExtraError: ijson is not installed.
    """
    found: Answers = {}
    for path in exports:
        for task in read_export(path):
            if isinstance(task, ManifestError):
                failures.append(task)
                continue
            failures += [ManifestError(fault, path) for fault in task.faults]
            fragment = task.data.get("id")
            if not isinstance(fragment, str):
                failures.append(ManifestError(f"task {task.name} has no 'id' of a fragment in its data", path))
                continue
            for answer in task.answers:
                if answer.region is not None:
                    message = f"task {task.name} is about regions; use `asr import --format label_studio` for those"
                    failures.append(ManifestError(message, path))
                else:
                    found.setdefault(fragment, {})[answer.annotator] = answer
    return found


def merge_answers(
    fragments: Iterable[Fragment],
    answers: Answers,
    report: AnswerReport,
    failures: list[AsrError],
    adjudicator: str | None = None,
) -> Iterator[Fragment]:
    """Yield the answered fragments of a manifest as their annotators have them.

    In each field the answer of more than half of those who gave one counts, else the adjudicator's. Texts are the same
    if their words are (`asr.text`). Emphasis and expressions count from those alone whose words were taken.

    Args:
        fragments: The manifest that the tasks were made of, streamed.
        answers: Of `read_answers`.
        report: Filled.
        failures: Receives the error of every answer that cannot stand in a fragment.
        adjudicator: Annotator whose answer decides where there is no majority.
    """
    waiting = set(answers)
    for fragment in fragments:
        waiting.discard(fragment.id)
        own = {}
        for annotator, answer in sorted(answers.get(fragment.id, {}).items()):
            try:
                own[annotator] = (answer, answered(fragment, answer.entries))
            except AsrError as error:
                failures.append(
                    AsrError(f"the answer of {annotator} to fragment {fragment.id!r} cannot be used: {error}")
                )
        if not own:
            continue
        report.agreement.add({annotator: made for annotator, (_, made) in own.items()})
        decided = _Decision(fragment, own, adjudicator)
        if decided.conflicts:
            report.conflicting.update(decided.conflicts.keys())
            report.conflicts.append(fragment.replace(custom=fragment.custom | {"conflicts": decided.conflicts}))
        elif not (made := decided.fragment()).text.strip():
            report.untold += 1
        else:
            report.adjudicated += decided.adjudicated
            report.agreed += not decided.adjudicated
            yield made
    report.unknown = len(waiting)


class _Decision:
    """What the annotators of one fragment make of it together.

    Attributes:
        conflicts: Field to annotator to entries, where nobody has a majority.
        adjudicated: Whether the adjudicator had to decide.
    """

    def __init__(self, base: Fragment, own: Mapping[str, tuple[Answer, Fragment]], adjudicator: str | None) -> None:
        self._base = base
        self._own = own
        self._adjudicator = adjudicator
        self._entries: dict[str, tuple[str, ...]] = {}
        self.conflicts: dict[str, dict[str, list[str]]] = {}
        self.adjudicated = False
        normalise = get_normalizer(base.language)
        same_words = self._decide("text", own, lambda made: normalise(made.text))
        lengths = Counter(len(own[name][1].text.split()) for name in same_words)
        # Words are counted by blanks: of those who agree, the ones that write the text as most do.
        usual = max(lengths, default=0, key=lambda length: (lengths[length], length))
        counted = {name: own[name] for name in same_words if len(own[name][1].text.split()) == usual}
        for name in CHOSEN:
            self._decide(name, own, lambda made, name=name: getattr(made, name))  # type: ignore[misc]
        self._decide("emphasis", counted, lambda made: tuple(sorted(made.emphasis)))
        self._decide("expressions", counted, lambda made: frozenset((e.text, e.standard) for e in made.expressions))

    def fragment(self) -> Fragment:
        """Return the fragment as decided."""
        made = answered(self._base, self._entries)
        custom: dict[str, Any] = {key: value for key, value in made.custom.items() if key != "conflicts"}
        return made.replace(annotator=self._writer, custom=custom | {"annotators": sorted(self._own)})

    def _decide(
        self, name: str, voters: Mapping[str, tuple[Answer, Fragment]], key: Callable[[Fragment], Hashable]
    ) -> list[str]:
        """Take the answer of the majority, or the adjudicator's; return who gave it."""
        votes: dict[str, Hashable] = {}
        for annotator, (answer, made) in voters.items():
            if _cannot_tell(answer, name):
                votes[annotator] = CANNOT_TELL
            elif answer.entries.get(name) or name not in ("text", *CHOSEN):  # nothing emphasised is an answer
                votes[annotator] = (key(made),)
        counted = Counter(votes.values())
        winner = next((vote for vote, times in counted.items() if 2 * times > len(votes)), None)
        if winner is None and self._adjudicator in votes:
            winner = votes[self._adjudicator]
            self.adjudicated = True
        if winner is None:
            if votes:
                self.conflicts[name] = {who: list(voters[who][0].entries.get(name, ())) for who in votes}
            return []
        agreeing = [annotator for annotator, vote in votes.items() if vote == winner]
        if winner == CANNOT_TELL:
            self._entries[CANNOT_TELL_CONTROL] = (*self._entries.get(CANNOT_TELL_CONTROL, ()), name)
            return []
        # Of several spellings the most frequent, of those the first annotator's.
        spellings = Counter(voters[who][0].entries.get(name, ()) for who in agreeing)
        self._entries[name] = spellings.most_common(1)[0][0]
        return agreeing

    @property
    def _writer(self) -> str:
        text = self._entries.get("text", ())
        return next((who for who, (answer, _) in self._own.items() if answer.entries.get("text") == text), "")


def _cannot_tell(answer: Answer, name: str) -> bool:
    return name in answer.entries.get(CANNOT_TELL_CONTROL, ()) or answer.entries.get(name) == (CANNOT_TELL,)
