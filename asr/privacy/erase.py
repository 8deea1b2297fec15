"""Erases a speaker from folders: planned, written down, done, searched for once more, and put on record.

The plan stands in a state file before the first file is touched, every deed that is done is added to it, and any deed
may be done twice. So an erasure that was killed at any moment goes on where it stopped, and ends as if it had not been.
While it lasts the state file holds the speaker's id; it is the last thing that goes.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from asr.errors import AsrError, ConfigError, RecordError
from asr.files import atomic_write
from asr.privacy.mute import mute
from asr.privacy.plan import Deed, Left, Plan, Planner, remains
from asr.privacy.tombstones import Tombstones
from asr.privacy.traces import Survey
from asr.sums import sha256_of

if TYPE_CHECKING:
    from asr.privacy.entries import Entry
    from asr.privacy.record import Record

FORMAT_VERSION = 1
# Nothing can be written any more: the erasure stops, and goes on later.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}


@dataclass(frozen=True)
class Training:
    """A training in the record that heard the speaker, itself or through the model that it began with.

    Attributes:
        entry: Number of its entry.
        run: Name of its run; empty where the record has none.
        checkpoints: Names of the checkpoints that came of it, and the SHA-256 of each.
    """

    entry: int
    run: str = ""
    checkpoints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Erasure:
    """What an erasure did, or would do.

    Attributes:
        plan: What was planned.
        left: What still tells of the speaker, or may; a person must look at it.
        trained: What was trained on a list with the speaker, by the record.
        notes: What the record could not tell.
        deletions: The deletion list; None where nothing was done.
    """

    plan: Plan
    left: tuple[Left, ...]
    trained: tuple[Training, ...]
    notes: tuple[str, ...] = ()
    deletions: Path | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Files by what was done with them, and the records that went."""
        found = Counter(f"{deed.do} {deed.what}" for deed in self.plan.deeds)
        return dict(sorted(found.items())) | {"records": sum(deed.records for deed in self.plan.deeds)}


_PLAN = TypeAdapter(Plan)
_TRAINED = TypeAdapter(tuple[Training, ...])


def plan_erasure(folders: Sequence[str | Path], speakers: Iterable[str], record: Record) -> Erasure:
    """Find everything that tells of a speaker; nothing is written.

    Args:
        folders: Where to look.
        speakers: Their ids.
        record: Says what was trained on what, and what earlier erasures took out of lists.

    Raises:
        ConfigError: A folder is missing, or nothing in the folders tells of the speaker.
    """
    earlier, notes = _earlier(record)
    survey = Survey(folders, speakers)
    traces = survey.traces()
    planner = Planner(survey, traces, (*_rewritten(earlier), *_made_of_lists(earlier)))
    plan = planner.plan()
    if not (plan.deeds or traces.lists or any(left.path for left in plan.left)):
        raise ConfigError("nothing in these folders tells of that speaker; check the id and the folders")
    return Erasure(plan, plan.left, tuple(_trained(earlier, planner.hashes)), notes)


def erase(
    folders: Sequence[str | Path],
    speakers: Iterable[str],
    *,
    record: Record,
    tombstones: str | Path,
    state: str | Path,
    deletions: str | Path,
) -> Erasure:
    """Erase a speaker.

    Args:
        folders: Where to look; nothing outside is touched.
        speakers: Their ids.
        record: Gets an ``erase`` entry.
        tombstones: File of the tombstones.
        state: File that holds the state while it lasts.
        deletions: The deletion list to write.

    Raises:
        ConfigError: As `plan_erasure`; or an erasure was interrupted, and must be ended first.
        AsrError: The disk is full; `resume` goes on.
    """
    state = Path(state)
    if state.exists():
        raise ConfigError(
            f"an erasure was interrupted and is written down in {state}; end it with `asr erase --resume`"
        )
    found = plan_erasure(folders, speakers, record)
    begun = {
        "plan": _PLAN.dump_python(found.plan, mode="json"),
        "trained": _TRAINED.dump_python(found.trained, mode="json"),
        "notes": found.notes,
        "deletions": str(Path(deletions).absolute()),
        "tombstones": str(Path(tombstones).absolute()),
    }
    with _told(state):
        _begin(state, begun)
    return resume(state, record=record)


def resume(state: str | Path, *, record: Record) -> Erasure:
    """Go on with an erasure that was begun, to its end.

    Args:
        state: File that holds its state.
        record: Gets an ``erase`` entry, once.

    Raises:
        ConfigError: There is no such state, it is damaged, or another process is at it.
        AsrError: The disk is full; once there is space, this goes on.
    """
    path = Path(state)
    with _told(path), _locked(path) as handle:
        plan, begun, done = _read(path, handle)
        planner = Planner(Survey(plan.folders, plan.traces.speakers), plan.traces)
        graves = Tombstones(begun["tombstones"])
        recordings = {**plan.traces.alone, **plan.traces.shared}
        graves.bury(
            plan.traces.speakers,
            plan.traces.fragments,
            ((digest, plan.traces.sizes[path]) for path, digest in recordings.items()),
        )
        for number, deed in enumerate(plan.deeds):
            if number not in done:
                done[number] = _do(deed, planner)
                _note(handle, {"done": number, "failed": done[number]})
        _remove_folders(planner)
        failed = [Left(plan.deeds[number].path, why) for number, why in sorted(done.items()) if why]
        left = (*plan.left, *failed)
        left += tuple(remains(planner, {each.path for each in left}))
        target = Path(begun["deletions"])
        listed = _deletion_list(plan, left, begun["trained"], planner, graves, done)
        with atomic_write(target) as out:
            json.dump(listed, out, indent=2)
            out.write("\n")
        if not any(
            entry.action == "erase" and entry.details.get("erasure") == plan.id for entry in _earlier(record)[0]
        ):
            record.append("erase", why="a speaker's wish to be forgotten", details=_details(plan, listed))
        for each in (path, target, graves.path):
            _sweep(each)
        path.unlink()
    return Erasure(plan, left, _TRAINED.validate_python(begun["trained"]), tuple(begun["notes"]), target)


@contextmanager
def _told(state: Path) -> Iterator[None]:
    """Say of a full disk that nothing is lost."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise AsrError(
            f"the erasure stopped: {error.strerror}; what is done is done, and what is not is written down in {state}: "
            "make room, then end it with `asr erase --resume`"
            if state.exists()
            else f"the erasure did not begin: {error.strerror} for {state}; nothing was changed; make room first"
        ) from error


def _begin(state: Path, begun: Mapping[str, Any]) -> None:
    """Write the intent, whole or not at all, and only where there is none."""
    state.parent.mkdir(parents=True, exist_ok=True)
    _sweep(state)
    descriptor, temporary = tempfile.mkstemp(dir=state.parent, prefix=f".{state.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(json.dumps(begun) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        os.link(temporary, state)
    except FileExistsError:
        raise ConfigError(f"another erasure has begun meanwhile ({state}); wait for its end") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextmanager
def _locked(state: Path) -> Iterator[IO[str]]:
    """Open the state for one process alone; the lock goes with the process, however that ends."""
    try:
        handle = state.open("r+", encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no erasure to go on with ({state})") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another process is at this erasure ({state}); wait for its end") from None
        yield handle


def _read(path: Path, handle: IO[str]) -> tuple[Plan, dict[str, Any], dict[int, str]]:
    """Read the plan and the deeds that are done, each with what failed in it; a last line cut short was not done."""
    lines = handle.read().splitlines(keepends=True)
    done: dict[int, str] = {}
    try:
        begun = json.loads(lines[0])
        plan = _PLAN.validate_python(begun["plan"])
    except (IndexError, KeyError, TypeError, ValueError, ValidationError):
        raise ConfigError(
            f"{path} is no state of an erasure, or damaged; restore it from a copy, or remove it"
        ) from None
    whole = len(lines[0])
    for line in lines[1:]:
        try:
            noted = json.loads(line)
            done[int(noted["done"])] = str(noted["failed"])
        except (ValueError, KeyError, TypeError):
            break
        whole += len(line)
    handle.seek(0)
    handle.truncate(len("".join(lines)[:whole].encode()))
    handle.seek(0, os.SEEK_END)
    return plan, begun, done


def _note(handle: IO[str], entry: Mapping[str, JsonValue]) -> None:
    handle.write(json.dumps(entry) + "\n")
    handle.flush()
    os.fsync(handle.fileno())


def _do(deed: Deed, planner: Planner) -> str:
    """Do one deed, which may have been done already; return why it cannot be done, or nothing."""
    path = Path(deed.path)
    try:
        _sweep(path)
        if deed.do == "remove":
            path.unlink(missing_ok=True)
        elif path.is_file():
            if deed.do == "silence":
                mute(path, deed.spans)
            else:
                planner.stripper.strip(path, deed.spans)
    except AsrError as error:
        return f"cannot be changed: {error}"
    except OSError as error:
        if error.errno in _FULL:
            raise
        return f"cannot be changed: {error.strerror}"
    return ""


def _sweep(path: Path) -> None:
    """Remove what a killed process had half written beside a file."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        leftover.unlink(missing_ok=True)


def _remove_folders(planner: Planner) -> None:
    """Remove the empty folders that bear a name of the speaker, the innermost first."""
    for folder in planner.folders:
        for root, _, _ in os.walk(folder, topdown=False):
            path = Path(root)
            if path != folder and (path.name in planner.names.exact or planner.tells_by_name(path)):
                with suppress(OSError):  # something is in it
                    path.rmdir()


def _deletion_list(
    plan: Plan,
    left: Sequence[Left],
    trained: Sequence[JsonValue],
    planner: Planner,
    graves: Tombstones,
    done: Mapping[int, str],
) -> dict[str, JsonValue]:
    """What went, for a machine to read: without an id, a text or the hash of a recording."""

    def shown(path: str) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {"path_hash": graves.hash("path", path)}
        return found if planner.tells_by_name(path) else found | {"path": path}

    items: list[JsonValue] = []
    for number, deed in enumerate(plan.deeds):
        if done[number]:
            continue
        # The name of a recording, and of what was made of it, is the name of a fragment.
        item: dict[str, JsonValue] = {"path_hash": graves.hash("path", deed.path)}
        item = shown(deed.path) if deed.do == "strip" else item
        item |= {"did": deed.do, "what": deed.what, "records": deed.records}
        if deed.what == "list" and deed.do == "strip":
            item |= {"before": plan.traces.lists[deed.path], "after": sha256_of(deed.path)}
        items.append(item)
    return {
        "format_version": FORMAT_VERSION,
        "erasure": plan.id,
        "when": plan.when.isoformat(),
        "speakers": [graves.hash("speaker", speaker) for speaker in plan.traces.speakers],
        "fragments": [graves.hash("fragment", fragment) for fragment in plan.traces.fragments],
        "recordings": [graves.hash("audio", digest) for digest in plan.traces.alone.values()],
        "silenced": [graves.hash("audio", digest) for digest in plan.traces.shared.values()],
        "deleted": items,
        "overlapping_fragments_of_others": plan.traces.overlapping,
        "models_trained_on_them": [shown(path) for path in plan.models],
        "trainings_in_the_record": list(trained),
        "left": [(shown(each.path) if each.path else {}) | {"why": _why(each, planner)} for each in left],
    }


def _why(left: Left, planner: Planner) -> str:
    # A library's message may name the file.
    return left.why.partition(":")[0] if planner.names.mentions(left.why) else left.why


def _details(plan: Plan, listed: Mapping[str, Any]) -> dict[str, JsonValue]:
    rewritten = [[item["before"], item["after"]] for item in listed["deleted"] if "before" in item]
    removed = [plan.traces.lists[deed.path] for deed in plan.deeds if deed.do == "remove" and deed.what == "list"]
    return {
        "erasure": plan.id,
        "speakers": listed["speakers"],
        "fragments": len(plan.traces.fragments),
        "recordings_removed": sum(deed.do == "remove" and deed.what == "recording" for deed in plan.deeds),
        "recordings_silenced": sum(deed.do == "silence" for deed in plan.deeds),
        "records_removed": sum(deed.records for deed in plan.deeds),
        "rewritten": rewritten,
        "lists_removed": removed,
        # The record holds no paths, only names.
        "models": [
            {"path_hash": model["path_hash"]} | ({"name": Path(model["path"]).name} if "path" in model else {})
            for model in listed["models_trained_on_them"]
        ],
        "trainings": listed["trainings_in_the_record"],
        "left": len(listed["left"]),
    }


def _earlier(record: Record) -> tuple[list[Entry], tuple[str, ...]]:
    """The entries so far, and what they cannot tell: a damaged record is no reason to keep somebody's data."""
    try:
        return list(record.entries()), ()
    except RecordError as error:
        return [], (f"what was trained on them is not known from the record: {error}",)


def _rewritten(entries: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        if entry.action == "erase":
            pairs: Any = entry.details.get("rewritten", ())
            for before, after in pairs:
                yield str(before), str(after)


def _made_of_lists(entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    """Lists that came of packing or labelling others, and hold their speakers: SHA-256 of each and of the other."""
    ends = {entry.details["begun"]: entry for entry in entries if "begun" in entry.details}
    for entry in entries:
        if entry.action == "train" and entry.number in ends:
            for made in ends[entry.number].manifests:
                yield from ((made.sha256, source.sha256) for source in entry.manifests)


def _trained(entries: Sequence[Entry], hashes: frozenset[str]) -> Iterator[Training]:
    """Find the trainings on some lists, and those that went on from a checkpoint of one."""
    # The entry at the end of an action says what came of it, and which entry began it.
    ends = {entry.details["begun"]: entry for entry in entries if "begun" in entry.details}
    heard: set[str] = set()
    for entry in entries:
        if entry.action != "train" or "begun" in entry.details or entry.details.get("command") == "pack":
            continue
        used = {manifest.sha256 for manifest in entry.manifests}
        model = entry.details.get("model")
        before = model.get("sha256") if isinstance(model, Mapping) else None
        if used & hashes or before in heard:
            end = ends.get(entry.number, entry)
            made = end.details.get("checkpoints")
            checkpoints = {str(name): str(digest) for name, digest in made.items()} if isinstance(made, Mapping) else {}
            heard.update(checkpoints.values())
            yield Training(entry.number, str(entry.details.get("run", "")), checkpoints)
