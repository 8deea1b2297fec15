"""What the decoder is given and what it must answer, as tokens; S tokens.

Ids come from openai-whisper's tokenizer, never from constants, so that English-only models and those with more
languages are served alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper.model import Whisper
from whisper.tokenizer import Tokenizer, get_tokenizer

from asr.corpus.validate import MAX_LABEL_TOKENS

# Positions whose answer is not asked for; torch's cross-entropy leaves them out.
IGNORED = -100

_TIME_STEP = 0.02


@dataclass(frozen=True, slots=True)
class Label:
    """One fragment's label.

    Attributes:
        tokens: The decoder's input, S tokens: what it is told before, and the transcript from its start on.
        targets: The token that must follow each of them, or IGNORED.
    """

    tokens: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Something that is said without a pause.

    Attributes:
        text: What.
        start: Seconds from the beginning of what is heard.
        end: Likewise.
    """

    text: str
    start: float
    end: float


class Labeller:
    """Makes labels for one model.

    Args:
        model: Whose vocabulary counts.

    Attributes:
        languages: The codes of the languages that the model knows.
    """

    def __init__(self, model: Whisper) -> None:
        # No tokenizer is kept: the loader's processes get a copy of this, and make their own.
        self.multilingual = bool(model.is_multilingual)
        self.num_languages = int(model.num_languages)
        self.languages: tuple[str, ...] = ("en",)
        if self.multilingual:
            self.languages = get_tokenizer(True, num_languages=self.num_languages).all_language_codes

    def __call__(
        self, said: str | Sequence[Stretch], language: str, dialect: str | None = None, before: str | None = None
    ) -> Label:
        """Make a label; what was said before, dialect and task are given, not asked for.

        After the start token Whisper tells the language, or that nobody speaks, and is asked for it as it was when it
        was trained: ``<|nospeech|>`` of a fragment without text, which ends right after what is given. Asked of silence
        alone, it would learn to say so of speech too.

        Args:
            said: The text, without Whisper's own tokens; or stretches of it, of which the times are asked for as well.
            language: One of `languages`.
            dialect: The tag that is told, in the slot that Whisper keeps for a prompt; None tells none, and none is
                told beside a text that leaves it no room.
            before: What was said before, told in the same slot, before the tag; its beginning is cut where it has no
                room.
        """
        tokenizer = get_tokenizer(
            self.multilingual, num_languages=self.num_languages, language=language, task="transcribe"
        )
        start, answer = list(tokenizer.sot_sequence), list[int]()
        silent = not (said if isinstance(said, str) else "".join(stretch.text for stretch in said)).strip()
        if isinstance(said, str) or silent:
            start.append(tokenizer.no_timestamps)
            answer = [] if silent else _words(tokenizer, str(said))
        else:
            for stretch in said:
                times = [tokenizer.timestamp_begin + round(at / _TIME_STEP) for at in (stretch.start, stretch.end)]
                answer += [times[0], *_words(tokenizer, stretch.text), times[1]]
        answer.append(tokenizer.eot)
        room = MAX_LABEL_TOKENS - len(start) - len(answer)
        told = [] if dialect is None else tokenizer.encode(" " + dialect.strip())
        # Whisper cuts a prompt likewise, to half its context.
        most = min(MAX_LABEL_TOKENS // 2, room) - 1 - len(told)
        if before is not None and before.strip() and most > 0:
            told = [*_words(tokenizer, before)[-most:], *told]
        told = [tokenizer.sot_prev, *told] if 0 < len(told) < room else []
        # The last token that is given is followed by the answer.
        given = [IGNORED] * (len(told) + len(start) - 1)
        if silent:
            given[len(told)] = tokenizer.no_speech
        elif len(start) > 1:
            given[len(told)] = start[1]
        return Label((*told, *start, *answer[:-1]), (*given, *answer))


def _words(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(" " + text.strip())  # type: ignore[no-any-return]
