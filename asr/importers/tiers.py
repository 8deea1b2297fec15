"""Tiers to fragments: what Praat and ELAN have in common, stretches of time with a text, a tier for each speaker."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from asr.errors import ConfigError, ManifestError
from asr.fragment import Fragment
from asr.importers.beside import BesideOptions, Ids
from asr.importers.fields import Source, translate

# Fields that a label of another tier can fill.
_LABELLED = tuple(
    name
    for name in Fragment.model_fields
    if name not in ("id", "audio", "text", "start", "duration", "emphasis", "words", "expressions", "consent", "custom")
)


@dataclass(frozen=True, slots=True)
class TierOptions(BesideOptions):
    """Options of `import_textgrid` and `import_elan`.

    Attributes:
        tiers: Name of a tier, ``*`` for any characters, to the id of its speaker; null leaves the tier out. The first
            that fits counts. A tier that is not named here is a speaker's, whose id is the participant that the file
            gives it, or else its name.
        labels: Our field to the tier whose label at the middle of a stretch it takes; ``{tier}`` stands for the name of
            the stretch's own tier. With a table, their labels are translated as in the importer ``jsonl``.
    """

    tiers: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, Source] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ConfigError: A name is no field of a fragment, or the language is missing.
        """
        BesideOptions.__post_init__(self)
        for name in self.labels:
            if name not in _LABELLED:
                raise ConfigError(f"no tier can give the field {name!r}; accepted are {', '.join(_LABELLED)}")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A labelled stretch of time; a point has no length.

    Attributes:
        start: Seconds.
        end: Seconds.
        text: Its label, stripped.
        place: Where it stands, for a message.
    """

    start: float
    end: float
    text: str
    place: str


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier of an annotation file.

    Attributes:
        name: As the file has it.
        stretches: In order of time, without those that have no text.
        participant: Who speaks, where the file says so.
        speaks: Whether it holds what a speaker says, unless the options say otherwise; points and translations do not.
    """

    name: str
    stretches: Sequence[Stretch]
    participant: str | None = None
    speaks: bool = True


def tier_fragments(
    tiers: Sequence[Tier], path: Path, folder: Path, audio: Path, options: TierOptions
) -> Iterator[Fragment | ManifestError]:
    """Turn the tiers of one file into fragments, one per stretch.

    What tiers without a speaker say of a stretch, and no option asks for, stands in ``custom["tiers"]``.

    Args:
        tiers: In the order of the file.
        path: The file.
        folder: Of the corpus.
        audio: The recording.
        options: Speakers and labels.

    Yields:
        The fragments tier by tier, and errors of stretches that cannot be one.
    """
    ids = Ids(path, folder)
    tracks = {tier.name: _Track(tier) for tier in tiers}
    speakers = {tier.name: _speaker(tier, options) for tier in tiers}
    for number, tier in enumerate(tiers, 1):
        if speakers[tier.name] is None:
            continue
        sources = {name: (source, source.field.replace("{tier}", tier.name)) for name, source in options.labels.items()}
        beside = [track for track in tracks.values() if not _is_told(track.tier, options)]
        for stretch in tier.stretches:
            if not 0 <= stretch.start < stretch.end:
                message = f"{stretch.place} ends at {stretch.end:g} s, not after its start at {stretch.start:g} s"
                yield ManifestError(message, path)
                continue
            data: dict[str, Any] = dict(options.constants)
            unmapped: dict[str, str] = {}
            for name, (source, wanted) in sources.items():
                label = tracks[wanted].at(stretch) if wanted in tracks else None
                if label is None:
                    continue
                data[name], known = translate(label, source.map) if source.map is not None else (label, True)
                if not known:
                    unmapped[name] = label
            others = {track.tier.name: label for track in beside if (label := track.at(stretch)) is not None}
            data |= {
                "id": ids.make(stretch.start, f"/t{number}"),
                "audio": str(audio),
                "text": " ".join(stretch.text.split()),
                "start": stretch.start,
                # Rounded to a nanosecond: the difference of two decimal fractions is not a short one.
                "duration": round(stretch.end - stretch.start, 9),
                "custom": {key: kept for key, kept in (("tiers", others), ("unmapped", unmapped)) if kept},
            }
            data.setdefault("speaker", speakers[tier.name])
            try:
                yield Fragment.from_dict(data)
            except ManifestError as error:
                yield ManifestError(f"{stretch.place}: {error}", path)


class _Track:
    """A tier that is asked for its label at a time."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self._starts = [stretch.start for stretch in tier.stretches]

    def at(self, stretch: Stretch) -> str | None:
        """Return the label at the middle of a stretch, or of the first point in it."""
        place = bisect_right(self._starts, (stretch.start + stretch.end) / 2) - 1
        if place >= 0 and self.tier.stretches[place].end > (stretch.start + stretch.end) / 2:
            return self.tier.stretches[place].text
        first = bisect_left(self._starts, stretch.start)
        if first < len(self._starts):
            found = self.tier.stretches[first]
            if found.start == found.end < stretch.end:
                return found.text
        return None


def _is_told(tier: Tier, options: TierOptions) -> bool:
    """Whether a tier is a speaker's, or gives labels, or is left out by the options."""
    named = (*options.tiers, *_label_patterns(options))
    return _speaker(tier, options) is not None or any(fnmatchcase(tier.name, pattern) for pattern in named)


def _speaker(tier: Tier, options: TierOptions) -> str | None:
    """Return the speaker of a tier, or None for one that is nobody's."""
    for pattern, speaker in options.tiers.items():
        if fnmatchcase(tier.name, pattern):
            return speaker
    if not tier.speaks or any(fnmatchcase(tier.name, pattern) for pattern in _label_patterns(options)):
        return None
    return tier.participant or tier.name


def _label_patterns(options: TierOptions) -> list[str]:
    return [source.field.replace("{tier}", "*") for source in options.labels.values()]
