"""Manifests as an endless, weighted, shuffled stream of batches whose place can be saved and found again.

lhotse does the mixing, the shuffling and the duration buckets; a fragment rides in its cut's ``custom``, because its
audio is read by this package's own loader.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lhotse import CutSet, MonoCut
from lhotse.dataset.sampling.dynamic_bucketing import DynamicBucketingSampler, estimate_duration_buckets

from asr.audio import probe
from asr.corpus.validate import MAX_LABEL_TOKENS, label_tokens
from asr.errors import AudioError, ConfigError, ManifestError
from asr.fragment import Fragment, read_numbered

log = logging.getLogger(__name__)

MAX_SECONDS = 30.0
_BUCKETS = 10
# Seconds at which buckets part where the data are not looked at first.
_FIXED_BINS = [1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0, 12.0, 15.0, 20.0, 25.0]
_ESTIMATE_FROM = 10_000
# Faults named one by one in the log; the rest are only counted.
_NAMED_FAULTS = 10


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the stream: everything needed to find the next batch again.

    Attributes:
        epoch: Passes over the first manifest that were completed.
        batch: Batches given since the pass began.
        offsets: Fragments that had been taken from every further manifest when the pass began.
    """

    epoch: int = 0
    batch: int = 0
    offsets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Draw:
    """One batch before its audio is loaded.

    Attributes:
        fragments: What is heard together.
        after: The stream's position behind this batch; None outside an endless stream.
        seed: Of all random choices made for this batch; a function of the stream's seed and the position.
    """

    fragments: tuple[Fragment, ...]
    after: Position | None
    seed: int


class UsableFragments:
    """The fragments of a manifest that can be learnt from; iterating again reads it again.

    A fragment over 30 s, with a label over 448 tokens, or whose recording is needed for its duration and cannot be
    opened is left out, and so is a broken line: each is named in the log once, with its place and without its text.

    Args:
        manifest: The manifest.
    """

    def __init__(self, manifest: str | Path) -> None:
        self.manifest = Path(manifest)
        self._reported = False

    def __iter__(self) -> Iterator[Fragment]:
        """Yield fragments whose ``duration`` is set.

        Raises:
            ManifestError: The manifest cannot be read, or nothing in it can be used.
        """
        kept = faults = 0
        for number, item in read_numbered(self.manifest):
            usable = _usable(item)
            if isinstance(usable, Fragment):
                kept += 1
                yield usable
                continue
            faults += 1
            if faults <= _NAMED_FAULTS and not self._reported:
                log.warning("left out (%s:%d): %s", self.manifest.name, number, usable)
        if faults and not self._reported:
            log.warning("%s: %d of %d fragments were left out", self.manifest.name, faults, kept + faults)
        self._reported = True
        if not kept:
            raise ManifestError("no fragment in it can be used; run `asr validate` on it", self.manifest)


def _usable(item: Fragment | ManifestError) -> Fragment | str:
    """Return the fragment with its duration, or why it cannot be used."""
    if isinstance(item, ManifestError):
        return str(item)
    name = f"fragment {item.id!r}"
    if item.duration is None:
        try:
            item = item.replace(duration=probe(item.audio).duration - item.start)
        except (AudioError, ManifestError):
            return f"the duration of {name} is not given and its recording does not tell it; run `asr validate`"
    if item.duration is not None and item.duration > MAX_SECONDS:
        return f"{name} lasts {item.duration:.1f} s, Whisper hears {MAX_SECONDS:.0f} s at a time; cut it"
    if (tokens := label_tokens(item.text)) > MAX_LABEL_TOKENS:
        return f"the label of {name} has {tokens} tokens, Whisper has room for {MAX_LABEL_TOKENS}; cut the fragment"
    return item


class FragmentCuts:
    """Fragments as lhotse's cuts; iterating again iterates the fragments again."""

    def __init__(self, fragments: Iterable[Fragment]) -> None:
        self.fragments = fragments

    def __iter__(self) -> Iterator[MonoCut]:
        for fragment in self.fragments:
            yield MonoCut(
                id=fragment.id,
                start=fragment.start,
                duration=fragment.duration or 0.0,
                channel=0,
                custom={"fragment": fragment},
            )


class _Replay:
    """A manifest that never ends, and goes on where it was left."""

    def __init__(self, fragments: UsableFragments) -> None:
        self.fragments = fragments
        self.offset = 0
        self.taken = 0

    def __iter__(self) -> Iterator[Fragment]:
        self.taken = 0
        skip = self.offset
        while True:
            passed = 0
            for fragment in self.fragments:
                passed += 1
                if passed > skip:
                    self.taken += 1
                    yield fragment
            skip = max(0, skip - passed)


def sequential_batches(
    manifests: Sequence[str | Path], batch_seconds: float, rank: int = 0, world_size: int = 1
) -> Iterator[CutSet]:
    """Every usable fragment of some manifests once, in batches of similar length.

    Args:
        manifests: The manifests.
        batch_seconds: Most seconds of audio in a batch, padding included.
        rank: This process's number; it gets every ``world_size``-th fragment.
        world_size: Number of processes.
    """
    fragments = (fragment for manifest in manifests for fragment in UsableFragments(manifest))
    cuts = CutSet(FragmentCuts(islice(fragments, rank, None, world_size)))
    # The sampler is told that it is alone: it would give each process the same number of batches by repeating some.
    return DynamicBucketingSampler(  # type: ignore[no-any-return]
        cuts, max_duration=batch_seconds, duration_bins=_FIXED_BINS, rank=0, world_size=1
    )


class BatchStream:
    """Endless batches of one or several manifests, the same for the same seed, from any position on.

    A pass (an epoch) hears every fragment of the first manifest once; fragments of the others are drawn beside them
    by weight, and the next pass goes on in them where the last one stopped.

    Args:
        manifests: The manifests.
        batch_seconds: Most seconds of audio in a batch, padding up to its longest fragment included.
        weights: How often each manifest is drawn from, in any unit; equal when empty.
        seed: Of order and draws.
        rank: This process's number.
        world_size: Number of processes; each gets its own batches.

    Raises:
        ConfigError: Numbers of manifests and weights differ, or a weight is not above zero.
    """

    def __init__(
        self,
        manifests: Sequence[str | Path],
        batch_seconds: float,
        weights: Sequence[float] = (),
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not manifests:
            raise ConfigError("there is no training manifest; give one or several")
        if weights and (len(weights) != len(manifests) or min(weights) <= 0):
            raise ConfigError(
                f"{len(manifests)} training manifests need as many weights above 0, found {list(weights)}"
            )
        self.batch_seconds = batch_seconds
        self.weights = list(weights) or [1.0] * len(manifests)
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.position = Position()
        self._first = UsableFragments(manifests[0])
        self._replays = [_Replay(UsableFragments(manifest)) for manifest in manifests[1:]]
        self._bins: list[float] | None = None

    def __iter__(self) -> Iterator[Draw]:
        """Yield batches from `position` on, for ever.

        Raises:
            ManifestError: A manifest cannot be read or holds nothing usable.
        """
        position = self.position
        while True:
            offsets = position.offsets or (0,) * len(self._replays)
            for replay, offset in zip(self._replays, offsets, strict=True):
                replay.offset = offset
            for index, cuts in enumerate(self._batches(position.epoch)):
                if index >= position.batch:
                    after = Position(position.epoch, index + 1, offsets)
                    fragments = tuple(cut.custom["fragment"] for cut in cuts)
                    yield Draw(fragments, after, self._batch_seed(position.epoch, index))
            taken = (replay.taken for replay in self._replays)
            position = Position(position.epoch + 1, 0, tuple(a + b for a, b in zip(offsets, taken, strict=True)))

    def _batches(self, epoch: int) -> Iterable[CutSet]:
        cuts = CutSet(FragmentCuts(self._first))
        if self._bins is None:
            sample = list(islice(FragmentCuts(self._first), _ESTIMATE_FROM))
            self._bins = estimate_duration_buckets(sample, min(_BUCKETS, len(sample))) if len(sample) > 1 else []
        if self._replays:
            others = [CutSet(FragmentCuts(replay)) for replay in self._replays]
            cuts = CutSet.mux(cuts, *others, weights=self.weights, stop_early=True, seed=self.seed + epoch)
        return DynamicBucketingSampler(  # type: ignore[no-any-return]
            cuts,
            max_duration=self.batch_seconds,
            duration_bins=self._bins,
            shuffle=True,
            seed=self.seed + epoch,
            rank=self.rank,
            world_size=self.world_size,
        )

    def _batch_seed(self, epoch: int, index: int) -> int:
        # Spread by odd constants (splitmix64's), so that neighbours share no bits; torch takes 63 of them.
        mixed = (self.seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9 + index * 0x94D049BB133111EB) ^ self.rank
        mixed = (mixed ^ (mixed >> 31)) * 0x9E3779B97F4A7C15
        return mixed & (2**63 - 1)
