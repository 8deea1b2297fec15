"""Stitching against what was cut: a transcript in windows, joined, is the transcript again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import AudioError
from asr.fragment import Expression
from asr.inference.clips import Clip, End
from asr.inference.stitch import Assembly, stitched
from asr.transcript import Punctuation, Segment, Transcript, Word

MARK = Punctuation("?", 0.8, 0.7, 0.6)
END = End("talk.wav", 60.0, None, None)


def part(text: str, duration: float = 2.0, **told: object) -> Transcript:
    """A window with a word every quarter of a second."""
    words = tuple(Word(word, 0.25 * n, 0.25 * n + 0.2, 0.9) for n, word in enumerate(text.split()))
    segment = Segment(
        0.0, duration, text, -0.3, 0.1, 1.0, text_standard=text.upper(), intonation="question", tune="rise"
    )
    emphasis = (len(words) - 1,) if words else ()
    found = Transcript("w", text, "fr", None, duration, (segment,) if text else (), words=words, emphasis=emphasis)
    return replace(found, text_standard=text.upper(), **told)


def test_times_texts_and_indices_are_those_of_the_recording() -> None:
    drache = Expression(text="drache", standard="pluie", start_word=1)
    parts = [
        (1.5, part("il drache", expressions=(drache,), fallbacks={"beam": 1})),
        (10.0, part("", fallbacks={"beam": 1, "temperature": 1, "drop": 1})),
        (59.0, part("quelle drache ici", expressions=(drache,))),
    ]
    whole = stitched(END, parts, None)
    assert (whole.id, whole.text, whole.language, whole.duration) == (
        "talk.wav",
        "il drache quelle drache ici",
        "fr",
        60.0,
    )
    assert [(one.start, one.end) for one in whole.segments] == [(1.5, 3.5), (59.0, 60.0)]
    assert [(word.text, word.start) for word in whole.words] == [
        ("il", 1.5),
        ("drache", 1.75),
        ("quelle", 59.0),
        ("drache", 59.25),
        ("ici", 59.5),
    ]
    assert [whole.words[index].text for index in whole.emphasis] == ["drache", "ici"]
    assert [whole.text.split()[one.start_word or 0] for one in whole.expressions] == ["drache", "drache"]
    assert whole.text_standard == "IL DRACHE QUELLE DRACHE ICI"
    assert whole.fallbacks == {"beam": 2, "temperature": 1, "drop": 1}
    # What is a sentence's, its segment has.
    assert (whole.intonation, whole.tune, whole.punctuation) == (None, None, None)
    assert [(one.intonation, one.tune) for one in whole.segments] == [("question", "rise")] * 2


@given(st.lists(st.lists(st.sampled_from(["un", "deux", "trois"]), min_size=1, max_size=5), min_size=2, max_size=6))
def test_utterances_are_the_windows_again(texts: list[list[str]]) -> None:
    parts = []
    for number, words in enumerate(texts):
        said = Expression(text=words[-1], start_word=len(words) - 1)
        segment = replace(part(" ".join(words)).segments[0], punctuation=MARK, intonation_scores={"question": 1.0})
        told = part(" ".join(words), expressions=(said,), segments=(segment,))
        parts.append((3.0 * number, told))
    for one, (_, window) in zip(stitched(END, parts, None).utterances(), parts, strict=True):
        assert (one.text, one.text_standard, one.expressions) == (window.text, window.text_standard, window.expressions)
        assert (one.segments, one.emphasis, one.duration) == (window.segments, window.emphasis, window.duration)
        assert [word.text for word in one.words] == [word.text for word in window.words]
        assert [word.start for word in one.words] == pytest.approx([word.start for word in window.words])
        assert (one.intonation, one.tune, one.punctuation) == ("question", "rise", MARK)


def test_a_single_window_keeps_what_was_told_of_it() -> None:
    window = part("ça va", intonation="question", tune="rise", intonation_scores={"question": 1.0}, punctuation=MARK)
    whole = stitched(END, [(5.0, window)], None)
    assert (whole.intonation, whole.tune, whole.punctuation) == ("question", "rise", MARK)
    assert whole.utterances() == (whole,)
    assert (whole.segments[0].start, whole.words[0].start, whole.duration) == (5.0, 5.0, 60.0)


def test_where_nobody_speaks_there_is_a_transcript_of_nothing() -> None:
    silent = stitched(replace(END, language="fr", dialect="fr-CA"), [], 0.5)
    assert (silent.text, silent.segments, silent.language, silent.dialect) == ("", (), "fr", "fr-CA")
    assert stitched(END, [], 0.5).dialect == "unknown"
    assert (stitched(END, [], None).language, stitched(END, [], None).dialect) == ("", None)
    assert silent.utterances() == (silent,)


def test_dialects_are_averaged_by_length() -> None:
    parts = [
        (0.0, part("a", 1.0, dialect="fr-CA", dialect_scores={"fr-CA": 0.9, "fr-FR": 0.1})),
        (5.0, part("b", 3.0, dialect="fr-FR", dialect_scores={"fr-CA": 0.3, "fr-FR": 0.7})),
        (9.0, part("c", 50.0, dialect="unknown")),
    ]
    whole = stitched(END, parts, 0.5)
    assert whole.dialect == "fr-FR"
    assert whole.dialect_scores == pytest.approx({"fr-CA": 0.45, "fr-FR": 0.55})
    assert stitched(END, parts, 0.6).dialect == "unknown"
    assert stitched(replace(END, dialect="fr-BE"), parts, 0.6).dialect == "fr-BE"


def clip(number: int, start: float, whole: bool = False) -> Clip:
    return Clip(number, "", np.zeros(16000, np.float32), "fr", None, start, whole)


def test_items_are_complete_when_all_their_clips_were_heard_in_any_order() -> None:
    assembly = Assembly(None)
    clips = [clip(0, 0.0), clip(0, 5.0), clip(1, 0.0, whole=True), clip(2, 0.0)]
    for one in clips:
        assembly.expect(one)
    heard = [part(text) for text in ("a", "b", "c", "d")]
    assert list(assembly.add([(clips[1], heard[1])])) == []
    assert list(assembly.end(1, END)) == []
    assert list(assembly.add([(clips[2], heard[2])])) == [(1, heard[2])]
    assert list(assembly.end(0, END)) == []
    ((number, whole),) = assembly.add([(clips[0], heard[0])])
    assert (number, isinstance(whole, Transcript) and whole.text) == (0, "a b")
    # An error in the middle of a recording is the whole recording's.
    broken = AudioError("cut short")
    assert list(assembly.end(2, broken)) == []
    assert list(assembly.add([(clips[3], heard[3])])) == [(2, broken)]
    assert list(assembly.end(3, broken)) == [(3, broken)]
    assert assembly._items == {}
