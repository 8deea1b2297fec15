"""Tasks: what an annotator gets is the fragment and nothing of its origin."""

import json
from pathlib import Path

import numpy as np
import soundfile
from pytest import approx

from asr.annotation.labelling import LabelValues, labelling_config, read_choices
from asr.annotation.tasks import TaskCounts, write_studio
from asr.errors import AsrError
from asr.fragment import Expression, Fragment
from asr.transcript import Segment, Transcript, Word

SECRET = "anna-dupont"


def corpus(root: Path) -> list[Fragment]:
    audio = root / f"{SECRET}.wav"
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * 16000)
    with soundfile.SoundFile(audio, "w", 16000, 1, "PCM_16") as file:
        file.artist = SECRET
        file.write(noise)
    parts = [
        Fragment(id=f"talk/{n}", audio=str(audio), text=f"{SECRET} said", language="fr", start=float(n), duration=1.0,
                 speaker=SECRET)
        for n in range(3)
    ]  # fmt: skip
    return [*parts, parts[0].replace(id="gone", audio=str(root / "gone.wav"))]


def heard(item: Fragment) -> Transcript | None:
    if item.id == "talk/2":
        return None
    return Transcript(
        id=item.id,
        text="Ça fait septante ?",
        language="fr",
        dialect="fr-BE" if item.id == "talk/0" else "fr-XX",
        duration=1.0,
        segments=(Segment(0.0, 1.0, "Ça fait septante ?", float(np.log(0.75)), 0.0, 1.0),),
        expressions=(Expression(text="septante", standard="soixante-dix", start_word=2),),
        intonation="question",
        tune="unknown",
        words=tuple(Word(word, 0.0, 0.1, 0.9) for word in ["Ça", "fait", "septante", "?"]),
        emphasis=(2,),
    )


def write(root: Path) -> tuple[list[dict], TaskCounts, list[AsrError]]:
    (root / "labels.xml").write_text(labelling_config(LabelValues(("fr-FR", "fr-BE"))))
    counts, failures = TaskCounts(), list[AsrError]()
    write_studio(corpus(root), heard, read_choices(root / "labels.xml"), root / "studio", counts, failures)
    return json.loads((root / "studio/tasks.json").read_text()), counts, failures


def test_tasks_with_what_the_recogniser_heard(tmp_path: Path) -> None:
    tasks, counts, failures = write(tmp_path)
    assert (counts.tasks, counts.annotated, counts.failed) == (3, 2, 1)
    assert ["gone.wav" in str(failure) for failure in failures] == [True]
    assert [task["data"]["id"] for task in tasks] == ["talk/0", "talk/1", "talk/2"]
    (prediction,) = tasks[0]["predictions"]
    said = {
        item["from_name"]: item["value"].get("text") or item["value"].get("choices") for item in prediction["result"]
    }
    assert said == {
        "text": ["Ça fait septante ?"],
        "dialect": ["fr-BE"],
        "intonation": ["question"],
        "emphasis": ["septante"],
        "expressions": ["septante = soixante-dix"],
    }
    assert prediction["score"] == approx(1 - (0.25 + 1) / 2)  # the words by 1/4, the tune, which is unknown, altogether
    # A dialect that the page does not have would make Label Studio refuse the whole prediction.
    assert "dialect" not in {item["from_name"] for item in tasks[1]["predictions"][0]["result"]}
    assert "predictions" not in tasks[2]


def test_the_audio_is_the_fragment_alone(tmp_path: Path) -> None:
    tasks, _, _ = write(tmp_path)
    whole, _ = soundfile.read(tmp_path / f"{SECRET}.wav")
    for number, task in enumerate(tasks):
        name = task["data"]["audio"].removeprefix("/data/local-files/?d=")
        samples, rate = soundfile.read(tmp_path / "studio" / name)
        assert rate == 16000
        assert np.abs(samples - whole[number * 16000 : (number + 1) * 16000]).max() < 1e-4


def test_nothing_of_the_origin_is_left(tmp_path: Path) -> None:
    write(tmp_path)
    for path in (tmp_path / "studio").rglob("*"):
        assert SECRET not in str(path.relative_to(tmp_path))
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()
