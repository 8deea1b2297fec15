"""The final mark of a text: what the decoder would write, what the voice does, and one answer of both.

Whisper decides by the words; where these carry no cue it guesses. What it held likely is read off its scores at the
place of the mark, and weighed against the voice (`asr.model.heads.Fusion`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from whisper.tokenizer import Tokenizer, get_tokenizer

from asr.model.network import DialectWhisper, Encoded

# What ends a question and a statement, where that is not "?" and "."; French puts a space before the first.
_MARKS = {
    "fr": (" ?", "."),
    "el": (";", "."),
    "ar": ("؟", "."),
    "fa": ("؟", "."),
    "ur": ("؟", "۔"),
    "ja": ("？", "。"),
    "yue": ("？", "。"),
    "zh": ("？", "。"),
}
_ENDING = re.compile(r"""(?P<mark>\s*[.?!…,;:。？！，、；：؟،۔।-]*)(?P<closing>["'”’»›)」』\s]*)$""")
_ASKS = "?？؟"


@dataclass(frozen=True, slots=True)
class _Parts:
    """A text in three: up to its last word, its final mark with the space before it, and the quotes it closes."""

    words: str
    mark: str
    closing: str


def asks(text: str, language: str) -> bool:
    """Whether a text ends in a question mark, before the quotes that it closes.

    Args:
        text: As it was written.
        language: Whisper's code; in Greek the mark is ";".
    """
    return any(mark in _parts(text).mark for mark in _ASKS + _question(language))


def has_words(text: str) -> bool:
    """Whether a text is more than marks, so that there is a place for a final one."""
    return any(letter.isalnum() for letter in text)


def punctuated(text: str, language: str, question: bool) -> str:
    """The text with a final mark that agrees: a question's for a question, none such for anything else.

    Only a question gets a mark where there was another one or none. What is no question loses a "?" and has a full
    stop then; an exclamation stays, and so does a text without a mark, because a model that was taught unpunctuated
    text is not to punctuate it.

    In Spanish a question's "¿" goes together with its "?"; where a question had none, "?" is put alone, because where
    in the text the question begins is not known.

    Args:
        text: With a word at least.
        language: Whisper's code.
        question: What it is to end as.
    """
    if question is asks(text, language):
        return text
    parts = _parts(text)
    if question:
        return parts.words + _question(language) + parts.closing
    before, _, after = parts.words.rpartition("¿")
    return before + after + _marks(language)[1] + parts.closing


@torch.inference_mode()
def question_log_odds(model: DialectWhisper, encoded: Encoded, texts: Sequence[str], language: str) -> list[float]:
    """How much likelier the decoder finds a question mark than a full stop after the last word of each text.

    All texts are given to the decoder in one pass, without a prompt. A mark counts with and without a space before
    it. Of one that is several tokens ("？") the first stands for all: what else begins like it (full-width marks) is
    rarely the end of a text.

    Args:
        model: That made ``encoded``.
        encoded: The encoder's output, batch of B.
        texts: B texts, each with a word.
        language: Whisper's code, of all texts.

    Returns:
        Natural log of p("?") / p("."), B of them.
    """
    whisper = model.whisper
    tokenizer = get_tokenizer(
        whisper.is_multilingual, num_languages=whisper.num_languages, language=language, task="transcribe"
    )
    prompt = [*tokenizer.sot_sequence_including_notimestamps]
    # What is too long for the decoder loses its beginning.
    room = whisper.dims.n_text_ctx - len(prompt)
    spoken = [tokenizer.encode(" " + _parts(text).words.strip(), disallowed_special=()) for text in texts]
    rows = [torch.tensor(prompt + words[-room:]) for words in spoken]
    # The padding is never seen: it follows the last word.
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(model.device)
    last = torch.tensor([len(row) - 1 for row in rows], device=model.device)
    hidden = model.decode(tokens, encoded)[torch.arange(len(rows), device=model.device), last]
    scores = model.logits(hidden)
    question, statement = (scores[:, ids].logsumexp(-1) for ids in mark_tokens(tokenizer, language))
    return [float(odds) for odds in question - statement]


def mark_tokens(tokenizer: Tokenizer, language: str) -> tuple[list[int], list[int]]:
    """The tokens that a question mark can begin with, and those of a full stop."""
    question, statement = (_beginnings(tokenizer, mark.strip()) for mark in _marks(language))
    return question, statement


def tokens_of_words(tokenizer: Tokenizer, tokens: Sequence[int], text: str) -> int:
    """How many of its tokens a text needs up to its last word; the next one may be the final mark.

    Args:
        tokenizer: That made the text.
        tokens: Of the text, and what is no text among them.
        text: With a word at least, as decoded and stripped.
    """
    words = _parts(text).words
    count = len(tokens)
    while count > 1:
        # A model may write the token of a language in the middle of a text.
        before = tokenizer.decode([token for token in tokens[: count - 1] if token < tokenizer.eot]).strip()
        if len(before) < len(words):
            break
        count -= 1
    return count


def _beginnings(tokenizer: Tokenizer, mark: str) -> list[int]:
    """The tokens that a mark can begin with; a space that is a token of its own says nothing of what follows."""
    first = {tokenizer.encode(before + mark)[0] for before in ("", " ")}
    return sorted(token for token in first if tokenizer.decode([token]).strip())


def _marks(language: str) -> tuple[str, str]:
    return _MARKS.get(language, ("?", "."))


def _question(language: str) -> str:
    return _marks(language)[0]


def _parts(text: str) -> _Parts:
    ending = _ENDING.search(text)
    assert ending is not None, "it matches the empty end"
    return _Parts(text[: ending.start()], ending["mark"], ending["closing"])
