"""The annotation loop through a real Label Studio: started as a user starts it, driven through its REST API.

It needs ``bash scripts/setup_studio``, and Chromium for the picture (``apt-get install chromium``). With
ASR_STUDIO_PICTURE the picture of the page goes to that file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import soundfile
from typer.testing import CliRunner

from asr.cli import app
from asr.exporters.label_studio import results
from asr.fragment import Consent, Fragment, read_manifest, write_manifest
from asr.importers.espeak import ESPEAK_SAMPLE_RATE, speak
from asr.importers.label_studio import LabelStudioOptions, import_label_studio
from asr.privacy.record import open_record
from asr.transcript import Punctuation, Segment, Transcript
from asr.writers import write_transcript

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
ENVIRONMENT = Path(os.environ.get("ASR_STUDIO", CACHE / "dialect-asr/studio"))
TEXTS = ("Ça fait septante-deux francs.", "Tu viens demain à la gare ?", "Il drache depuis ce matin.")
# What the first and the second annotator make of each: text, dialect, sentence type.
ANSWERS = (
    ((TEXTS[0], "fr-BE", "statement"), ("ça fait septante-deux francs", "fr-BE", "statement")),
    ((TEXTS[1], "fr-BE", "question"), ("Tu viens demain à la gare ?", "cannot tell", "question")),
    ((TEXTS[2], "fr-BE", "statement"), ("Il marche depuis ce matin.", "fr-FR", "statement")),
)


@dataclass(frozen=True)
class Studio:
    """A running Label Studio that serves one folder."""

    address: str
    served: Path
    owner: tuple[str, str] = ("owner@example.org", "made-up-password-1")

    @property
    def record(self) -> Path:
        """The record of what is done here."""
        return self.served.with_name("record.db")

    def asr(self, *arguments: str | Path) -> str:
        """Run `asr annotate` and return what it prints."""
        environment = {"COLUMNS": "160", "ASR_RECORD": str(self.record)}
        result = CliRunner().invoke(app, ["annotate", *map(str, arguments)], env=environment)
        assert result.exit_code == 0, result.output
        return result.output

    def sign(self, page: str, email: str, password: str) -> requests.Session:
        """Sign up or log in as a person does, by the form."""
        session = requests.Session()
        form = session.get(f"{self.address}/user/{page}", timeout=60).text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        assert token is not None
        data = {"csrfmiddlewaretoken": token[1], "email": email, "password": password}
        session.headers["Referer"] = self.address
        answer = session.post(f"{self.address}/user/{page}", data=data, timeout=60)
        assert answer.ok
        session.headers["X-CSRFToken"] = session.cookies["csrftoken"]
        return session

    def call(self, session: requests.Session, method: str, path: str, data: Any = None) -> Any:
        """Call the REST API."""
        answer = session.request(method, f"{self.address}/api/{path}", json=data, timeout=120)
        assert answer.ok, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """Label Studio on a free port of the loopback, its data in a folder that is thrown away."""
    program = ENVIRONMENT / "bin/label-studio"
    assert program.is_file(), f"there is no {program}; run: bash scripts/setup_studio"
    home, served = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("served")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = Studio(f"http://127.0.0.1:{port}", served)
    environment = os.environ | {
        "HOME": str(home),
        "XDG_DATA_HOME": str(home),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(served),
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
    }
    options = ["--internal-host", "127.0.0.1", "--port", str(port), "--data-dir", str(home), "--no-browser"]
    person = ["--username", found.owner[0], "--password", found.owner[1]]
    with (home / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [program, "start", *options, *person], env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            for _ in range(240):
                if process.poll() is not None:
                    break
                try:
                    if requests.get(f"{found.address}/health", timeout=5).ok:
                        break
                except requests.RequestException:
                    time.sleep(1)
            else:
                pytest.fail((home / "log.txt").read_text()[-2000:])
            assert process.poll() is None, (home / "log.txt").read_text()[-2000:]
            yield found
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


@pytest.fixture(scope="module")
def manifest(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sentences that espeak-ng speaks, with what a recogniser might have heard in them."""
    folder = tmp_path_factory.mktemp("corpus")
    fragments = []
    for number, text in enumerate(TEXTS):
        samples = speak(text, "fr-be")
        soundfile.write(folder / f"{number}.wav", samples, ESPEAK_SAMPLE_RATE)
        fragments.append(
            Fragment(
                id=f"made-up/{number}",
                audio=str(folder / f"{number}.wav"),
                text="",
                language="fr",
                duration=len(samples) / ESPEAK_SAMPLE_RATE,
                speaker="espeak",
                consent=Consent(id="made-up", purposes=("annotation",)),
            )
        )
        asks = 0.9 if text.endswith("?") else 0.2
        heard = Transcript(
            id=f"made-up/{number}",
            text=text,
            language="fr",
            dialect="fr-BE",
            duration=2.0,
            segments=(Segment(0.0, 2.0, text, -0.2 * (number + 1), 0.0, 1.0),),
            dialect_scores={"fr-BE": 0.8, "fr-FR": 0.2},
            intonation="question" if asks > 0.5 else "statement",
            intonation_scores={"question": asks, "statement": 1 - asks},
            punctuation=Punctuation("?" if asks > 0.5 else ".", asks, asks, asks),
        )
        write_transcript(heard, folder / f"heard/made-up/{number}", ["json"])
    write_manifest(fragments, folder / "m.jsonl")
    return folder / "m.jsonl"


@pytest.fixture(scope="module")
def project(studio: Studio, manifest: Path) -> int:
    """A project with our page and our tasks, made as the guide says."""
    page = manifest.with_name("labels.xml")
    studio.asr("config", page, "--dialect", "fr-BE", "--dialect", "fr-FR", "--dialect", "fr-CH")
    arguments = ("--config", page, "--transcripts", manifest.with_name("heard"))
    assert "3 tasks written" in studio.asr("tasks", manifest, "--output-dir", studio.served, *arguments)
    session = studio.sign("login", *studio.owner)
    settings = {"title": "Dialects, made up", "label_config": page.read_text(), "maximum_annotations": 2}
    number = studio.call(session, "POST", "projects", settings | {"show_collab_predictions": True})["id"]
    audio = {"project": number, "path": str(studio.served / "audio"), "use_blob_urls": True}
    studio.call(session, "POST", "storages/localfiles", audio)
    tasks = json.loads((studio.served / "tasks.json").read_text())
    done = studio.call(session, "POST", f"projects/{number}/import", tasks)
    assert (done["task_count"], done["prediction_count"]) == (3, 3)
    return int(number)


def test_the_page_shows_what_the_recogniser_heard(studio: Studio, project: int, tmp_path: Path) -> None:
    assert shutil.which("chromium"), "there is no chromium; run: sudo apt-get install -y chromium"
    session = studio.sign("login", *studio.owner)
    tasks = studio.call(session, "GET", f"tasks?project={project}&fields=all")["tasks"]
    task = min(tasks, key=lambda task: task["id"])
    assert task["data"]["id"] == "made-up/0"
    audio = session.get(studio.address + task["data"]["audio"], timeout=60)
    assert audio.ok and audio.content[:4] == b"fLaC"

    picture = Path(os.environ.get("ASR_STUDIO_PICTURE", tmp_path / "page.png"))
    path = f"/projects/{project}/data?task={task['id']}"
    script = ROOT / "scripts/studio_picture.py"
    command = [ENVIRONMENT / "bin/python", script, studio.address, *studio.owner, path, TEXTS[0], picture]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 300_000


def test_two_annotators_and_back(studio: Studio, project: int, manifest: Path, tmp_path: Path) -> None:
    owner = studio.sign("login", *studio.owner)
    people = (owner, studio.sign("signup", "second@example.org", "made-up-password-2"))
    tasks = studio.call(owner, "GET", f"tasks?project={project}&fields=all")["tasks"]
    for task in tasks:
        number = int(task["data"]["id"].rpartition("/")[2])
        for session, (text, dialect, kind) in zip(people, ANSWERS[number], strict=True):
            entries = {"text": (text,), "dialect": (dialect,), "intonation": (kind,)}
            entries |= {"expressions": ("septante = soixante-dix",)} if number == 0 else {}
            studio.call(session, "POST", f"tasks/{task['id']}/annotations", {"result": results(entries)})
    export = tmp_path / "export.json"
    export.write_text(json.dumps(studio.call(owner, "GET", f"projects/{project}/export?exportType=JSON")))

    found = list(import_label_studio(export, LabelStudioOptions(root=str(studio.served))))
    assert all(isinstance(item, Fragment) for item in found), found
    assert len(found) == 6
    assert all(soundfile.info(item.audio).samplerate == 16000 for item in found if isinstance(item, Fragment))

    done, left = tmp_path / "done.jsonl", tmp_path / "left.jsonl"
    printed = studio.asr("answers", export, "--manifest", manifest, "--output", done, "--conflicts", left)
    # Of 16 words of each one differs; of three dialects two can be compared, and one of those differs.
    assert re.search(r"annotator-\d+, annotator-\d+ .* 3 .* 6\.25 % .* 0\.000 \(2\) .* 1\.000 \(3\)", printed), printed
    assert "1 agreed, 0 adjudicated; left out: 2 in conflict" in printed
    (made,) = read_manifest(done)
    assert (made.id, made.text, made.dialect, made.intonation) == ("made-up/0", TEXTS[0], "fr-BE", "statement")
    assert [(item.text, item.standard, item.start_word) for item in made.expressions] == [
        ("septante", "soixante-dix", None)
    ]
    assert {item.id: sorted(item.custom["conflicts"]) for item in read_manifest(left)} == {  # type: ignore[arg-type]
        "made-up/1": ["dialect"],
        "made-up/2": ["dialect", "text"],
    }
    assert open_record(str(studio.record)).verify() == []
