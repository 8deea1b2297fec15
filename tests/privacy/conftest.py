"""A corpus of three made-up speakers, with everything beside it that this project and its neighbours write."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from asr.fragment import Fragment, write_manifest
from asr.transcript import Segment, Transcript
from asr.writers import FORMATS, write_transcript

THEM, OTHER, THIRD = "speaker-k3v7tqaa", "speaker-b4n2xwcc", "speaker-k3v7tqaa-b"
# The third one's id begins like theirs.


@dataclass
class Corpus:
    """A folder of data, and what must not be found in it when the first speaker is gone."""

    data: Path
    gone: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def everything(self) -> dict[str, bytes]:
        """Every file under the folder, unpacked, by its path from there."""
        return {
            str(path.relative_to(self.data)): unpacked(path) for path in sorted(self.data.rglob("*")) if path.is_file()
        }

    def found(self) -> list[tuple[str, str]]:
        """Search bytes and names by brute force."""
        names = [str(path.relative_to(self.data)) for path in self.data.rglob("*")]
        in_names = [(name, needle) for name in names for needle in self.gone if needle in blind(name)]
        return in_names + [
            (name, needle)
            for name, content in self.everything().items()
            for needle in self.gone
            if any(form.encode() in blind_bytes(content) for form in {needle, json.dumps(needle)[1:-1]})
        ]

    def hashes(self) -> set[str]:
        """SHA-256 of every file."""
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in self.data.rglob("*") if path.is_file()}


def blind(text: str) -> str:
    """Take out the id that only begins like theirs."""
    return text.replace(THIRD, "")


def blind_bytes(data: bytes) -> bytes:
    return data.replace(THIRD.encode(), b"")


def unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def tone(seconds: float, pitch: float) -> npt.NDArray[np.float32]:
    return np.asarray(0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * 16000)) / 16000), np.float32)


@dataclass(frozen=True)
class Line:
    number: int
    action: str
    manifests: tuple[Any, ...]
    details: Mapping[str, Any]
    why: str = ""
    when: datetime = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)
    who: str = "tester"


@dataclass(frozen=True)
class Mark:
    sha256: str
    name: str = "train.jsonl"
    fragments: int = 1


class FileRecord:
    """As the record does, in a file of JSON lines, so that entries outlive a process that is killed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, action: str, *, why: str, manifests: Any = (), details: Mapping[str, Any] | None = None) -> None:
        with self.path.open("a") as handle:
            handle.write(
                json.dumps({"action": action, "why": why, "details": details, "sha256": list(manifests)}) + "\n"
            )

    def entries(self) -> Iterator[Line]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for number, line in enumerate(lines, start=1):
            data = json.loads(line)
            marks = tuple(map(Mark, data["sha256"]))
            yield Line(number, data["action"], marks, data["details"] or {}, data["why"])


@pytest.fixture
def file_record(tmp_path: Path) -> FileRecord:
    return FileRecord(tmp_path / "record.jsonl")


def build(data: Path) -> Corpus:
    """Write the corpus into a folder."""
    corpus = Corpus(data)
    (data / "audio" / THEM).mkdir(parents=True)
    fragments = []
    said = {
        THEM: ["je prends le tram à Écublens", "il fait « cru » ce matin", "adieu tout le monde"],
        OTHER: ["bonjour à toutes et à tous", "on se voit demain matin"],
        THIRD: ["septante francs le kilo madame", "c'est bien assez pour moi"],
    }
    for place, (speaker, texts) in enumerate(said.items()):
        for number, text in enumerate(texts):
            # The first speaker's lie in a folder of that name.
            folder = data / "audio" / (THEM if speaker == THEM else "others")
            folder.mkdir(exist_ok=True)
            audio = folder / f"rec{place}{number}.wav"
            soundfile.write(audio, tone(0.5, 200 + 40 * place + 11 * number), 16000)
            fragments.append(
                Fragment(
                    id=f"{speaker}-{number:04d}",
                    audio=str(audio),
                    text=text,
                    language="fr",
                    speaker=speaker,
                    dialect="fr-CH",
                    duration=0.5,
                )
            )
    talk = data / "audio" / "talk-17.flac"
    soundfile.write(talk, tone(6, 300), 16000, subtype="PCM_16")
    turns = [(THEM, 0.5, 1.5, "tu viens manger ce soir"), (OTHER, 2.5, 1.0, "oui avec plaisir merci")]
    turns += [(THEM, 4.0, 1.0, "alors à tout bientôt"), (THIRD, 5.2, 0.6, "et moi alors quoi")]
    talks = [
        Fragment(
            id=f"talk-17-{number}",
            audio=str(talk),
            text=text,
            language="fr",
            speaker=speaker,
            start=start,
            duration=duration,
            conversation="talk-17",
        )
        for number, (speaker, start, duration, text) in enumerate(turns)
    ]
    everyone = [*fragments, *talks]
    theirs = [fragment for fragment in everyone if fragment.speaker == THEM]
    others = [fragment for fragment in everyone if fragment.speaker != THEM]
    write_manifest(everyone, data / "all.jsonl")
    write_manifest(fragments, data / "splits" / "train.jsonl.gz")
    write_manifest(theirs, data / "splits" / f"only-{THEM}.jsonl")
    # Written by `asr transcribe`.
    for fragment in everyone:
        heard = Transcript(
            fragment.id, fragment.text, "fr", None, 1.0, (Segment(0.0, 1.0, fragment.text, 0.9, 0.1, 1.0),)
        )
        write_transcript(heard, data / "transcripts" / fragment.id, FORMATS)
    segments = tuple(Segment(start, start + long, text, 0.9, 0.1, 1.0) for _, start, long, text in turns)
    whole = Transcript("talk-17.flac", " ".join(turn[3] for turn in turns), "fr", None, 6.0, segments)
    write_transcript(whole, data / "transcripts" / "talk-17", FORMATS)
    alone = Transcript("rec00.wav", said[THEM][0], "fr", None, 0.5, (Segment(0.0, 0.5, said[THEM][0], 0.9, 0.1, 1.0),))
    write_transcript(alone, data / "transcripts" / "rec00", FORMATS)
    # Label Studio.
    tasks: list[dict[str, Any]] = [
        {
            "id": number,
            "data": {
                "audio": f"/data/local-files/?d=audio/{Path(f.audio).parent.name}/{Path(f.audio).name}",
                "fragment": f.id,
            },
            "annotations": [{"completed_by": 1, "result": [{"value": {"text": [f.text]}, "type": "textarea"}]}],
        }
        for number, f in enumerate(fragments)
    ]
    regions = [
        {"value": {"start": start, "end": start + long, "text": [text]}, "from_name": "text", "type": "textarea"}
        for _, start, long, text in turns
    ]
    tasks.append({"id": 99, "data": {"audio": "audio/talk-17.flac"}, "annotations": [{"result": regions}]})
    (data / "export.json").write_text(json.dumps(tasks))
    # Tables, Kaldi, sums, a report, labels, features.
    rows = [f"{f.speaker}\t{Path(f.audio).name}\t{f.text}\n" for f in fragments]
    (data / "validated.tsv").write_text("client_id\tpath\tsentence\n" + "".join(rows))
    kaldi = data / "kaldi"
    kaldi.mkdir()
    (kaldi / "utt2spk").write_text("".join(f"{f.id} {f.speaker}\n" for f in fragments))
    (kaldi / "text").write_text("".join(f"{f.id} {f.text}\n" for f in fragments))
    (kaldi / "wav.scp").write_text("".join(f"{f.id} {f.audio}\n" for f in fragments))
    spoken: dict[str, list[str]] = {}
    for f in fragments:
        spoken.setdefault(str(f.speaker), []).append(f.id)
    (kaldi / "spk2utt").write_text("".join(f"{speaker} {' '.join(ids)}\n" for speaker, ids in spoken.items()))
    sums = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted((data / "audio").rglob("*.*"))]
    (data / "SHA256SUMS").write_text("".join(sums))
    worst = [{"id": f.id, "errors": 3, "words": 5} for f in everyone]
    (data / "report.json").write_text(json.dumps({"system": "base", "worst_fragments": worst}, indent=2))
    cuts = [
        {
            "id": f"cut-{f.id}",
            "start": 0,
            "duration": 0.5,
            "supervisions": [{"id": f.id, "start": 0, "duration": 0.5, "speaker": f.speaker, "text": f.text}],
            "recording": {"id": f.id, "sources": [{"type": "file", "source": f.audio}]},
        }
        for f in fragments
    ]
    with gzip.open(data / "cuts.jsonl.gz", "wt") as handle:
        handle.writelines(json.dumps(cut) + "\n" for cut in cuts)
    intervals = "".join(
        f"        intervals [{number}]:\n            xmin = {start}\n            xmax = {start + long}\n"
        f'            text = "{text}"\n'
        for number, (_, start, long, text) in enumerate(turns, start=1)
    )
    (data / "audio" / "talk-17.TextGrid").write_text(
        f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 6\nitem []:\n    item [1]:\n'
        f'        class = "IntervalTier"\n        name = "words"\n{intervals}'
    )
    features = data / "features"
    features.mkdir()
    for f in everyone:
        np.save(features / f"{f.id}.npy", np.ones(3))
    np.save(features / "rec01.npy", np.ones(3))
    (data / "pictures").mkdir()
    (data / "pictures" / "rec02.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    # A copy under a name that tells nothing.
    (data / "audio" / "copy.wav").write_bytes((data / "audio" / THEM / "rec00.wav").read_bytes())
    corpus.gone = [THEM, *(f.id for f in theirs), *(f.text for f in theirs)]
    corpus.gone += [hashlib.sha256(Path(f.audio).read_bytes()).hexdigest() for f in theirs]
    corpus.kept = [f.id for f in others]
    return corpus


@pytest.fixture
def build_corpus() -> Callable[[Path], Corpus]:
    """Writes the corpus into a folder."""
    return build


@pytest.fixture
def people(tmp_path: Path) -> Corpus:
    """The corpus, and who is to be erased from it (`THEM`)."""
    return build(tmp_path / "data")


@pytest.fixture
def them() -> str:
    """The id of the speaker who is to be erased."""
    return THEM


CARD = """# hello [link](https://example.org)

Read `speech` of **few** people.

| | |
|---|---|
| source | a [place](https://example.org/a) |
| licence | CC0 1.0 (`CC0-1.0`) |
| consent | asked <script>alert(1)</script> |
| kept | until 2030 |
"""


@pytest.fixture
def consents(tmp_path: Path) -> Path:
    """A manifest in which consent is there, missing, expired and withdrawn, and a broken line."""
    fragments = []
    for number in range(6):
        consent = {"id": f"c{number}", "purposes": ["training"], "expires": f"{2025 + number}-01-01"}
        fragments.append(
            Fragment(
                id=f"f{number}",
                audio=str(tmp_path / "a.wav"),
                text="oui",
                language="fr",
                duration=1800.0,
                speaker=f"speaker-{number % 2}",
                corpus="hello",
                consent=consent if number else None,  # type: ignore[arg-type]
            )
        )
    fragments[5] = fragments[5].replace(consent={"id": "c", "withdrawn": "2026-01-01"})
    write_manifest(fragments, tmp_path / "m.jsonl")
    with (tmp_path / "m.jsonl").open("a") as handle:
        handle.write("{broken\n")
    return tmp_path / "m.jsonl"


@pytest.fixture
def card_text() -> str:
    """The card of a corpus, with what others might write into one."""
    return CARD
