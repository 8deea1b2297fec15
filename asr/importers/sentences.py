"""Reads what the synthetic corpus speaks: sentences per dialect, voices, and respellings for the synthesiser.

Four kinds of tab-separated files with a header line lie in one folder: ``sentences.<language>.tsv``,
``voices.tsv``, ``pronunciations.tsv`` and ``sounds.tsv``. A ``sentences`` row with the dialects ``en-GB`` also serves
``en-GB-scotland`` unless a row of the same id and type names that dialect; ``*`` serves every dialect that no
other row serves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from asr.errors import ManifestError
from asr.fragment import Expression
from asr.tables import read_table

TYPES = ("statement", "question")
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One wording of a sentence.

    Attributes:
        id: Shared by the wordings of one sentence in all dialects and by its statement and question.
        type: ``statement`` or ``question``.
        dialects: BCP 47 tags, or ``*``.
        text: Verbatim, in the dialect.
        text_standard: The standard-language rendering where it differs.
        expressions: Dialect words, located in ``text``.
    """

    id: str
    type: str
    dialects: tuple[str, ...]
    text: str
    text_standard: str | None
    expressions: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Voice:
    """A synthetic speaker.

    Attributes:
        variant: Name of the espeak-ng voice variant.
        split: The side on which it speaks.
        gender: As its variant file gives it, or None.
    """

    variant: str
    split: str
    gender: str | None


@dataclass(frozen=True, slots=True)
class Sound:
    """How a dialect says what the synthesiser says otherwise.

    Attributes:
        dialects: BCP 47 tags.
        spelling: Found in the words that are meant, whatever their case.
        sound: Found in the synthesiser's mnemonics of such a word.
        instead: What stands for it, with ``\\1`` for a group.
    """

    dialects: tuple[str, ...]
    spelling: re.Pattern[str]
    sound: re.Pattern[str]
    instead: str


def read_sentences(path: Path) -> tuple[Sentence, ...]:
    """Read the sentences of one language.

    Raises:
        ManifestError: A row is broken, given twice, or an expression is not in its text.
    """
    sentences = []
    seen: set[tuple[str, str, str]] = set()
    for line, row in read_table(path, ("id", "type", "dialects", "text", "text_standard", "expressions")):
        if row["type"] not in TYPES:
            raise ManifestError(f"type {row['type']!r} is none of {', '.join(TYPES)}", path, line)
        dialects = tuple(row["dialects"].split())
        if not (row["id"] and row["text"] and dialects):
            raise ManifestError("a sentence needs an id, a text and its dialects (or *)", path, line)
        for dialect in dialects:
            key = (row["id"], row["type"], dialect)
            if key in seen:
                raise ManifestError(f"{row['type']} {row['id']!r} is given twice for {dialect}; keep one", path, line)
            seen.add(key)
        try:
            expressions = tuple(_expressions(row["expressions"], row["text"]))
        except ValueError as error:
            raise ManifestError(str(error), path, line) from None
        standard = row["text_standard"] or None
        sentences.append(Sentence(row["id"], row["type"], dialects, row["text"], standard, expressions))
    return tuple(sentences)


def for_dialect(sentences: tuple[Sentence, ...], dialect: str) -> tuple[Sentence, ...]:
    """Return the wording of each sentence and type in a dialect, sorted by id and type; others are left out."""
    subtags = dialect.split("-")
    wanted = ["-".join(subtags[:length]) for length in range(len(subtags), 0, -1)] + ["*"]
    best: dict[tuple[str, str], tuple[int, Sentence]] = {}
    for sentence in sentences:
        rank = min((wanted.index(tag) for tag in sentence.dialects if tag in wanted), default=None)
        key = (sentence.id, sentence.type)
        if rank is not None and (key not in best or rank < best[key][0]):
            best[key] = (rank, sentence)
    return tuple(sentence for _, (_, sentence) in sorted(best.items()))


def read_voices(path: Path) -> tuple[Voice, ...]:
    """Read the voices.

    Raises:
        ManifestError: A row is broken, or a variant stands on two sides.
    """
    voices: dict[str, Voice] = {}
    for line, row in read_table(path, ("variant", "split", "gender")):
        if row["split"] not in SPLITS:
            raise ManifestError(f"split {row['split']!r} is none of {', '.join(SPLITS)}", path, line)
        if row["variant"] in voices:
            raise ManifestError(f"voice {row['variant']!r} is given twice; keep one", path, line)
        voices[row["variant"]] = Voice(row["variant"], row["split"], row["gender"] or None)
    return tuple(voices.values())


def read_pronunciations(path: Path) -> dict[str, dict[str, str]]:
    """Read the respellings: language to word to what the synthesiser is given instead.

    Raises:
        ManifestError: A row is broken.
    """
    table: dict[str, dict[str, str]] = {}
    for line, row in read_table(path, ("language", "word", "spoken")):
        if not all(row.values()):
            raise ManifestError("a pronunciation needs a language, a word and what is spoken", path, line)
        table.setdefault(row["language"], {})[row["word"].lower()] = row["spoken"]
    return table


def read_sounds(path: Path) -> tuple[Sound, ...]:
    """Read the sounds of the dialects; a row also names its source.

    Raises:
        ManifestError: A row is broken.
    """
    sounds = []
    for line, row in read_table(path, ("dialects", "spelling", "sound", "instead", "source")):
        if not all(row.values()):
            raise ManifestError("a sound needs dialects, a spelling, what is heard instead, and a source", path, line)
        try:
            patterns = re.compile(row["spelling"], re.IGNORECASE), re.compile(row["sound"])
        except re.error as error:
            raise ManifestError(f"a pattern of this row cannot be read: {error}", path, line) from None
        sounds.append(Sound(tuple(row["dialects"].split()), *patterns, row["instead"]))
    return tuple(sounds)


def pronounce(text: str, sounds: tuple[Sound, ...], phonemes: Callable[[str], str]) -> str:
    """Replace the words that a dialect says otherwise by mnemonics in double square brackets.

    Args:
        text: What is to be spoken.
        sounds: Of the dialect, applied to a word one after the other.
        phonemes: The synthesiser's mnemonics of a word.
    """

    def said(match: re.Match[str]) -> str:
        meant = [sound for sound in sounds if sound.spelling.search(match[0])]
        before = after = phonemes(match[0]) if meant else ""
        for sound in meant:
            after = sound.sound.sub(sound.instead, after)
        return match[0] if after == before else f"[[{after}]]"

    return re.sub(r"[\w']+", said, text)


def respell(text: str, words: Mapping[str, str]) -> str:
    """Replace whole words (hyphen and apostrophe end a word) by their respelling, whatever their case."""
    return re.sub(r"\w+", lambda match: words.get(match[0].lower(), match[0]), text)


def _expressions(field: str, text: str) -> Iterator[Expression]:
    """Read ``said=standard;said=standard`` and find each in the text.

    Raises:
        ValueError: One is not written so, or not in the text.
    """
    words = [_bare(word) for word in text.split()]
    for part in filter(None, field.split(";")):
        said, equals, standard = part.partition("=")
        if not (said and equals and standard):
            raise ValueError(f"expression {part!r} must be written said=standard")
        phrase = [_bare(word) for word in said.split()]
        starts = [
            start for start in range(len(words) - len(phrase) + 1) if words[start : start + len(phrase)] == phrase
        ]
        if not starts:
            raise ValueError(f"expression {said!r} is not in the text of its row")
        yield Expression(text=said, standard=standard, start_word=starts[0])


def _bare(word: str) -> str:
    return word.strip(".,;:!?…«»\"'").lower()
