"""Commands to a home, recognised by Home Assistant's own sentences and matcher."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from asr.errors import MissingExtraError
from asr.intent.adapters import home_assistant
from asr.intent.adapters.home_assistant import Device, Home, HomeAssistant, readings
from asr.intent.event import Hypothesis, UtteranceEvent, event_of
from asr.transcript import Transcript

ROOT = Path(__file__).parents[3]
HOME = Home(
    (
        Device("lampe de chevet", "light"),
        Device("porte d'entrée", "lock"),
        Device("rideau gauche", "cover"),
        Device("Bedroom Lamp", "light"),
        Device("Nestor", "vacuum"),
    ),
    areas=("Salon", "Kitchen"),
    floors=("Rez-de-chaussée",),
)


@pytest.fixture(scope="module")
def assistant() -> HomeAssistant:
    return HomeAssistant(HOME)


def heard(text: str, language: str = "fr", **more: object) -> UtteranceEvent:
    return event_of(replace(Transcript("", text, language, None, 1.0, ()), **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("language", "text", "name", "slots"),
    [
        ("fr", "Allume, la lumière du salon.", "HassTurnOn", {"area": "Salon", "domain": "light"}),
        ("fr", "Règle la lampe de chevet à 50\u202f% !", "HassLightSet", {"name": "lampe de chevet", "brightness": 50}),
        ("fr", "Est-ce que la porte d’entrée est verrouillée ?", "HassGetState", {"state": "locked"}),
        ("fr", "Ferme le rideau gauche", "HassTurnOff", {"name": "rideau gauche"}),
        ("fr", "Éteins les lumières du Rez-de-Chaussée", "HassTurnOff", {"floor": "Rez-de-chaussée"}),
        ("fr", "Quelle heure est-il ?", "HassGetCurrentTime", {}),
        ("fr", "Démarre Nestor.", "HassVacuumStart", {"name": "Nestor"}),
        ("en", "Turn off, the lights in the kitchen.", "HassTurnOff", {"area": "Kitchen"}),
        ("en", "Set the bedroom lamp to fifty percent.", "HassLightSet", {"brightness": 50}),
        ("de", "Wie spät ist es?", "HassGetCurrentTime", {}),
    ],
)
def test_commands(assistant: HomeAssistant, language: str, text: str, name: str, slots: dict[str, object]) -> None:
    found = assistant.recognise(heard(text, language))
    assert found.name == name and found.reason is None
    assert {key: found.slots[key] for key in slots} == slots


def test_the_room_of_the_listener_is_meant(assistant: HomeAssistant) -> None:
    event = heard("Allume la lumière")
    assert assistant.recognise(event).name is None
    assert assistant.recognise(event, area="Salon").slots["area"] == "Salon"


def test_the_standard_language_and_hypotheses_are_tried_in_turn(assistant: HomeAssistant) -> None:
    patois = "Alleume la lumière dins ch' salon"
    assert assistant.recognise(heard(patois)).reason == "no match"
    found = assistant.recognise(heard(patois, text_standard="Allume la lumière dans le salon."))
    assert (found.name, found.text) == ("HassTurnOn", "allume la lumière dans le salon")
    texts = ["A l'lume, la lumière du salon.", "Allume la lumière du salon."]
    nbest = tuple(Hypothesis(text=text, log_probability=-at) for at, text in enumerate(texts))
    event = heard(texts[0]).model_copy(update={"nbest": nbest})
    assert readings(event) == ["a l'lume la lumière du salon", "allume la lumière du salon"]
    assert assistant.recognise(event).text == "allume la lumière du salon"


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("", "fr", "no words"),
        ("[Musique] ♪", "fr", "no words"),
        ("Allume la lumière du salon", "xx", "language"),
        ("Allume la lumière du salon", "", "language"),
        ("allume la lumière du salon " * 2000, "fr", "too long"),
        ("Je voudrais partir en mai", "fr", "no match"),
        ("{name} [area] <allume> (a|b) \\", "fr", "no match"),
    ],
)
def test_what_is_no_command_says_why(assistant: HomeAssistant, text: str, language: str, reason: str) -> None:
    found = assistant.recognise(heard(text, language))
    assert (found.name, found.slots, found.text, found.reason) == (None, {}, None, reason)


def test_a_dialect_has_its_own_sentences_where_there_are_some(assistant: HomeAssistant) -> None:
    assert home_assistant._sentences_of(heard("x", "de", dialect="de-CH")) == "de-CH"
    assert home_assistant._sentences_of(heard("x", "de", dialect="de-AT")) == "de"
    assert home_assistant._sentences_of(heard("x", "no")) == "nb"


def test_it_answers_at_once(assistant: HomeAssistant) -> None:
    event = heard("Mets la lumière du salon à 50 % et puis " * 20)
    assistant.recognise(event)
    begin = time.process_time()
    assistant.recognise(event)
    assert time.process_time() - begin < 1


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hassil", None)
    with pytest.raises(MissingExtraError, match=r"dialect-asr\[intent\]"):
        HomeAssistant(HOME)


def test_the_benchmark_prints_its_figures(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(
        '{"text": "Règle la lampe de chevet à 50%", "intent": "HassLightSet", '
        '"slots": {"name": "lampe de chevet", "brightness": 50}, "lang": "fr"}\n'
        '{"text": "Bonjour à tous", "intent": "HassTurnOn", "slots": null, "lang": "fr"}\n'
        '{"text": "turn on the lights", "intent": "HassTurnOn", "slots": {"domain": "light"}, "lang": "en"}\n'
    )
    script = ROOT / "scripts" / "benchmark_home_assistant.py"
    done = subprocess.run([sys.executable, script, manifest], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "fr as heard, intent and slots: 50.00 %" in done.stdout
    assert "HassTurnOn as no match 1" in done.stdout
    assert "en: no figures of 1 sentences" in done.stdout
