"""What the decoder is given and what it must answer, as tokens; S tokens.

Ids come from openai-whisper's tokenizer, never from constants, so that English-only models and those with more
languages are served alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper.model import Whisper
from whisper.tokenizer import get_tokenizer

from asr.corpus.validate import MAX_LABEL_TOKENS

# Positions whose answer is not asked for; torch's cross-entropy leaves them out.
IGNORED = -100

_TIME_STEP = 0.02


@dataclass(frozen=True, slots=True)
class Label:
    """One fragment's label.

    Attributes:
        tokens: The decoder's input, S tokens: a dialect's tag where one is told, and the transcript from its start on.
        targets: The token that must follow each of them, or IGNORED.
    """

    tokens: tuple[int, ...]
    targets: tuple[int, ...]


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

    def __call__(self, text: str, language: str, seconds: float | None = None, dialect: str | None = None) -> Label:
        """Make a label; dialect, language and task are given, not asked for.

        A fragment without text teaches silence: ``<|nospeech|>`` is asked for where Whisper reads it, after the start
        token, and the end right after what is given.

        Args:
            text: What was said, without Whisper's own tokens.
            language: One of `languages`.
            seconds: With times: where speech ends, after a start at 0; None asks for no times.
            dialect: The tag that is told, in the slot that Whisper keeps for a prompt; None tells none, and none is
                told beside a text that leaves it no room.
        """
        tokenizer = get_tokenizer(
            self.multilingual, num_languages=self.num_languages, language=language, task="transcribe"
        )
        start = list(tokenizer.sot_sequence)
        silent = not text.strip()
        words = [] if silent else tokenizer.encode(" " + text.strip())
        if seconds is None or silent:
            start.append(tokenizer.no_timestamps)
            answer = [*words, tokenizer.eot]
        else:
            begin = tokenizer.timestamp_begin
            answer = [begin, *words, begin + round(seconds / _TIME_STEP), tokenizer.eot]
        told = [] if dialect is None else [tokenizer.sot_prev, *tokenizer.encode(" " + dialect.strip())]
        if len(told) + len(start) + len(answer) > MAX_LABEL_TOKENS:
            told = []
        # The last token that is given is followed by the answer.
        given = [IGNORED] * (len(told) + len(start) - 1)
        if silent:
            given[len(told)] = tokenizer.no_speech
        return Label((*told, *start, *answer[:-1]), (*given, *answer))
