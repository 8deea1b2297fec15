"""What a checkpoint says about itself, as plain values and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from whisper.model import Whisper

from asr.errors import CheckpointError
from asr.model.heads import HeadSpec
from asr.model.info import FORMAT_VERSION, CheckpointInfo, info_of, read_info
from asr.model.network import DialectWhisper

PATH = Path("some.pt")


def test_json_brings_it_back_as_the_model_is(tiny_whisper: Whisper) -> None:
    model = DialectWhisper(tiny_whisper, "tight", 0.25)
    spec = HeadSpec(("fr-CA", "en-IN"), ("fr", "en"), temperature=1.5)
    model.set_heads({"dialect": spec})
    info = CheckpointInfo("tiny", window="padded", tags=("fr-CA",), metrics={"wer": 0.5})
    read = read_info(json.loads(json.dumps(info_of(model, info, PATH))), PATH)
    assert (read.window, read.margin, read.heads) == ("tight", 0.25, {"dialect": spec})
    assert (read.tags, read.metrics, read.base_model) == (("fr-CA",), {"wer": 0.5}, "tiny")


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"format_version": FORMAT_VERSION + 1}, r"some\.pt has checkpoint format 2, .* upgrade dialect-asr"),
        ({"format_version": FORMAT_VERSION}, r"was not saved by this package, or was changed: dialect_asr\.base_model"),
        (["base"], "was not saved by this package"),
    ],
)
def test_what_is_none_is_refused(entry: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_info(entry, PATH)
