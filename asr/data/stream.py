"""Manifests as an endless, weighted, shuffled stream of batches whose place can be saved and found again.

lhotse does the mixing, the shuffling and the duration buckets; an example rides in its cut's ``custom``, because its
audio is read by this package's own loader.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lhotse import CutSet, MonoCut
from lhotse.dataset.sampling.dynamic_bucketing import (
    DynamicBucketingSampler,
    FixedBucketBatchSizeConstraint,
    estimate_duration_buckets,
)

from asr.audio import probe
from asr.corpus.validate import MAX_LABEL_TOKENS, label_tokens
from asr.data.examples import MAX_SECONDS, Example, examples_of
from asr.errors import AudioError, ConfigError, ManifestError
from asr.fragment import Fragment, read_numbered
from asr.jsonlines import read_objects
from asr.privacy.consent import ConsentCheck

log = logging.getLogger(__name__)

# With them 4 % of a batch are padding, with 10 it is 8 (88 minutes of fragments of 5 s in batches of 100 s).
_MOST_BUCKETS = 20
# Longest fragment of each bucket, in seconds, where the data are not looked at first.
_FIXED_EDGES = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0, 12.0, 15.0, 20.0, 25.0)
_ESTIMATE_FROM = 10_000
# Faults named one by one in the log; the rest are only counted.
_NAMED_FAULTS = 10
# Who reads fragments to learn from them asks for this, unless told otherwise.
FOR_TRAINING = ConsentCheck("training")


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
        examples: What is heard together; none where other processes have a batch and this one does not.
        after: The stream's position behind this batch; None outside an endless stream.
        seed: Of all random choices made for this batch; a function of the stream's seed and the position.
    """

    examples: tuple[Example, ...]
    after: Position | None
    seed: int


def order_hash(manifest: str | Path) -> str:
    """SHA-256 of all that the order of a manifest's fragments in a stream depends on, and more: all but consent.

    Raises:
        ManifestError: It cannot be read.
    """
    found = hashlib.sha256()
    for _, item in read_objects(manifest):
        line = "" if isinstance(item, ManifestError) else json.dumps(item | {"consent": None}, sort_keys=True)
        found.update(line.encode() + b"\n")
    return found.hexdigest()


class UsableFragments:
    """The fragments of a manifest that can be learnt from; iterating again reads it again.

    Left out is a fragment that is over 30 s, in a language that the model does not know, with a label over 448 tokens
    or with Whisper's own tokens in its text or dialect, or whose duration is neither given nor told by its recording;
    and so is a broken line. The first ten are named in the log, once, with their places and without their texts; all
    are counted. A fragment without consent is left out before anything else is asked; `asr.privacy.consent.ask` says
    how many.

    Args:
        manifest: The manifest.
        languages: Codes of the languages that count; all when None.
        consent: Those with a place in it are given; None was told to ask nothing.
    """

    def __init__(
        self,
        manifest: str | Path,
        languages: Collection[str] | None = None,
        consent: ConsentCheck | None = FOR_TRAINING,
    ) -> None:
        self.manifest = Path(manifest)
        self.languages = languages
        self.consent = consent
        # Lines up to this one have been reported; a pass may end before the manifest does.
        self._reported = 0
        self._counted = False

    def __iter__(self) -> Iterator[Fragment]:
        """Yield fragments whose ``duration`` is set.

        Raises:
            ManifestError: The manifest cannot be read, or nothing in it can be used.
        """
        kept = faults = refused = 0
        for number, item in read_numbered(self.manifest):
            if self.consent is not None and isinstance(item, Fragment) and not self.consent.has_place(item):
                refused += 1
                continue
            usable = _usable(item, self.languages)
            if isinstance(usable, Fragment):
                kept += 1
                yield usable
                continue
            faults += 1
            if faults <= _NAMED_FAULTS and number > self._reported:
                self._reported = number
                log.warning("left out (%s:%d): %s", self.manifest.name, number, usable)
        if faults and not self._counted:
            log.warning("%s: %d of %d fragments were left out", self.manifest.name, faults, kept + faults)
        self._counted = True
        if not kept:
            without = f" ({refused} have no consent to {self.consent.purpose})" if self.consent and refused else ""
            raise ManifestError(f"no fragment in it can be used{without}; run `asr validate` on it", self.manifest)


def _usable(item: Fragment | ManifestError, languages: Collection[str] | None) -> Fragment | str:
    """Return the fragment with its duration, or why it cannot be used."""
    if isinstance(item, ManifestError):
        # The place is in the log beside it, without the folder.
        return str(item).removesuffix(f" ({item.path}:{item.line})")
    name = f"fragment {item.id!r}"
    if languages is not None and item.language not in languages:
        return f"{name} is in {item.language!r}, which the model does not know"
    for kind, given in (("text", item.text), ("dialect", item.dialect)):
        if given is not None and "<|" in given:
            return f"the {kind} of {name} holds '<|', with which Whisper's own tokens begin; take them out of it"
    if item.duration is None:
        try:
            item = item.replace(duration=probe(item.audio).duration - item.start)
        except (AudioError, ManifestError, OSError):
            return f"the duration of {name} is not given and its recording does not tell it; run `asr validate`"
    if item.duration is not None and item.duration > MAX_SECONDS:
        return f"{name} lasts {item.duration:.1f} s, Whisper hears {MAX_SECONDS:.0f} s at a time; cut it"
    if (tokens := label_tokens(item.text)) > MAX_LABEL_TOKENS:
        return f"the label of {name} has {tokens} tokens, Whisper has room for {MAX_LABEL_TOKENS}; cut the fragment"
    return item


class _Cuts:
    """Examples as lhotse's cuts; iterating again iterates the fragments again.

    Args:
        fragments: What they are made of.
        joined: Share of the fragments that are joined, see `asr.data.examples.examples_of`.
        seed: Of what is joined.
    """

    def __init__(self, fragments: Iterable[Fragment], joined: float = 0.0, seed: int = 0) -> None:
        self.fragments = fragments
        self.joined = joined
        self.seed = seed

    def __iter__(self) -> Iterator[MonoCut]:
        for example in examples_of(self.fragments, self.joined, self.seed):
            first = example.parts[0]
            yield MonoCut(first.id, first.start, example.seconds, channel=0, custom={"example": example})


class _Fragments:
    """The fragments of cuts; iterating again iterates the cuts again."""

    def __init__(self, cuts: Iterable[MonoCut]) -> None:
        self.cuts = cuts

    def __iter__(self) -> Iterator[Fragment]:
        for cut in self.cuts:
            yield from cut.custom["example"].parts


class _Replay:
    """A manifest that never ends, and goes on where it was left."""

    def __init__(self, fragments: UsableFragments) -> None:
        self.fragments = fragments
        self.taken = 0
        self._offset = 0
        self._length: int | None = None

    def start_at(self, offset: int) -> None:
        """Begin a pass after ``offset`` fragments, counted over all passes."""
        self._offset = offset
        self.taken = 0

    def __iter__(self) -> Iterator[Fragment]:
        skip = self._offset if self._length is None else self._offset % self._length
        while True:
            passed = 0
            for fragment in self.fragments:
                passed += 1
                if passed > skip:
                    self.taken += 1
                    yield fragment
            self._length = passed
            # What a first reading has shown: how often the offset goes round.
            skip = max(0, skip - passed) % passed


def sequential_batches(
    fragments: Iterable[Fragment], batch_seconds: float, rank: int = 0, world_size: int = 1
) -> Iterator[tuple[Example, ...]]:
    """Every fragment once, in batches of similar length.

    Args:
        fragments: With their durations, none over 30 s (`UsableFragments`).
        batch_seconds: Most seconds of audio in a batch, padding up to its longest fragment included; a longer fragment
            is a batch of its own.
        rank: This process's number; it gets every ``world_size``-th fragment.
        world_size: Number of processes.
    """
    cuts = CutSet(_Cuts(islice(fragments, rank, None, world_size)))
    return map(_examples, _bucketed(cuts, [*_FIXED_EDGES, MAX_SECONDS], batch_seconds))


def _examples(cuts: CutSet) -> tuple[Example, ...]:
    return tuple(cut.custom["example"] for cut in cuts)


def _bucketed(
    cuts: CutSet,
    edges: Sequence[float],
    batch_seconds: float,
    shuffle: bool = False,
    seed: int = 0,
) -> DynamicBucketingSampler:
    """Batches out of buckets that end at ``edges`` (seconds, rising, the last one above all durations)."""
    # A fixed size per bucket: lhotse's own limit by duration counts with the longest cut so far, and lets one more in
    # that may be much longer.
    sizes = [max(1, int(batch_seconds / edge)) for edge in edges]
    return DynamicBucketingSampler(
        cuts,
        constraint=FixedBucketBatchSizeConstraint(list(edges), sizes),
        duration_bins=list(edges[:-1]),
        shuffle=shuffle,
        seed=seed,
        # It is told that it is alone: of several processes it would give each as many batches by repeating some.
        rank=0,
        world_size=1,
    )


class BatchStream:
    """Endless batches of one or several manifests, the same for the same seed, from any position on.

    A pass (an epoch) hears every fragment of the first manifest once; fragments of the others are drawn beside them
    by weight, and the next pass goes on in them where the last one stopped.

    Several processes make the same batches and each takes its own of them, round by round. Where the last round of a
    pass has not a batch for every process, its batches are halved until it has; where these are too few fragments for
    that, some processes draw a batch without fragments. So every fragment is heard once, and no process waits.

    A share of the fragments is joined with others of the same speaker to longer examples, up to 30 s.

    Args:
        manifests: The manifests.
        batch_seconds: Most seconds of audio in a batch, padding up to its longest fragment included; a longer fragment
            is a batch of its own.
        weights: How often each manifest is drawn from, in any unit; equal when empty.
        seed: Of order and draws.
        rank: This process's number.
        world_size: Number of processes.
        languages: Codes of the languages that the model knows; fragments in others are left out. All when None.
        consent: What is asked of the fragments; None was told to ask nothing.
        joined: Share of the fragments that are joined.

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
        languages: Collection[str] | None = None,
        consent: ConsentCheck | None = FOR_TRAINING,
        joined: float = 0.0,
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
        self.consent = consent
        self.joined = joined
        self._first = UsableFragments(manifests[0], languages, consent)
        self._replays = [_Replay(UsableFragments(manifest, languages, consent)) for manifest in manifests[1:]]
        self._edges: list[float] | None = None

    def __iter__(self) -> Iterator[Draw]:
        """Yield batches from `position` on, for ever.

        Raises:
            ManifestError: A manifest cannot be read, holds nothing usable, or no consent is left.
        """
        position = self.position
        while True:
            offsets = position.offsets or (0,) * len(self._replays)
            for replay, offset in zip(self._replays, offsets, strict=True):
                replay.start_at(offset)
            given = False
            for index, dealt in enumerate(self._rounds(position.epoch)):
                if index < position.batch:
                    continue
                allowed = [self._allowed(examples) for examples in dealt]
                if any(allowed):
                    given = True
                    after = Position(position.epoch, index + 1, offsets)
                    yield Draw(allowed[self.rank], after, self._batch_seed(position.epoch, index))
            if not given and position.batch == 0:
                raise ManifestError(
                    "the consent of every fragment in it has ended; nothing is left to train on", self._first.manifest
                )
            taken = (replay.taken for replay in self._replays)
            position = Position(position.epoch + 1, 0, tuple(a + b for a, b in zip(offsets, taken, strict=True)))

    def _allowed(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """Of a batch what may be heard today; consent can end while a run lasts, or lies interrupted."""
        if self.consent is None:
            return tuple(examples)
        left = (example.only(self.consent.allows) for example in examples)
        return tuple(example for example in left if example is not None)

    def _rounds(self, epoch: int) -> Iterator[list[list[Example]]]:
        """The batches of a pass, one for each process at a time."""
        batches = (list(_examples(cuts)) for cuts in self._batches(epoch))
        while dealt := list(islice(batches, self.world_size)):
            while len(dealt) < self.world_size:
                longest = max(dealt, key=len)
                half = len(longest) // 2
                # A part of a batch is no longer than the batch. One fragment cannot be halved: its part is empty.
                dealt.append(longest[:half])
                del longest[:half]
            yield dealt

    def _batches(self, epoch: int) -> Iterable[CutSet]:
        if self._edges is None:
            self._edges = self._estimate_edges()
        fragments: Iterable[Fragment] = self._first
        if self._replays:
            several = [CutSet(_Cuts(self._first)), *(CutSet(_Cuts(replay)) for replay in self._replays)]
            fragments = _Fragments(CutSet.mux(*several, weights=self.weights, stop_early=True, seed=self.seed + epoch))
        # Joined once they are mixed: so nothing that was drawn is left over when a pass ends.
        cuts = CutSet(_Cuts(fragments, self.joined, self.seed + epoch))
        return _bucketed(  # type: ignore[no-any-return]
            cuts, self._edges, self.batch_seconds, True, self.seed + epoch
        )

    def _estimate_edges(self) -> list[float]:
        """Where buckets end that hold equally much of the first manifest, and one for what is longer than all of it."""
        sample = list(islice(_Cuts(self._first, self.joined, self.seed), _ESTIMATE_FROM))
        # Each ends a pass with a batch that is not full: no more of them than there are batches.
        batches = int(sum(cut.duration for cut in sample) / self.batch_seconds)
        count = min(_MOST_BUCKETS, len(sample), batches)
        starts = estimate_duration_buckets(sample, count) if count > 1 else []
        return sorted({*map(float, starts), max(cut.duration for cut in sample), MAX_SECONDS})

    def _batch_seed(self, epoch: int, index: int) -> int:
        # Spread by odd constants (splitmix64's), so that neighbours share no bits; torch takes 63 of them.
        mixed = (self.seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9 + index * 0x94D049BB133111EB) ^ self.rank
        mixed = (mixed ^ (mixed >> 31)) * 0x9E3779B97F4A7C15
        return mixed & (2**63 - 1)
