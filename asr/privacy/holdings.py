"""What the register is drawn from: the cards of corpora, what manifests hold, and measured figures."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from asr.errors import ConfigError
from asr.fragment import Fragment, read_numbered

NOT_STATED = "not stated"


class Figure(BaseModel):
    """A measured figure.

    Attributes:
        name: What was measured.
        value: As it was printed.
        command: The command that printed it.
        interval: Low and high end of its 95 % interval.
        n: Number of cases behind it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    value: float | str
    command: str
    interval: tuple[float, float] | None = None
    n: int | None = None


_FIGURES = TypeAdapter(tuple[Figure, ...])


@dataclass(frozen=True)
class Card:
    """What the card of a corpus says.

    Attributes:
        name: Of its folder.
        title: First heading.
        about: First paragraph.
        stated: Its table: heading in lower case to text.
    """

    name: str
    title: str
    about: str
    stated: Mapping[str, str]


@dataclass
class Held:
    """What manifests hold of one corpus.

    Attributes:
        fragments: How many.
        seconds: Of those whose duration is known.
        speakers: Their pseudonyms; only their number is shown.
        dialects: Fragments by dialect.
        licences: Fragments by licence.
        purposes: Fragments by a purpose that somebody agreed to.
        fields: Fragments by what they say about a person.
        without_consent: Fragments without a consent record.
        withdrawn: Fragments whose consent was withdrawn.
        expired: Fragments whose consent has expired.
        endless: Fragments whose consent has no end.
        expires: First and last day on which a consent ends.
    """

    fragments: int = 0
    seconds: float = 0.0
    speakers: set[str] = field(default_factory=set)
    dialects: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    purposes: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)
    without_consent: int = 0
    withdrawn: int = 0
    expired: int = 0
    endless: int = 0
    expires: tuple[date, date] | None = None

    def add(self, fragment: Fragment, today: date) -> None:
        """Count a fragment."""
        self.fragments += 1
        self.seconds += fragment.duration or 0.0
        if fragment.speaker is not None:
            self.speakers.add(fragment.speaker)
        self.dialects[fragment.dialect or NOT_STATED] += 1
        self.licences[fragment.licence or NOT_STATED] += 1
        self.fields.update(name for name in PERSONAL if getattr(fragment, name))
        consent = fragment.consent
        if consent is None:
            self.without_consent += 1
            return
        self.purposes.update(consent.purposes)
        self.withdrawn += consent.withdrawn is not None and consent.withdrawn <= today
        self.endless += consent.expires is None
        if (end := consent.expires) is not None:
            self.expired += end < today
            first, last = self.expires or (end, end)
            self.expires = min(first, end), max(last, end)


# What a fragment says about a person, and how the register calls it.
PERSONAL = {
    "audio": "voice recording",
    "text": "what was said",
    "speaker": "pseudonym",
    "gender": "gender",
    "age_band": "age band",
    "dialect": "dialect",
    "conversation": "conversation",
    "annotator": "pseudonym of the annotator",
}


def read_card(folder: Path) -> Card:
    """Read the card of a corpus, its ``README.md``.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        text = (folder / "README.md").read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the card of {folder} cannot be read: {error}") from None
    title = re.search(r"^# +(.+)$", text, re.M)
    paragraphs = [part for part in re.split(r"\n\s*\n", text) if part.strip() and part.lstrip()[0] not in "#|`"]
    stated: dict[str, str] = {}
    for key, value in re.findall(r"^\|([^|\n]+)\|(.+)\|\s*$", text, re.M):
        if key.strip() and set(key.strip()) - set("-: "):
            stated.setdefault(key.strip().lower(), _plain(value))
    about = _plain(paragraphs[0]) if paragraphs else NOT_STATED
    return Card(folder.name, _plain(title[1]) if title else folder.name, about, stated)


def read_cards(datasets: Path) -> Iterator[Card]:
    """Read the cards of the corpora under a folder: of the folders that have a recipe, too.

    Raises:
        ConfigError: There is no such folder, or a card cannot be read.
    """
    if not datasets.is_dir():
        raise ConfigError(f"there is no folder {datasets} of corpora; name it with --datasets")
    for card in sorted(datasets.glob("*/README.md")):
        if (card.parent / "recipe.yaml").is_file():
            yield read_card(card.parent)


def read_figures(path: Path) -> tuple[Figure, ...]:
    """Read a JSON list of figures, as the privacy benchmarks write it.

    Raises:
        ConfigError: It is none; a figure without its command is refused, too.
    """
    try:
        return _FIGURES.validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"the figures {path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{path} is no list of figures, each with 'name', 'value' and the 'command' that printed it: {place}: "
            f"{first['msg']}"
        ) from None


def count_held(manifests: Iterable[Path], today: date) -> tuple[dict[str, Held], int]:
    """Count what some manifests hold, by corpus.

    Returns:
        By the corpus' name ("not stated" where a fragment names none), and the number of broken lines.

    Raises:
        ManifestError: A manifest cannot be read.
    """
    held: dict[str, Held] = defaultdict(Held)
    broken = 0
    for path in manifests:
        for _, item in read_numbered(path):
            if isinstance(item, Fragment):
                held[item.corpus or NOT_STATED].add(item, today)
            else:
                broken += 1
    return dict(held), broken


def _plain(text: str) -> str:
    """Take the marks of Markdown out of a line: code, bold, links."""
    text = re.sub(r"\[([^\]]*)\]\(([^)]*)\)", r"\1", text)
    return " ".join(text.replace("`", "").replace("**", "").split())


def figures_json(figures: Iterable[Figure]) -> str:
    """Return figures as `read_figures` reads them, for benchmarks to write."""
    return json.dumps([figure.model_dump(exclude_none=True) for figure in figures], ensure_ascii=False, indent=2) + "\n"
