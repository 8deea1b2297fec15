"""A batch against its fragments one by one."""

from __future__ import annotations

import dataclasses
import logging
import pickle
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile
import torch
from whisper.model import Whisper
from whisper.tokenizer import get_tokenizer

import asr.addresses
import asr.data.batch
from asr.addresses import Packed, digest_of
from asr.audio import load_audio
from asr.data.augment import change_speed
from asr.data.batch import BatchLoader, BatchOptions
from asr.data.examples import Example
from asr.data.labels import IGNORED, Labeller
from asr.data.stream import Draw, Position
from asr.errors import ConfigError
from asr.fragment import Fragment
from asr.model.features import MAX_SAMPLES

Sound = Callable[..., Fragment]


@pytest.fixture
def sound(tmp_path: Path) -> Sound:
    """A fragment and its recording, which is half a second longer."""

    def make(name: str, seconds: float, text: str = "hello there", **changes: Any) -> Fragment:
        samples = np.random.default_rng(len(name)).uniform(-0.5, 0.5, round((seconds + 0.5) * 8000))
        soundfile.write(tmp_path / f"{name}.wav", samples, 8000)
        given = {"start": 0.25, "duration": seconds, "language": "en"} | changes
        return Fragment(id=name, audio=str(tmp_path / f"{name}.wav"), text=text, **given)

    return make


def load(whisper: Whisper, fragments: tuple[Fragment, ...], seed: int = 5, **options: Any) -> asr.data.batch.Batch:
    loader = BatchLoader(Labeller(whisper), BatchOptions(**options))
    return loader[Draw(tuple(Example((fragment,)) for fragment in fragments), Position(1, 2, (3,)), seed)]


def test_a_batch_holds_each_fragment_and_silence_after_it(tiny_whisper: Whisper, sound: Sound) -> None:
    fragments = (sound("a", 0.5, "one"), sound("bb", 1.0, "a much longer text", language="fr"), sound("ccc", 0.7, ""))
    batch = load(tiny_whisper, fragments, timestamps=0.0)
    assert batch.fragments == fragments
    assert batch.after == Position(1, 2, (3,))
    assert batch.num_samples.tolist() == [8000, 16000, 11200]
    assert batch.audio.shape == (3, 16000)
    assert batch.audio.dtype == torch.float32
    label = Labeller(tiny_whisper)
    for row, fragment in enumerate(fragments):
        length = int(batch.num_samples[row])
        expected = load_audio(fragment.audio, fragment.start, fragment.duration)
        np.testing.assert_array_equal(batch.audio[row, :length].numpy(), expected)
        assert not batch.audio[row, length:].any()
        alone = label(fragment.text, fragment.language)
        size = len(alone.tokens)
        assert tuple(batch.tokens[row, :size].tolist()) == alone.tokens
        assert tuple(batch.targets[row, :size].tolist()) == alone.targets
        assert (batch.targets[row, size:] == IGNORED).all()


def test_choices_follow_the_seed_alone(tiny_whisper: Whisper, sound: Sound) -> None:
    fragments = tuple(sound("a" * number, 0.3) for number in range(1, 9))
    batches = [load(tiny_whisper, fragments, seed, timestamps=0.5) for seed in (1, 1, 2)]
    same, again, other = ((b.speed, b.margin.tolist(), b.targets.tolist()) for b in batches)
    assert same == again != other
    assert len(set(batches[0].margin.tolist())) > 4
    assert all(1600 <= margin <= 16000 for margin in batches[0].margin.tolist())
    speeds = {load(tiny_whisper, fragments[:1], seed).speed for seed in range(40)}
    assert speeds == {0.9, 1.0, 1.1}


def test_a_share_of_the_labels_asks_for_times(tiny_whisper: Whisper, sound: Sound) -> None:
    fragment = sound("a", 0.3)
    begin = get_tokenizer(True).timestamp_begin
    for share, low, high in ((0.0, 0, 0), (0.3, 30, 90), (1.0, 200, 200)):
        timed = (load(tiny_whisper, (fragment,), seed, timestamps=share).targets >= begin for seed in range(200))
        assert low <= sum(bool(found.any()) for found in timed) <= high


def test_without_tags_the_draws_are_those_that_they_always_were(tiny_whisper: Whisper, sound: Sound) -> None:
    fragments = tuple(sound("a" * number, 0.3, language="fr", dialect="fr-CA") for number in range(1, 9))
    begin = get_tokenizer(True).timestamp_begin
    for seed in range(20):
        chance = random.Random(seed)
        speed = chance.choice((0.9, 1.0, 1.1))
        timed = [chance.random() < 0.5 for _ in fragments]
        margin = [round(chance.uniform(0.05, 0.5) * 16000) for _ in fragments]
        batch = load(tiny_whisper, fragments, seed, timestamps=0.5)
        assert batch.speed == speed
        assert (batch.targets >= begin).any(dim=1).tolist() == timed
        assert batch.margin.tolist() == margin
        assert get_tokenizer(True).sot_prev not in batch.tokens


def test_a_share_of_the_dialects_is_told_and_nothing_else_changes(tiny_whisper: Whisper, sound: Sound) -> None:
    fragments = (
        sound("a", 0.3, language="fr", dialect="fr-CA"),
        sound("bb", 0.3),
        sound("ccc", 0.3, "", language="fr", dialect="fr-BE"),
    )
    label, prompted = Labeller(tiny_whisper), get_tokenizer(True).sot_prev
    told = 0
    for seed in range(200):
        plain, some, same, all_told = (
            load(tiny_whisper, fragments, seed, timestamps=0.0, tags=share) for share in (0.0, 0.3, 0.3, 1.0)
        )
        for batch in (some, all_told):
            assert (batch.speed, batch.margin.tolist()) == (plain.speed, plain.margin.tolist())
            assert torch.equal(batch.audio, plain.audio)
        assert torch.equal(some.tokens, same.tokens) and torch.equal(some.targets, same.targets)
        told += int((some.tokens[:, 0] == prompted).sum())
        for row, fragment in enumerate(fragments):
            alone = label(fragment.text, fragment.language, fragment.dialect)
            assert tuple(all_told.tokens[row, : len(alone.tokens)].tolist()) == alone.tokens
            assert tuple(all_told.targets[row, : len(alone.targets)].tolist()) == alone.targets
    assert 90 < told < 150  # 400 fragments with a dialect


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
def test_times_are_those_of_the_changed_speed(tiny_whisper: Whisper, sound: Sound, speed: float) -> None:
    batch = load(tiny_whisper, (sound("a", 2.0), sound("b", 0.9)), timestamps=1.0, speeds=(speed,))
    tokenizer = get_tokenizer(True)
    _, lengths = change_speed(batch.audio, batch.num_samples, batch.speed)
    for row, length in enumerate(lengths.tolist()):
        times = [int(t) - tokenizer.timestamp_begin for t in batch.targets[row] if t >= tokenizer.timestamp_begin]
        assert times[0] == 0
        assert times[1] * 0.02 == pytest.approx(length / 16000, abs=0.0101)


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
def test_a_joined_example_is_its_parts_with_pauses_between(tiny_whisper: Whisper, sound: Sound, speed: float) -> None:
    parts = (sound("a", 1.0, "one", speaker="s"), sound("bb", 0.5, "two", speaker="s"), sound("ccc", 0.8, "three"))
    options = BatchOptions(timestamps=1.0, speeds=(speed,))
    whole, alone = Example(parts), Example((sound("dddd", 0.4, "four"),))
    batch = BatchLoader(Labeller(tiny_whisper), options)[Draw((whole, alone), None, 5)]
    assert [fragment.id for fragment in batch.fragments] == ["a+bb+ccc", "dddd"]
    assert (batch.heard, batch.unreadable) == (4, 0)
    tokenizer = get_tokenizer(True)
    asked = [token for token in batch.targets[0].tolist() if token != IGNORED]
    times = [(token - tokenizer.timestamp_begin) * 0.02 for token in asked if token >= tokenizer.timestamp_begin]
    assert tokenizer.decode([token for token in asked if token < tokenizer.eot]) == " one two three"
    # Each part is heard where its times say, and between them is nothing.
    audio, _ = change_speed(batch.audio, batch.num_samples, 1.0)
    heard = audio[0, : batch.num_samples[0]].numpy()
    assert len(times) == 2 * len(parts)
    end = 0
    for part, start, stop in zip(parts, times[::2], times[1::2], strict=True):
        clip = load_audio(part.audio, part.start, part.duration)
        first = next(at for at in range(end, len(heard)) if heard[at])
        assert first / 16000 / speed == pytest.approx(start, abs=0.011)
        np.testing.assert_array_equal(heard[first : first + len(clip)], clip)
        assert (first + len(clip)) / 16000 / speed == pytest.approx(stop, abs=0.011)
        assert end == 0 or 0.1 * 16000 - 1 <= first - end <= 16000 + 1
        end = first + len(clip)
    assert end == len(heard)


def test_a_part_that_cannot_be_read_leaves_the_others(tiny_whisper: Whisper, sound: Sound) -> None:
    parts = (sound("a", 1.0, "one"), sound("bb", 0.5, "two"), sound("ccc", 0.8, "three"))
    Path(parts[1].audio).unlink()
    batch = BatchLoader(Labeller(tiny_whisper), BatchOptions(speeds=(1.0,)))[Draw((Example(parts),), None, 5)]
    assert [fragment.id for fragment in batch.fragments] == ["a+ccc"]
    assert (batch.heard, batch.unreadable) == (2, 1)


def test_a_share_is_told_what_was_said_before(tiny_whisper: Whisper, sound: Sound) -> None:
    before = sound("b", 0.3, "what was said")
    known = Example((sound("a", 0.3, language="en", dialect="en-IN"),), before)
    unknown = Example((sound("cc", 0.3),))
    label = Labeller(tiny_whisper)
    told = 0
    for seed in range(200):
        options = {"timestamps": 0.0, "tags": 0.5}
        plain, some, every = (
            BatchLoader(label, BatchOptions(prompts=share, **options))[Draw((known, unknown), None, seed)]
            for share in (0.0, 0.3, 1.0)
        )
        assert torch.equal(some.audio, plain.audio) and some.margin.equal(plain.margin)
        first = every.tokens[0].tolist()
        tagged = plain.tokens[0, 0] == get_tokenizer(True).sot_prev
        expected = label("hello there", "en", "en-IN" if tagged else None, "what was said")
        assert tuple(first[: len(expected.tokens)]) == expected.tokens
        assert tuple(every.targets[0].tolist()[: len(expected.targets)]) == expected.targets
        told += not torch.equal(some.tokens, plain.tokens)
        rest = label("hello there", "en").tokens
        assert tuple(every.tokens[1, : len(rest)].tolist()) == rest
    assert 35 < told < 85


def test_silence_is_made_beside_speech(tiny_whisper: Whisper, sound: Sound) -> None:
    fragments = (sound("a", 1.0), sound("bb", 2.0, language="fr"))
    silence = Labeller(tiny_whisper)("", "fr")
    made = 0
    for seed in range(100):
        plain, some = (load(tiny_whisper, fragments, seed, timestamps=0.0, silence=share) for share in (0.0, 0.5))
        assert torch.equal(some.audio[:2], plain.audio) and some.margin[:2].equal(plain.margin)
        assert (some.heard, some.fragments[:2]) == (2, fragments)
        rows = len(some.fragments)
        assert len(some.audio) == len(some.num_samples) == len(some.margin) == len(some.tokens) == rows
        for row in range(2, rows):
            made += 1
            assert (some.fragments[row].text, some.fragments[row].dialect) == ("", None)
            assert 8000 <= some.num_samples[row] <= 32000
            if some.fragments[row].language == "fr":
                assert tuple(some.targets[row, : len(silence.targets)].tolist()) == silence.targets
    assert 70 < made < 130


@pytest.mark.parametrize(("seconds", "speed"), [(30.0, 1.0), (27.5, 1.0), (27.0, 0.9)])
def test_no_fragment_is_slowed_beyond_what_the_encoder_hears(
    tiny_whisper: Whisper, sound: Sound, seconds: float, speed: float
) -> None:
    batch = load(tiny_whisper, (sound("a", seconds), sound("b", 0.3)), timestamps=1.0, speeds=(0.9,))
    assert batch.speed == speed
    assert int(change_speed(batch.audio, batch.num_samples, batch.speed)[1].max()) <= MAX_SAMPLES
    assert int(batch.targets.max()) < 51865


def test_an_archive_that_is_not_what_it_was_is_named(
    tiny_whisper: Whisper, sound: Sound, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fragments = [sound(name, 0.3, name) for name in ("a", "bb")]
    content = [Path(fragment.audio).read_bytes() for fragment in fragments]
    (tmp_path / "some.tar").write_bytes(b"".join(content))
    packed = [
        fragment.replace(audio=str(Packed(str(tmp_path / "some.tar"), first, len(one), digest_of(one))))
        for fragment, one, first in zip(fragments, content, (0, len(content[0])), strict=True)
    ]
    whole = load(tiny_whisper, tuple(packed))
    assert torch.equal(whole.audio, load(tiny_whisper, tuple(fragments)).audio)
    # One bit of a sample, which no decoder of wav would notice.
    (tmp_path / "some.tar").write_bytes(content[0] + content[1][:-1] + bytes([content[1][-1] ^ 1]))
    with caplog.at_level(logging.WARNING):
        batch = load(tiny_whisper, tuple(packed))
    assert [fragment.id for fragment in batch.fragments] == ["a"]
    assert caplog.messages == [
        "fragment 'bb' is left out: its recording cannot be read out of some.tar; run `asr validate`"
    ]


def test_a_recording_that_cannot_be_read_is_left_out(
    tiny_whisper: Whisper, sound: Sound, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fragments = [sound(name, 0.3, name) for name in ("a", "bb", "ccc", "dddd")]
    Path(fragments[0].audio).unlink()
    Path(fragments[1].audio).write_bytes(b"secret")
    read = asr.data.batch.load_audio

    def from_a_share_that_went_away(path: str, *span: float) -> Any:
        if "ccc" in path:
            raise OSError(116, "Stale file handle")
        return read(path, *span)

    monkeypatch.setattr(asr.data.batch, "load_audio", from_a_share_that_went_away)
    with caplog.at_level(logging.WARNING):
        batch = load(tiny_whisper, tuple(fragments))
    assert [fragment.id for fragment in batch.fragments] == ["dddd"]
    assert len(batch.audio) == len(batch.num_samples) == len(batch.margin) == len(batch.tokens) == 1
    assert caplog.messages == [
        f"fragment {name!r} is left out: its recording cannot be read; run `asr validate`"
        for name in ("a", "bb", "ccc")
    ]


def test_nothing_that_can_be_read(tiny_whisper: Whisper, sound: Sound) -> None:
    fragment = sound("a", 0.3)
    Path(fragment.audio).unlink()
    batch = load(tiny_whisper, (fragment, fragment))
    # A row of silence of which nothing is asked.
    assert (batch.fragments, batch.unreadable, batch.after) == ((), 2, Position(1, 2, (3,)))
    assert not batch.audio.any() and (batch.targets == IGNORED).all()
    assert len(batch.audio) == len(batch.num_samples) == len(batch.margin) == len(batch.tokens) == 1


def test_a_batch_goes_to_a_device_and_between_processes(tiny_whisper: Whisper, sound: Sound) -> None:
    batch = load(tiny_whisper, (sound("a", 0.3),))
    moved = batch.to(torch.device("meta"))
    for field in dataclasses.fields(batch):
        value = getattr(moved, field.name)
        if isinstance(value, torch.Tensor):
            assert value.device.type == "meta", field.name
        else:
            assert value == getattr(batch, field.name)
    loader = pickle.loads(pickle.dumps(BatchLoader(Labeller(tiny_whisper), BatchOptions())))
    assert torch.equal(
        loader[Draw(tuple(Example((item,)) for item in batch.fragments), None, 5)].targets, batch.targets
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": (1.0, 0.5)}, "margin must be two rising numbers"),
        ({"margin": (-0.1, 0.5)}, "margin must be two rising numbers"),
        ({"timestamps": 1.5}, "timestamps is a share from 0 to 1, found 1.5"),
        ({"tags": -0.5}, "tags is a share from 0 to 1, found -0.5"),
        ({"prompts": 2}, "prompts is a share from 0 to 1, found 2"),
        ({"silence": -1}, "silence is a share from 0 to 1, found -1"),
        ({"speeds": ()}, "speeds must be one or more factors"),
        ({"speeds": (1.0, 0.0)}, r"speeds must be .* found \[1.0, 0.0\]"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BatchOptions(**options)


def test_object_storage_is_asked_for_a_batch_at_once(
    tiny_whisper: Whisper, sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr.addresses, "STORES", frozenset({"memory"}))
    store = fsspec.filesystem("memory")
    fragments = [sound("s" * (n + 1), 0.3) for n in range(8)]
    files = [Path(fragment.audio).read_bytes() for fragment in fragments]
    store.pipe("/bucket/some.tar", b"".join(files))
    firsts = [sum(map(len, files[:n])) for n in range(8)]
    there = [
        fragment.replace(audio=str(Packed("memory://bucket/some.tar", first, len(one), digest_of(one))))
        for fragment, one, first in zip(fragments, files, firsts, strict=True)
    ]
    cat, waiting = type(store).cat_file, threading.Barrier(8)

    def together(self: object, name: str, **span: int) -> bytes:
        waiting.wait(timeout=10)  # for the requests of all the others
        return cat(self, name, **span)

    monkeypatch.setattr(type(store), "cat_file", together)
    batch = load(tiny_whisper, tuple(there))
    assert torch.equal(batch.audio, load(tiny_whisper, tuple(fragments)).audio)
    assert [fragment.id for fragment in batch.fragments] == [fragment.id for fragment in fragments]
