"""The labelling configuration: the page that an annotator sees, made of the project's own labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from asr.errors import ConfigError, MissingExtraError
from asr.exporters.label_studio import REGION, SPEECH
from asr.importers.entries import ANSWERED, CANNOT_TELL, CANNOT_TELL_CONTROL, CHOSEN
from asr.importers.label_studio import AUDIO_KEY

SENTENCE_TYPES = ("statement", "question", "exclamation", "command")
TUNES = ("rise", "fall", "fall-rise", "rise-fall", "level")

_ASKED = {
    "text": "What is said, word for word, in the dialect's own words",
    "dialect": "Dialect",
    "intonation": "What the voice makes of the sentence, whatever the words are",
    "tune": "How the melody ends",
    "emphasis": "Words that stand out, one a line; of several that are the same, the second is: word (2)",
    "expressions": "Words and phrases of the dialect, one a line: septante = soixante-dix",
}


@dataclass(frozen=True, slots=True)
class LabelValues:
    """What can be chosen.

    Attributes:
        dialects: BCP 47 tags.
        intonations: Sentence types.
        tunes: Melodies.
    """

    dialects: tuple[str, ...]
    intonations: tuple[str, ...] = SENTENCE_TYPES
    tunes: tuple[str, ...] = TUNES

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: A list is empty, or has a value twice, or one that is taken.
        """
        for name, values in self.by_field.items():
            if not values:
                raise ConfigError(f"there is no {name} to choose; give at least one")
            if len(set(values)) < len(values) or CANNOT_TELL in values:
                raise ConfigError(f"every {name} is given once, and {CANNOT_TELL!r} not at all: it is always there")

    @property
    def by_field(self) -> dict[str, tuple[str, ...]]:
        """The choices by the field of a fragment that they are for."""
        return dict(zip(CHOSEN, (self.dialects, self.intonations, self.tunes), strict=True))


def labelling_config(values: LabelValues, *, regions: bool = False) -> str:
    """Return the XML that Label Studio makes the page of.

    Args:
        values: What can be chosen.
        regions: Whether the answers are about regions of long recordings, as `asr.exporters.label_studio` writes them
            for fragments that are a part of one; else about the whole.
    """
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Audio", name=AUDIO_KEY, value=f"${AUDIO_KEY}")
    about = {"toName": AUDIO_KEY} | ({"perRegion": "true"} if regions else {})
    if regions:
        labels = ElementTree.SubElement(view, "Labels", name=REGION, toName=AUDIO_KEY)
        ElementTree.SubElement(labels, "Label", value=SPEECH)
    for name in ANSWERED:
        ElementTree.SubElement(view, "Header", value=_ASKED[name], size="5")
        if name in CHOSEN:
            _choices(view, name, (*values.by_field[name], CANNOT_TELL), about | {"choice": "single-radio"})
        else:
            size = {"rows": "3", "maxSubmissions": "1"} if name == "text" else {"rows": "1"}
            ElementTree.SubElement(view, "TextArea", {"name": name, "editable": "true"} | size | about)
    ElementTree.SubElement(view, "Header", value="What nobody could tell from this recording", size="5")
    written = [name for name in ANSWERED if name not in CHOSEN]
    _choices(view, CANNOT_TELL_CONTROL, written, about | {"choice": "multiple"})
    ElementTree.indent(view)
    return ElementTree.tostring(view, "unicode") + "\n"


def read_choices(path: Path) -> dict[str, tuple[str, ...]]:
    """Return what can be chosen on a page, by control; the configuration may have been changed by hand.

    Raises:
        ConfigError: The file cannot be read, is no such configuration, or lacks the control for the text.
        MissingExtraError: defusedxml is not installed.
    """
    try:
        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import parse
    except ImportError as error:
        raise MissingExtraError("to read it, install the extra: pip install 'dialect-asr[annotate]'") from error
    try:
        view = parse(path).getroot()
    except OSError as error:
        raise ConfigError(f"the labelling configuration {path} cannot be read: {error.strerror or error}") from error
    except (ElementTree.ParseError, DefusedXmlException, ValueError) as error:
        raise ConfigError(f"the labelling configuration {path} is no plain XML; see `asr annotate config`") from error
    controls = {item.get("name"): item for item in view.iter() if item.get("toName") == AUDIO_KEY}
    if "text" not in controls:
        raise ConfigError(f"the labelling configuration {path} has no control 'text'; see `asr annotate config`")
    return {
        str(name): tuple(choice.get("value", "") for choice in control.iter("Choice"))
        for name, control in controls.items()
    }


def _choices(view: ElementTree.Element, name: str, values: tuple[str, ...] | list[str], about: dict[str, str]) -> None:
    control = ElementTree.SubElement(view, "Choices", {"name": name, "showInline": "true"} | about)
    for value in values:
        ElementTree.SubElement(control, "Choice", value=value)
