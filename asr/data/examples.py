"""What is heard in one go: mostly one fragment; now and then several of one speaker, joined to a long one."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from asr.corpus.validate import MAX_LABEL_TOKENS, label_tokens
from asr.fragment import Fragment

MAX_SECONDS = 30.0
# Least and most seconds of silence between joined fragments; a joined example counts with the most.
PAUSE = (0.1, 1.0)
# A joined example is to be at least so long, in seconds, if its speaker says enough.
_LONG = 10.0
# Speakers whose last fragments are kept; beyond, the one who has not spoken for longest is forgotten.
_SPEAKERS = 1000


@dataclass(frozen=True, slots=True)
class Example:
    """Fragments of one speaker that are heard in one go.

    Attributes:
        parts: In the order in which they are heard.
        before: What the speaker had said before, in the order of the stream; None where that is not known.
    """

    parts: tuple[Fragment, ...]
    before: Fragment | None = None

    @property
    def seconds(self) -> float:
        """Most seconds that it can last."""
        return sum(part.duration or 0.0 for part in self.parts) + PAUSE[1] * (len(self.parts) - 1)

    @property
    def fragment(self) -> Fragment:
        """It as one fragment; joined, it has no tune of its own."""
        if len(self.parts) == 1:
            return self.parts[0]
        return self.parts[0].replace(
            id="+".join(part.id for part in self.parts),
            text=" ".join(part.text.strip() for part in self.parts),
            duration=self.seconds,
            text_standard=None,
            intonation=None,
            tune=None,
            emphasis=(),
            words=(),
            expressions=(),
        )

    def only(self, wanted: Callable[[Fragment], bool]) -> Example | None:
        """What is left of it without the fragments that are not wanted; None if nothing is."""
        before = self.before if self.before is not None and wanted(self.before) else None
        parts = tuple(filter(wanted, self.parts))
        return Example(parts, before) if parts else None


@dataclass(slots=True)
class _Speaker:
    """What is known of one: the fragments that wait to be joined, what went before them, and the last one of all."""

    waiting: list[Fragment] = field(default_factory=list)
    before: Fragment | None = None
    last: Fragment | None = None


def examples_of(fragments: Iterable[Fragment], joined: float = 0.0, seed: int = 0) -> Iterator[Example]:
    """Every fragment once, a share of them joined with others of the same speaker, language and dialect.

    Memory holds the last fragments of 1000 speakers, whatever the number of fragments.

    Args:
        fragments: With their durations, none over 30 s.
        joined: Share of the fragments that are joined, where their speakers are known and they say anything.
        seed: Of the draws.
    """
    chance = random.Random(seed)
    speakers: OrderedDict[tuple[str, str, str | None], _Speaker] = OrderedDict()
    for fragment in fragments:
        drawn, length = chance.random() < joined, chance.uniform(_LONG, MAX_SECONDS)
        if fragment.speaker is None or not fragment.text.strip():
            yield Example((fragment,))
            continue
        key = (fragment.speaker, fragment.language, fragment.dialect)
        speaker = speakers.setdefault(key, _Speaker())
        speakers.move_to_end(key)
        if drawn:
            if speaker.waiting and not _fits(Example((*speaker.waiting, fragment))):
                yield from _waited(speaker)
            if not speaker.waiting:
                speaker.before = speaker.last
            speaker.waiting.append(fragment)
            if Example(tuple(speaker.waiting)).seconds >= length:
                yield from _waited(speaker)
        else:
            yield Example((fragment,), speaker.last)
        speaker.last = fragment
        if len(speakers) > _SPEAKERS:
            yield from _waited(speakers.popitem(last=False)[1])
    for speaker in speakers.values():
        yield from _waited(speaker)


def _fits(example: Example) -> bool:
    """Whether it fits into the encoder, and its label with times into the decoder."""
    return (
        example.seconds <= MAX_SECONDS
        and label_tokens(example.fragment.text) + 2 * len(example.parts) <= MAX_LABEL_TOKENS
    )


def _waited(speaker: _Speaker) -> Iterator[Example]:
    """The example that was waiting, if there is one."""
    if speaker.waiting:
        yield Example(tuple(speaker.waiting), speaker.before)
        speaker.waiting.clear()
