"""Draws from a stream as tensors: audio of different lengths side by side, labels beside it.

Shapes: B batch, N samples, S tokens, P places of a contour.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from whisper.model import Whisper

from asr.addresses import is_stored, parse_packed
from asr.audio import SAMPLE_RATE, Samples, load_audio
from asr.data.examples import MAX_SECONDS, PAUSE, Example
from asr.data.labels import IGNORED, Labeller, Stretch
from asr.data.silence import unspoken
from asr.data.stream import FOR_TRAINING, Draw, Position, UsableFragments, sequential_batches
from asr.errors import AudioError, ConfigError
from asr.fragment import Fragment
from asr.privacy.consent import ConsentCheck
from asr.prosody import CONTOUR, final_contour

log = logging.getLogger(__name__)

# Shortest silence that is made up, in seconds.
_SHORT_SILENCE = 0.5
# Recordings of a batch that are asked of object storage at a time.
_REQUESTS = 16
# What stands for it where fragments are asked for; there is no such recording.
_SILENCE = Fragment(id="silence", audio="silence", text="", language="en")


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What is drawn anew each time a fragment is heard.

    Attributes:
        margin: Least and most seconds of silence after a fragment in a tight window.
        timestamps: Share of examples whose label asks for times; without any the model forgets them.
        speeds: Factors of tempo and pitch, one per batch; 1.1 is faster.
        tags: Share of fragments whose dialect, if they have one, is told to the decoder; the others teach it to do
            without.
        prompts: Share of examples before which the decoder is told what their speaker said before, if that is known.
        silence: Examples in which nothing is said, silence or noise, for each example of speech.
        contours: Whether the pitch at the end is measured, for the heads that hear it.

    Raises:
        ConfigError: A value cannot work.
    """

    margin: tuple[float, float] = (0.05, 0.5)
    timestamps: float = 0.1
    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    tags: float = 0.0
    prompts: float = 0.0
    silence: float = 0.0
    contours: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.margin[0] <= self.margin[1]:
            raise ConfigError(f"margin must be two rising numbers of seconds from 0 on, found {list(self.margin)}")
        for name in ("timestamps", "tags", "prompts", "silence"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ConfigError(f"{name} is a share from 0 to 1, found {share}")
        if not self.speeds or not all(0.5 <= speed <= 2 for speed in self.speeds):
            raise ConfigError(f"speeds must be one or more factors from 0.5 to 2, found {list(self.speeds)}")


@dataclass(slots=True)
class Batch:
    """One batch.

    Attributes:
        audio: Float [B, N] at 16 kHz, zero after each fragment.
        num_samples: Long [B], each fragment's own length.
        margin: Long [B], samples of silence that follow in a tight window.
        tokens: Long [B, S], the decoder's input.
        targets: Long [B, S], what must follow; `asr.data.labels.IGNORED` where nothing is asked.
        contours: Float [B, P], see `asr.prosody.final_contour`; NaN of too little voice, and where not measured.
        heard: Fragments that are heard; those that were joined count one by one, silence that was made up does not.
        unreadable: Fragments that are left out, because their recordings cannot be read.
        speed: To be applied to the audio; the times in the labels already count with it.
        seed: Of the random choices still to be made.
        fragments: What is heard, those that were joined as one. None where a process has nothing to hear and the others
            have: then there is one row of silence, of which nothing is asked.
        after: The stream's position behind this batch, None outside training.
    """

    audio: Tensor
    num_samples: Tensor
    margin: Tensor
    tokens: Tensor
    targets: Tensor
    contours: Tensor
    speed: float
    seed: int
    fragments: tuple[Fragment, ...]
    after: Position | None
    heard: int
    unreadable: int

    def select(self, rows: slice) -> Batch:
        """Return some rows of the batch."""
        names = ("audio", "num_samples", "margin", "tokens", "targets", "contours", "fragments")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on a device; a copy from pinned memory does not wait for its end."""
        names = ("audio", "num_samples", "margin", "tokens", "targets", "contours")
        there = torch.device(device).type != "cpu"
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=there) for name in names})

    def pin_memory(self) -> Batch:
        """Return the batch in memory from which copies to a GPU run beside the computation."""
        names = ("audio", "num_samples", "margin", "tokens", "targets", "contours")
        return replace(self, **{name: getattr(self, name).pin_memory() for name in names})


class BatchLoader(Dataset[Batch]):
    """Loads what a stream drew; used as a map-style data set whose sampler is the stream.

    A recording that cannot be read is left out of its batch and named in the log by its fragment's id. Where none is
    left, the batch is one row of silence, of which nothing is asked (`Batch.fragments`).

    Args:
        labeller: Makes the labels.
        options: What is drawn per fragment.
    """

    def __init__(self, labeller: Labeller, options: BatchOptions) -> None:
        self.labeller = labeller
        self.options = options

    def __getitem__(self, draw: Draw) -> Batch:
        """Load one batch."""
        chance = random.Random(draw.seed)
        speed = chance.choice(self.options.speeds)
        if max((example.seconds for example in draw.examples), default=0.0) / speed > MAX_SECONDS:
            speed = 1.0  # slower, it would not fit into the encoder
        heard = [found for found in _read_all(draw.examples) if found is not None]
        count = sum(len(of.clips) for of in heard)
        unreadable = sum(len(example.parts) for example in draw.examples) - count
        if not heard:
            return _nothing(draw, unreadable)
        timed = [chance.random() < self.options.timestamps for _ in heard]
        margin = [round(chance.uniform(*self.options.margin) * SAMPLE_RATE) for _ in heard]
        # Each drawn after what is older: whatever its share, all else is as it is without it.
        tagged = [chance.random() < self.options.tags for _ in heard]
        prompted = [chance.random() < self.options.prompts for _ in heard]
        clips, stretches = map(list, zip(*(_joined(of, speed, chance) for of in heard), strict=True))
        labels = [
            self.labeller(
                said if with_times else of.example.fragment.text,
                of.example.fragment.language,
                of.example.fragment.dialect if with_tag else None,
                of.example.before.text if with_prompt and of.example.before is not None else None,
            )
            for of, said, with_times, with_tag, with_prompt in zip(
                heard, stretches, timed, tagged, prompted, strict=True
            )
        ]
        fragments = [of.example.fragment for of in heard]
        silent = [fragment for fragment in fragments if chance.random() < self.options.silence]
        if silent:
            made = np.random.default_rng(draw.seed)
            seconds = max(map(len, clips)) / SAMPLE_RATE
            clips += [unspoken(chance.uniform(min(_SHORT_SILENCE, seconds), seconds), made) for _ in silent]
            labels += [self.labeller("", fragment.language) for fragment in silent]
            margin += [round(chance.uniform(*self.options.margin) * SAMPLE_RATE) for _ in silent]
            fragments += [_SILENCE.replace(language=fragment.language) for fragment in silent]
        return Batch(
            audio=_pad([torch.from_numpy(np.array(clip)) for clip in clips], 0.0),
            num_samples=torch.tensor([len(clip) for clip in clips]),
            margin=torch.tensor(margin),
            # The padding is never seen: it follows the end, and its targets are ignored.
            tokens=_pad([torch.tensor(label.tokens) for label in labels], 0),
            targets=_pad([torch.tensor(label.targets) for label in labels], IGNORED),
            contours=contours_of(clips) if self.options.contours else torch.full((len(clips), CONTOUR), torch.nan),
            speed=speed,
            seed=draw.seed,
            fragments=tuple(fragments),
            after=draw.after,
            heard=count,
            unreadable=unreadable,
        )


@dataclass(frozen=True, slots=True)
class _Read:
    """What could be read of an example, and the recording of each of its parts."""

    example: Example
    clips: tuple[Samples, ...]


def _read_all(examples: Sequence[Example]) -> list[_Read | None]:
    """Read examples; out of object storage several at a time, for a request takes longer than its bytes."""
    packed = [parse_packed(part.audio) for example in examples for part in example.parts]
    if not any(one is not None and is_stored(one.archive) for one in packed):
        return [_read(example) for example in examples]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(_read, examples))


def _read(example: Example) -> _Read | None:
    """Read the parts of an example; one that cannot be read is left out and named in the log."""
    parts, clips = [], []
    for part in example.parts:
        try:
            clips.append(load_audio(part.audio, part.start, part.duration))
        except (AudioError, OSError):  # an OSError while it is read: a share that went away, say
            packed = parse_packed(part.audio)
            # An archive's name tells nothing of a person; a recording's may.
            where = "" if packed is None else f" out of {packed.archive.rpartition('/')[2]}"
            log.warning("fragment %r is left out: its recording cannot be read%s; run `asr validate`", part.id, where)
        else:
            parts.append(part)
    return _Read(replace(example, parts=tuple(parts)), tuple(clips)) if parts else None


def _joined(read: _Read, speed: float, chance: random.Random) -> tuple[Samples, list[Stretch]]:
    """One recording of an example, and what is said when, at that speed."""
    pieces: list[Samples] = []
    stretches = []
    at = 0
    for part, clip in zip(read.example.parts, read.clips, strict=True):
        if pieces:
            pieces.append(np.zeros(round(chance.uniform(*PAUSE) * SAMPLE_RATE), np.float32))
            at += len(pieces[-1])
        pieces.append(clip)
        stretches.append(Stretch(part.text, at / SAMPLE_RATE / speed, (at + len(clip)) / SAMPLE_RATE / speed))
        at += len(clip)
    return np.concatenate(pieces), stretches


def _nothing(draw: Draw, unreadable: int) -> Batch:
    """What stands for a batch of which nothing can be heard: a tenth of a second, and no question."""
    return Batch(
        audio=torch.zeros(1, SAMPLE_RATE // 10),
        num_samples=torch.tensor([SAMPLE_RATE // 10]),
        margin=torch.tensor([0]),
        tokens=torch.zeros(1, 1, dtype=torch.long),
        targets=torch.full((1, 1), IGNORED),
        contours=torch.full((1, CONTOUR), torch.nan),
        speed=1.0,
        seed=draw.seed,
        fragments=(),
        after=draw.after,
        heard=0,
        unreadable=unreadable,
    )


def each_once(
    whisper: Whisper,
    manifests: Sequence[str | Path],
    batch_seconds: float,
    wanted: Callable[[Fragment], bool] = lambda _: True,
    consent: ConsentCheck | None = FOR_TRAINING,
) -> Iterator[Batch]:
    """The usable fragments of some manifests, once and as they are, in batches of like length, their pitch measured.

    What cannot be read is left out and named in the log.

    Args:
        whisper: Whose labels and languages count.
        manifests: What is read.
        batch_seconds: Most seconds of audio in a batch, padding included.
        wanted: Which of them; the others are not loaded.
        consent: What is asked of them; None was told to ask nothing.

    Raises:
        ManifestError: A manifest cannot be read.
    """
    labeller = Labeller(whisper)
    loader = BatchLoader(labeller, BatchOptions(margin=(0.0, 0.0), timestamps=0.0, speeds=(1.0,), contours=True))
    today = None if consent is None else consent.today
    fragments = (item for manifest in manifests for item in UsableFragments(manifest, labeller.languages, today))
    for examples in sequential_batches(filter(wanted, fragments), batch_seconds):
        batch = loader[Draw(examples, None, 0)]
        if batch.fragments:
            yield batch


def contours_of(clips: Sequence[Samples]) -> Tensor:
    """Pitch at the end of each clip, float [B, P]; NaN of too little voice."""
    return torch.from_numpy(np.stack([final_contour(clip) for clip in clips]))


def _pad(rows: list[Tensor], value: float) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
