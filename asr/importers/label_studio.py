"""Imports a Label Studio export (JSON): a fragment for every annotation of a task, or of a region of its recording.

Tasks that `asr.exporters.label_studio` wrote carry their fragment, which comes back with the annotator's answers. Those
of another project are translated by a recipe. An export is read as a stream, however many tasks it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from asr.errors import ManifestError, MissingExtraError
from asr.fragment import Fragment
from asr.importers.entries import ANSWERED, CANNOT_TELL, CANNOT_TELL_CONTROL, answered
from asr.importers.fields import FieldSource, Source, check_fields, translate
from asr.importers.places import lies_in

# Where a task of ours keeps its fragment, and where its recording.
FRAGMENT_KEY = "fragment"
AUDIO_KEY = "audio"
# The address under which Label Studio serves files of its own machine.
LOCAL_FILES = "/data/local-files/"
UPLOADS = "/data/upload/"
# Label Studio nests a dozen deep, and a fragment's own values a few more.
_DEPTH = 100
# Kinds of controls that are no answer: they name the region itself.
_REGIONS = ("labels", "audio")


class _Model(BaseModel):
    """Part of an export; keys that nobody needs here are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Value(_Model):
    """What an item says, and of which stretch of the recording, in seconds."""

    start: float | None = None
    end: float | None = None
    text: list[str] | str = ()  # type: ignore[assignment]
    choices: list[str] = Field(default_factory=list)


class _Item(_Model):
    """One control's answer."""

    id: str = ""
    from_name: str = ""
    type: str = ""
    value: dict[str, JsonValue] = Field(default_factory=dict)


class _Annotation(_Model):
    """What one annotator did with a task."""

    id: int | str | None = None
    completed_by: int | dict[str, Any] | None = None
    was_cancelled: bool = False
    result: list[_Item] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one annotator said of a task, or of a region of its recording.

    Attributes:
        annotator: Pseudonymous id, ``annotator-`` and Label Studio's number; never an address or a name.
        entries: Control to its entries.
        region: Start and end in seconds; None for the whole.
        others: Controls of other kinds, as they are.
    """

    annotator: str
    entries: Mapping[str, tuple[str, ...]]
    region: tuple[float, float] | None = None
    others: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """A task of an export.

    Attributes:
        number: Its place in the export, from 1.
        name: Label Studio's own number for it, or else its place.
        data: What it was made of.
        answers: In the order of the annotations, and of the regions in each.
        annotations: Number of annotations that were handed in and could be read.
        faults: Sentences on annotations that could not.
    """

    number: int
    name: str
    data: Mapping[str, Any]
    answers: tuple[Answer, ...]
    annotations: int
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelStudioOptions:
    """Options of `import_label_studio`.

    Attributes:
        root: Folder that Label Studio serves as its local files, relative to the export.
        fields: Our field to their control, or to a key of the task's data; with a table, their choices are translated
            as in the importer ``jsonl``. Names that are the same need none.
        constants: Our fields whose value is the same for the whole export, such as the language.
    """

    root: str = "."
    fields: Mapping[str, Source] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ConfigError: A name is no field of a fragment.
        """
        check_fields((*self.fields, *self.constants))


def import_label_studio(source: Path, options: LabelStudioOptions) -> Iterator[Fragment | ManifestError]:
    """Stream the fragments of an export; tasks that nobody has annotated, and annotations that were skipped, give none.

    A task that several have annotated gives a fragment for each, whose ids end in ``@`` and the annotator.

    Args:
        source: The export, in Label Studio's format JSON.
        options: Names and tables.

    Yields:
        Fragments in the order of the tasks; an error for a task, or one annotation of it, that cannot be used.

    Raises:
        ManifestError: The file cannot be read at all.
        MissingExtraError: ijson is not installed.
    """
    for task in read_export(source):
        if isinstance(task, ManifestError):
            yield task
            continue
        yield from (ManifestError(fault, source) for fault in task.faults)
        for number, answer in enumerate(task.answers, 1):
            try:
                yield _fragment(task, answer, source.parent / options.root, options)
            except ManifestError as error:
                yield ManifestError(f"answer {number} of task {task.name}: {error}", source)


def read_export(path: Path) -> Iterator[Task | ManifestError]:
    """Stream the tasks of an export.

    Yields:
        A task, or the error that describes why it is none; after one of the file itself there are no more.

    Raises:
        ManifestError: The file cannot be opened.
        MissingExtraError: ijson is not installed.
    """
    try:
        import ijson
    except ImportError as error:
        raise MissingExtraError(
            "to read Label Studio exports, install the extra: pip install 'dialect-asr[annotate]'"
        ) from error
    number = 0
    try:
        with path.open("rb") as handle:
            if handle.read(64).lstrip()[:1] != b"[":
                raise ManifestError("this is no Label Studio export; choose the format JSON there, not CSV", path)
            handle.seek(0)
            for number, item in enumerate(_items(handle), 1):
                yield _task(item, number, path)
    except OSError as error:
        raise ManifestError(f"the export cannot be read: {error.strerror or error}", path) from error
    except (ijson.JSONError, ValueError):  # ValueError: not UTF-8, or nested without end
        after = f"after task {number}" if number else "at its beginning"
        yield ManifestError(f"the export is damaged or cut short {after}; export it again", path)


def _items(handle: BinaryIO) -> Iterator[Any]:
    """Yield the values of an array.

    `ijson.items` does the same, four times as fast, and takes the whole process with it where brackets nest deeply.

    Raises:
        ValueError: The array is no JSON, or nested more than `_DEPTH` deep.
    """
    import ijson

    depth = 0
    builder = ijson.ObjectBuilder()
    for event, value in ijson.basic_parse(handle, use_float=True):
        depth -= event in ("end_map", "end_array")
        if depth or event not in ("start_array", "end_array"):  # those of the array itself
            builder.event(event, value)
            if depth == 1 and event not in ("start_map", "start_array", "map_key"):
                yield builder.value
                builder = ijson.ObjectBuilder()
        depth += event in ("start_map", "start_array")
        if depth > _DEPTH:
            raise ValueError(f"nested more than {_DEPTH} deep")


def _task(item: Any, number: int, path: Path) -> Task | ManifestError:
    if not isinstance(item, dict) or not isinstance(item.get("data"), dict):
        return ManifestError(f"item {number} is no task: it has no 'data'; export in the format JSON", path)
    name = item.get("id")
    name = str(name) if isinstance(name, int) else f"at place {number}"
    annotations = item.get("annotations")
    if not isinstance(annotations, list):
        return ManifestError(f"task {name} has no list of annotations; export in the format JSON", path)
    answers: list[Answer] = []
    faults = []
    count = 0
    for place, raw in enumerate(annotations, 1):
        try:
            annotation = _Annotation.model_validate(raw)
            if not annotation.was_cancelled:
                answers += _answers(annotation)
                count += 1
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"])) or "it"
            faults.append(
                f"annotation {place} of task {name} cannot be read: {where!r} is not as Label Studio writes it"
            )
    return Task(number, name, item["data"], tuple(answers), count, tuple(faults))


def _answers(annotation: _Annotation) -> Iterator[Answer]:
    """Yield one answer for each region of an annotation, or one for the whole.

    Raises:
        ValidationError: A value is not what Label Studio writes.
    """
    who = annotation.completed_by
    who = who.get("id") if isinstance(who, dict) else who
    annotator = "annotator-unknown" if who is None else f"annotator-{who}"
    regions: dict[tuple[float, float] | None, tuple[dict[str, list[str]], dict[str, JsonValue]]] = {}
    for item in annotation.result:
        value = _Value.model_validate(item.value)
        region = None if value.start is None or value.end is None else (value.start, value.end)
        entries, others = regions.setdefault(region, ({}, {}))
        texts = [value.text] if isinstance(value.text, str) else [*value.text]
        if texts or value.choices:
            entries.setdefault(item.from_name, []).extend([*texts, *value.choices])
        elif item.type not in _REGIONS and item.from_name:
            others[item.from_name] = dict(item.value)
    if len(regions) > 1 and None in regions:
        # What is said of the whole holds for each region, which may say otherwise.
        whole, others_of_whole = regions.pop(None)
        for entries, others in regions.values():
            for name, texts in whole.items():
                entries.setdefault(name, texts)
            for name, kept in others_of_whole.items():
                others.setdefault(name, kept)
    for region, (entries, others) in (regions or {None: ({}, {})}).items():
        yield Answer(annotator, {name: tuple(texts) for name, texts in entries.items()}, region, others)


def _fragment(task: Task, answer: Answer, root: Path, options: LabelStudioOptions) -> Fragment:
    """Make the fragment of an answer.

    Raises:
        ManifestError: Something that it needs is missing or not usable.
    """
    base = _base(task, root, options)
    unmapped: dict[str, JsonValue] = {}
    entries = dict(answer.entries)
    controls = {}
    for name in ANSWERED:
        source = options.fields.get(name, FieldSource(name))
        given = entries.pop(source.field, ())
        if source.map is not None:
            given, lost = _translated(given, source.map)
            unmapped |= {name: list(lost)} if lost else {}
        controls[name] = given
    controls[CANNOT_TELL_CONTROL] = entries.pop(CANNOT_TELL_CONTROL, ())
    fragment = answered(base, controls)
    changes: dict[str, Any] = {"annotator": answer.annotator}
    name = fragment.id
    if answer.region is not None and answer.region != (base.start, base.end):
        start, end = answer.region
        if not 0 <= start < end:
            raise ManifestError(f"its region ends at {end:g} s, not after its start at {start:g} s")
        changes |= {"start": start, "duration": round(end - start, 9)}
        name += f"-{round(start * 1000):08d}"
    changes["id"] = name if task.annotations == 1 else f"{name}@{answer.annotator}"
    rest = dict(answer.others) | {key: list(texts) for key, texts in entries.items()}
    custom = dict(fragment.custom)
    if unmapped:
        old = custom.get("unmapped")
        custom["unmapped"] = (old if isinstance(old, dict) else {}) | unmapped
    if rest:
        custom["controls"] = rest
    return fragment.replace(**changes, custom=custom)


def _base(task: Task, root: Path, options: LabelStudioOptions) -> Fragment:
    """Return the fragment of a task before anybody answered."""
    data = dict(task.data)
    own = data.pop(FRAGMENT_KEY, None)
    source = options.fields.get("audio", FieldSource(AUDIO_KEY))
    audio = audio_path(data.pop(source.field, None), root)
    if isinstance(own, dict):
        return Fragment.from_dict(own | {"audio": str(audio)})
    fields: dict[str, Any] = {"id": f"task-{task.name}", "text": "", **options.constants, "audio": str(audio)}
    unmapped: dict[str, Any] = {}
    for name in Fragment.model_fields:
        source = options.fields.get(name, FieldSource(name))
        if name in ("audio", "custom") or source.field not in data:
            continue
        value = data.pop(source.field)
        fields[name], known = translate(value, source.map) if source.map is not None else (value, True)
        unmapped |= {} if known else {name: value}
    if unmapped:
        data["unmapped"] = unmapped
    return Fragment.from_dict(fields | {"custom": data})


def _translated(entries: tuple[str, ...], table: Mapping[str, str | None]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return our choices, and theirs that the table does not have."""
    pairs = [(entry, *translate(entry, table)) if entry != CANNOT_TELL else (entry, entry, True) for entry in entries]
    ours = tuple(value for _, value, known in pairs if known and value is not None)
    return ours, tuple(entry for entry, _, known in pairs if not known)


def audio_path(address: object, root: Path) -> Path:
    """Return the file that a task's recording is, under the folder that Label Studio serves.

    Args:
        address: ``/data/local-files/?d=PATH``, ``/data/upload/PATH``, or a path relative to the folder.
        root: The folder.

    Raises:
        ManifestError: It is missing, of another kind, or leads out of the folder.
    """
    if not isinstance(address, str) or not address:
        raise ManifestError("it names no recording; say which key of the data does, in 'fields'")
    try:
        parts = urlsplit(address)
    except ValueError:
        raise ManifestError("the address of its recording cannot be read") from None
    if parts.scheme or parts.netloc:
        raise ManifestError(
            "its recording lies on another machine; download the recordings and serve them as local files"
        )
    relative = address
    if parts.path == LOCAL_FILES:
        relative = parse_qs(parts.query).get("d", [""])[0]
    elif address.startswith(UPLOADS):
        relative = address.removeprefix("/data/")
    path = root / PurePosixPath(relative)
    try:
        inside = bool(relative) and lies_in(path, root)
    except (OSError, ValueError):
        raise ManifestError("its recording has a name that no file can have") from None
    if not inside:
        raise ManifestError(
            "the path of its recording leads out of the folder of the recordings; set 'root', or mend it"
        )
    return path
