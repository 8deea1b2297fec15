"""Splits a manifest so that no speaker is on two sides, the same way for the same seed."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment, read_manifest, write_manifest

# The share that gets the speakers nobody asked for, when numbers of speakers are given.
REST = "train"


@dataclass(frozen=True, slots=True)
class Share:
    """One side of a split.

    Attributes:
        name: Such as ``train``; becomes the ``split`` of its fragments and the name of its manifest.
        path: The manifest written.
        fragments: Number of fragments.
        hours: Hours of audio, of the fragments whose duration is known.
        speakers: Number of speakers; fragments without one count by conversation, or else by recording.
        dialects: Speakers by dialect (the one most of a speaker's fragments have); "" where none is given.
    """

    name: str
    path: str
    fragments: int
    hours: float
    speakers: int
    dialects: dict[str, int]


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What a split made.

    Attributes:
        shares: In the order they were asked for.
        without_speaker: Fragments that name no speaker; a voice may then be on two sides.
        skipped: Broken lines left out.
    """

    shares: tuple[Share, ...]
    without_speaker: int
    skipped: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, ready for JSON."""
        return asdict(self)


def split_manifest(
    manifest: str | Path,
    output_dir: str | Path,
    shares: Mapping[str, float] | None = None,
    speakers: Mapping[str, int] | None = None,
    seed: int = 0,
    on_error: Literal["raise", "skip"] = "raise",
    errors: list[ManifestError] | None = None,
) -> SplitReport:
    """Write one manifest per share, ``<output_dir>/<name>.jsonl``, with ``split`` set in every fragment.

    Every dialect's speakers are spread over the shares in proportion, and each share gets at least one of them
    where there are enough. The result depends on the speakers and the seed, not on the order of the lines.

    Args:
        manifest: The manifest to split; it is read once per share.
        output_dir: Folder of the new manifests.
        shares: Name to part of the speakers; the parts add up to 1.
        speakers: Name to number of speakers, instead of ``shares``. Speakers left over go to ``train``.
        seed: Another seed gives another split.
        on_error: What a broken line does, as in `read_manifest`.
        errors: With ``"skip"``, receives one error per broken line.

    Raises:
        ConfigError: The shares cannot be had: they do not add up, or there are too few speakers.
        ManifestError: The manifest cannot be read.
    """
    source, folder = Path(manifest), Path(output_dir)
    broken: list[ManifestError] = [] if errors is None else errors
    before = len(broken)
    base = source.absolute().parent
    groups, without_speaker = _groups(read_manifest(source, on_error, broken), base)
    skipped = len(broken) - before
    counts = _counts(shares, speakers, len(groups))
    targets = {name: folder / f"{name}.jsonl" for name in counts}
    for name, target in targets.items():
        if target.absolute() == source.absolute():
            raise ConfigError(f"the share {name!r} would overwrite the manifest {source}; choose another folder")
    assignment = assign(groups, counts, seed)

    written = []
    for name, target in targets.items():
        members = [key for key, share in assignment.items() if share == name]
        chosen = _tagged(read_manifest(source, on_error, []), base, assignment, name)
        tally = _Tally()
        write_manifest(tally.watch(chosen), target)
        dialects = Counter(groups[key] for key in members)
        written.append(
            Share(
                name, str(target), tally.fragments, tally.seconds / 3600, len(members), dict(sorted(dialects.items()))
            )
        )
    return SplitReport(tuple(written), without_speaker, skipped)


def split_as_tagged(
    manifest: str | Path,
    output_dir: str | Path,
    on_error: Literal["raise", "skip"] = "raise",
    errors: list[ManifestError] | None = None,
) -> SplitReport:
    """Write one manifest per ``split`` that the fragments carry, for a corpus that comes with its own sides.

    Args:
        manifest: The manifest; it is read once per side.
        output_dir: Folder of the new manifests.
        on_error: What a broken line does, as in `read_manifest`.
        errors: With ``"skip"``, receives one error per broken line.

    Raises:
        ConfigError: A side's name cannot be a file's.
        ManifestError: The manifest cannot be read, or a fragment carries no split.
    """
    source, folder = Path(manifest), Path(output_dir)
    broken: list[ManifestError] = [] if errors is None else errors
    before = len(broken)
    base = source.absolute().parent
    sides: dict[str, dict[str, Counter[str]]] = {}
    without_speaker = 0
    for fragment in read_manifest(source, on_error, broken):
        if fragment.split is None:
            raise ManifestError(f"fragment {fragment.id!r} carries no split; split by speaker instead", source)
        without_speaker += fragment.speaker is None
        speakers = sides.setdefault(fragment.split, {})
        speakers.setdefault(_key(fragment, base), Counter())[fragment.dialect or ""] += 1
    skipped = len(broken) - before
    _check_names(sides)
    written = []
    for name, speakers in sorted(sides.items()):
        target = folder / f"{name}.jsonl"
        tally = _Tally()
        chosen = (one for one in read_manifest(source, on_error, []) if one.split == name)
        write_manifest(tally.watch(chosen), target)
        dialects = Counter(found.most_common(1)[0][0] for found in speakers.values())
        written.append(
            Share(
                name, str(target), tally.fragments, tally.seconds / 3600, len(speakers), dict(sorted(dialects.items()))
            )
        )
    return SplitReport(tuple(written), without_speaker, skipped)


def assign(groups: Mapping[str, str], counts: Mapping[str, int], seed: int) -> dict[str, str]:
    """Give every group to a share: exact numbers, every stratum spread.

    Args:
        groups: Group (a speaker) to stratum (its dialect).
        counts: Share to number of groups; they add up to the number of groups.
        seed: Chooses the groups within a stratum.

    Returns:
        Group to share.
    """
    strata: dict[str, list[str]] = defaultdict(list)
    # By hash, not by shuffling: one speaker more does not deal all the others anew.
    for group in sorted(groups, key=lambda key: hashlib.sha256(f"{seed}\0{key}".encode()).digest()):
        strata[groups[group]].append(group)
    table = _table({stratum: len(members) for stratum, members in sorted(strata.items())}, counts)
    assignment: dict[str, str] = {}
    for stratum, members in strata.items():
        remaining = iter(members)
        for share in counts:
            for _ in range(table[share, stratum]):
                assignment[next(remaining)] = share
    return assignment


def _table(strata: Mapping[str, int], counts: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """Return how many groups of each stratum each share gets: whole numbers with both sums exact.

    One of each stratum for every share first, rare strata and small shares before the others; then always the cell
    that is furthest below its proportional number.
    """
    total = sum(strata.values())
    ideal = {(share, stratum): counts[share] * strata[stratum] / total for share in counts for stratum in strata}
    cells = dict.fromkeys(ideal, 0)
    rows, columns = dict(counts), dict(strata)

    def give(share: str, stratum: str) -> None:
        cells[share, stratum] += 1
        rows[share] -= 1
        columns[stratum] -= 1

    spreadable = sorted((size, stratum) for stratum, size in strata.items() if size >= len(counts))
    for _, stratum in spreadable:
        for share in sorted(counts, key=lambda name: counts[name]):
            if rows[share]:
                give(share, stratum)
    # A share that has none left drops out, and so does a stratum; the rest of both always fits.
    order = {cell: place for place, cell in enumerate(ideal)}
    heap = [(cells[cell] - ideal[cell], order[cell], cell) for cell in ideal]
    heapq.heapify(heap)
    while heap:
        _, place, (share, stratum) = heapq.heappop(heap)
        if rows[share] and columns[stratum]:
            give(share, stratum)
            excess = cells[share, stratum] - ideal[share, stratum]
            heapq.heappush(heap, (excess, place, (share, stratum)))
    return cells


def _counts(shares: Mapping[str, float] | None, speakers: Mapping[str, int] | None, total: int) -> dict[str, int]:
    """Return the number of groups of each share, in the order asked for."""
    if (shares is None) == (speakers is None):
        raise ConfigError("give either shares (train=0.8) or numbers of speakers (dev=13), one of the two")
    _check_names(shares or speakers or {})
    if not total:
        raise ConfigError("the manifest has no fragments to split")
    if speakers is not None:
        return _from_numbers(speakers, total)
    assert shares is not None
    if not shares or any(not part > 0 for part in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        found = ", ".join(f"{name}={part:g}" for name, part in shares.items())
        raise ConfigError(f"shares must be above 0 and add up to 1, found {found or 'none'}")
    if total < len(shares):
        raise ConfigError(f"{total} speakers cannot be split into {len(shares)} shares; give fewer shares")
    # At least one each; the others by largest remainder.
    counts = {name: max(1, int(part * total)) for name, part in shares.items()}
    while (missing := total - sum(counts.values())) != 0:
        step = 1 if missing > 0 else -1
        open_shares = [name for name in shares if step > 0 or counts[name] > 1]
        counts[max(open_shares, key=lambda name: step * (shares[name] * total - counts[name]))] += step
    return counts


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise ConfigError(f"the share {name!r} names a file; use letters, digits, '-' and '_'")


def _from_numbers(speakers: Mapping[str, int], total: int) -> dict[str, int]:
    if not speakers or any(number < 1 for number in speakers.values()):
        raise ConfigError("every share needs at least one speaker")
    asked = sum(speakers.values())
    found = ", ".join(f"{name}={number}" for name, number in speakers.items())
    if asked > total or (asked < total and REST in speakers):
        raise ConfigError(f"{found} makes {asked} speakers, but the manifest has {total}; change the numbers")
    return dict(speakers) if asked == total else {REST: total - asked, **speakers}


def _groups(fragments: Iterable[Fragment], base: Path) -> tuple[dict[str, str], int]:
    """Return every group with the dialect that most of its fragments have, and how many name no speaker."""
    dialects: dict[str, Counter[str]] = defaultdict(Counter)
    without_speaker = 0
    for fragment in fragments:
        without_speaker += fragment.speaker is None
        dialects[_key(fragment, base)][fragment.dialect or ""] += 1
    groups = {key: min(found, key=lambda name: (-found[name], name)) for key, found in dialects.items()}
    return groups, without_speaker


def _key(fragment: Fragment, base: Path) -> str:
    """Return what must stay together: the speaker, else the conversation, else the recording."""
    if fragment.speaker is not None:
        return f"speaker {fragment.speaker}"
    if fragment.conversation is not None:
        return f"conversation {fragment.conversation}"
    audio = Path(fragment.audio)
    # Relative, so that the same corpus in another folder is split the same way.
    return f"recording {audio.relative_to(base).as_posix() if audio.is_relative_to(base) else audio}"


def _tagged(fragments: Iterable[Fragment], base: Path, assignment: Mapping[str, str], name: str) -> Iterator[Fragment]:
    for fragment in fragments:
        if assignment.get(_key(fragment, base)) == name:
            yield fragment.replace(split=name)


class _Tally:
    """Counts what streams by."""

    def __init__(self) -> None:
        self.fragments = 0
        self.seconds = 0.0

    def watch(self, fragments: Iterable[Fragment]) -> Iterator[Fragment]:
        for fragment in fragments:
            self.fragments += 1
            self.seconds += fragment.duration or 0.0
            yield fragment
