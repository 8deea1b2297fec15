"""The comparison of a checkpoint with its export, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asr.errors import AsrError
from asr.export.check import Comparison, compare
from asr.fragment import Fragment
from asr.inference.decoding import DecodeOptions
from asr.inference.transcriber import Transcriber
from asr.metrics import ErrorCounts
from asr.model.checkpoint import Checkpoint
from asr.model.network import DialectWhisper

Make = Callable[..., Checkpoint]


def said(checkpoint: Checkpoint, fragments: list[Fragment]) -> list[str]:
    padded = Checkpoint(DialectWhisper(checkpoint.model.whisper, "padded"), checkpoint.info)
    transcriber = Transcriber(padded, device="cpu", options=DecodeOptions(max_tokens=4))
    return [transcriber.transcribe(fragment).text for fragment in fragments]


def test_what_says_the_same_does_not_differ(make: Make, fragments: list[Fragment]) -> None:
    checkpoint = make()
    texts = said(checkpoint, fragments)
    told = iter(texts)
    found = compare(checkpoint, lambda samples, language: next(told), fragments, runtime="echo", max_tokens=4)
    assert (found.difference, found.between.errors, found.ours) == (0.0, 0, found.theirs)
    assert (found.fragments, found.ours.reference) == (3, 6)
    assert checkpoint.model.window == "tight" and "dialect" in checkpoint.model.heads


def test_what_says_something_else_differs(make: Make, fragments: list[Fragment]) -> None:
    heard = []
    found = compare(
        make(), lambda *_: "red house", fragments, runtime="oracle", max_tokens=4, heard=lambda: heard.append(1)
    )
    assert found.theirs.errors == 0 and found.ours.errors > 0 and len(heard) == 3
    assert found.difference == -found.ours.errors / 6
    assert found.between.errors > 0


def test_the_sentence_has_both_figures() -> None:
    found = Comparison("lark", 3, ErrorCounts(1, 0, 1, 8), ErrorCounts(0, 0, 1, 8), ErrorCounts(0, 2, 0, 8))
    assert str(found) == (
        "WER 22.22 % as a checkpoint, 11.11 % exported, heard by lark: -11.11 points; 2 words of 10 are heard "
        "otherwise (3 fragments, 9 words)"
    )


def test_nothing_said_is_nothing_to_compare(make: Make, fragments: list[Fragment]) -> None:
    silent = [fragment.replace(text="") for fragment in fragments]
    with pytest.raises(AsrError, match=r"no words to compare \(3 fragments\)"):
        compare(make(), lambda *_: "", silent, runtime="none", max_tokens=4)
