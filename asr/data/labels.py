"""What the decoder is given and what it must answer, as tokens; S tokens.

Ids come from openai-whisper's tokenizer, never from constants, so that English-only models and those with more
languages are served alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from whisper.model import Whisper
from whisper.tokenizer import Tokenizer, get_tokenizer

# Positions whose answer is not asked for; torch's cross-entropy leaves them out.
IGNORED = -100

_TIME_STEP = 0.02


@dataclass(frozen=True, slots=True)
class Label:
    """One fragment's label.

    Attributes:
        tokens: The decoder's input, S tokens, from the start of the transcript on.
        targets: The token that must follow each of them, or IGNORED.
    """

    tokens: tuple[int, ...]
    targets: tuple[int, ...]


class Labeller:
    """Makes labels for one model.

    Args:
        model: Whose vocabulary counts.
    """

    def __init__(self, model: Whisper) -> None:
        self.multilingual = bool(model.is_multilingual)
        self.num_languages = int(model.num_languages)

    def __call__(self, text: str, language: str, seconds: float | None = None) -> Label:
        """Make a label; language and task are given, not asked for.

        A fragment without text teaches silence: ``<|nospeech|>`` is asked for where Whisper reads it, after the start
        token, and the end right after the prompt.

        Args:
            text: What was said.
            language: Whisper's code.
            seconds: With times: where speech ends, after a start at 0; None asks for no times.
        """
        tokenizer = _tokenizer(self.multilingual, self.num_languages, language)
        prompt = list(tokenizer.sot_sequence)
        silent = not text.strip()
        words = [] if silent else tokenizer.encode(" " + text.strip())
        if seconds is None or silent:
            prompt.append(tokenizer.no_timestamps)
            answer = [*words, tokenizer.eot]
        else:
            begin = tokenizer.timestamp_begin
            answer = [begin, *words, begin + round(seconds / _TIME_STEP), tokenizer.eot]
        first = tokenizer.no_speech if silent and len(prompt) > 1 else IGNORED
        ignored = [first, *[IGNORED] * (len(prompt) - 2)] if len(prompt) > 1 else []
        return Label(tuple(prompt + answer[:-1]), tuple(ignored + answer))


@lru_cache(maxsize=128)
def _tokenizer(multilingual: bool, num_languages: int, language: str) -> Tokenizer:
    return get_tokenizer(multilingual, num_languages=num_languages, language=language, task="transcribe")
