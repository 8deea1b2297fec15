"""Draws from a stream as tensors: audio of different lengths side by side, labels beside it.

Shapes: B batch, N samples, S tokens, P places of a contour.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset
from whisper.model import Whisper

from asr.audio import SAMPLE_RATE, load_audio
from asr.data.labels import IGNORED, Labeller
from asr.data.stream import FOR_TRAINING, MAX_SECONDS, Draw, Position, UsableFragments, sequential_batches
from asr.errors import AudioError, ConfigError
from asr.fragment import Fragment
from asr.privacy.consent import ConsentCheck
from asr.prosody import CONTOUR, final_contour

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What is drawn anew each time a fragment is heard.

    Attributes:
        margin: Least and most seconds of silence after a fragment in a tight window.
        timestamps: Share of fragments whose label asks for times; without any the model forgets them.
        speeds: Factors of tempo and pitch, one per batch; 1.1 is faster.
        tags: Share of fragments whose dialect, if they have one, is told to the decoder; the others teach it to do
            without.
        contours: Whether the pitch at the end is measured, for the heads that hear it.

    Raises:
        ConfigError: A value cannot work.
    """

    margin: tuple[float, float] = (0.1, 1.0)
    timestamps: float = 0.1
    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    tags: float = 0.0
    contours: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.margin[0] <= self.margin[1]:
            raise ConfigError(f"margin must be two rising numbers of seconds from 0 on, found {list(self.margin)}")
        for name, share in (("timestamps", self.timestamps), ("tags", self.tags)):
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
        unreadable: Fragments that are left out, because their recordings cannot be read.
        speed: To be applied to the audio; the times in the labels already count with it.
        seed: Of the random choices still to be made.
        fragments: What is heard. None where a process has nothing to hear and the others have: then there is one row of
            silence, of which nothing is asked.
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
    unreadable: int = 0

    def select(self, rows: slice) -> Batch:
        """Return some rows of the batch."""
        names = ("audio", "num_samples", "margin", "tokens", "targets", "contours", "fragments")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """Return the batch with its tensors on a device."""
        names = ("audio", "num_samples", "margin", "tokens", "targets", "contours")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=non_blocking) for name in names})

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
        if max((fragment.duration or 0.0 for fragment in draw.fragments), default=0.0) / speed > MAX_SECONDS:
            speed = 1.0  # slower, it would not fit into the encoder
        heard, clips = [], []
        for fragment in draw.fragments:
            try:
                clips.append(load_audio(fragment.audio, fragment.start, fragment.duration))
            except (AudioError, OSError):  # an OSError while it is read: a share that went away, say
                log.warning("fragment %r is left out: its recording cannot be read; run `asr validate`", fragment.id)
            else:
                heard.append(fragment)
        if not heard:
            return _silence(draw)
        timed = [chance.random() < self.options.timestamps for _ in heard]
        margin = [round(chance.uniform(*self.options.margin) * SAMPLE_RATE) for _ in heard]
        # Drawn last: whatever their share, all else is as it is without tags.
        tagged = [chance.random() < self.options.tags for _ in heard]
        labels = [
            self.labeller(
                fragment.text,
                fragment.language,
                len(clip) / SAMPLE_RATE / speed if with_times else None,
                fragment.dialect if with_tag else None,
            )
            for fragment, clip, with_times, with_tag in zip(heard, clips, timed, tagged, strict=True)
        ]
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
            fragments=tuple(heard),
            after=draw.after,
            unreadable=len(draw.fragments) - len(heard),
        )


def _silence(draw: Draw) -> Batch:
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
        unreadable=len(draw.fragments),
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
    for cuts in sequential_batches(filter(wanted, fragments), batch_seconds):
        batch = loader[Draw(tuple(cut.custom["fragment"] for cut in cuts), None, 0)]
        if batch.fragments:
            yield batch


def contours_of(clips: Sequence[npt.NDArray[np.float32]]) -> Tensor:
    """Pitch at the end of each clip, float [B, P]; NaN of too little voice."""
    return torch.from_numpy(np.stack([final_contour(clip) for clip in clips]))


def _pad(rows: list[Tensor], value: float) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
