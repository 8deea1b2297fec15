"""How many commands to a home are recognised: python scripts/benchmark_home_assistant.py MANIFEST.

MANIFEST is ``ha_intents_fr``: the test sentences of https://github.com/OHF-Voice/intents, one JSON line each with
``text``, ``intent``, ``slots`` and ``lang``. They reach the matcher as utterance events do. "as heard" writes them as a
recogniser does: a capital, a comma behind the first word, typographic apostrophes, a space before the percent sign, a
full stop. Home Assistant tests its templates with these very sentences, so the figures say what the hand-over loses,
not how much of free speech is understood.

The homes below are those that the sentences were written for (the ``entities`` of its ``tests/fr`` and ``tests/en``):
what there is and what each thing is called, nothing about sentences. Names of timers and items of lists are free. A
slot is right where the test suite there takes it for right. Beside those that are asked for, the room of the listener
may be told, and the domain, which the sentences' templates state and their manifest leaves out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from asr.errors import AsrError
from asr.intent.adapters.home_assistant import Device, Home, HomeAssistant
from asr.intent.event import event_of
from asr.jsonlines import read_sound_objects
from asr.metrics import rate_estimate
from asr.transcript import Transcript

NAMES = {
    "fr": {
        "light": ("lampe de chevet", "lampe du bureau", "lumière du plafond", "lampe cuisine", "lampe couloir"),
        "cover": ("rideau droit", "rideau gauche", "volet droit", "porte de garage"),
        "lock": ("porte d'entrée", "porte de garage", "serrure Aqara"),
        "valve": ("valve principale",),
        "switch": ("interrupteur de la cuisine",),
        "fan": ("ventilateur de plafond",),
        "climate": ("Thermostat du bureau", "sèche-serviettes"),
        "media_player": ("TV", "Enceintes"),
        "vacuum": ("Nestor",),
        "lawn_mower": ("la tondeuse",),
        "scene": ("Mode partie",),
        "script": ("Mode discret",),
        "todo": ("tâches", "liste des courses"),
        "sensor": ("température extérieure",),
        "binary_sensor": ("fenêtre", "fenêtre salon", "détecteur", "capteur bureau", "porte d'entrée"),
        "person": ("Jean", "Jeanne"),
        "weather": ("Paris", "Brest"),
    },
    "en": {
        "light": ("Bedroom Lamp", "Overhead Light", "Play Corner", "Kitchen Light", "Hallway Light"),
        "cover": ("Bedroom Curtain", "Curtain Left", "Sliding Door", "Garage Door"),
        "lock": ("Front Door", "Patio Door", "Garage Door"),
        "valve": ("Main Valve",),
        "fan": ("Ceiling Fan",),
        "climate": ("Office Thermostat",),
        "media_player": ("TV",),
        "vacuum": ("Rover",),
        "lawn_mower": ("Clippy",),
        "scene": ("Party Mode",),
        "script": ("Stealth Mode",),
        "todo": ("Chores", "Trader Joes"),
        "sensor": ("Outside Temperature",),
        "binary_sensor": ("Skylight", "Motion Sensor", "Office Sensor", "Front Door", "Patio Door"),
        "person": ("Jane",),
        "weather": ("London", "Los Angeles"),
    },
}
AREAS = {
    "fr": ("Cuisine", "Salon", "Chambre", "Bureau", "Garage", "Entrée", "Couloir"),
    "en": ("Kitchen", "Living Room", "Bedroom", "Office", "Garage", "Entryway", "Hallway"),
}
FLOORS = {
    "fr": ("Rez-de-chaussée", "Premier étage"),
    "en": ("First Floor", "Second Floor", "Upstairs"),
}


def as_heard(text: str) -> str:
    """A sentence as a recogniser writes it."""
    first, _, rest = text.strip().rstrip(".?!").partition(" ")
    text = f"{first.capitalize()}, {rest}" if rest else first.capitalize()
    return text.replace("'", "’").replace("%", "\u202f%") + "."


def same(wanted: Any, found: Any) -> bool:
    """Whether a slot's value is right: one of those, or all of these, in any case of letters."""
    these, those = (set(map(_comparable, one if isinstance(one, list) else [one])) for one in (wanted, found))
    return these <= those or those <= these


def _comparable(value: str | float) -> str | float:
    return value.casefold() if isinstance(value, str) else float(value)


def measure(rows: list[dict[str, Any]], language: str, show: bool) -> None:
    """Print what is recognised of the sentences of one language."""
    if len(rows) < 2:
        print(f"{language}: no figures of {len(rows)} sentences")
        return
    devices = tuple(Device(name, domain) for domain, names in NAMES[language].items() for name in names)
    assistant = HomeAssistant(Home(devices, AREAS[language], FLOORS[language]))
    room = AREAS[language][0]
    for written, change in (("as written", str), ("as heard", as_heard)):
        right, slots_right, seconds = [], [], []
        missed: Counter[str] = Counter()
        for row in rows:
            text = change(row["text"])
            event = event_of(Transcript("", text, language, None, 1.0, ()))
            begin = time.perf_counter()
            found = assistant.recognise(event, area=room)
            seconds.append(time.perf_counter() - begin)
            right.append(found.name == row["intent"])
            wanted = row["slots"] or {}
            extra = found.slots.keys() - wanted.keys()
            slots_right.append(
                right[-1]
                and all(key in found.slots and same(value, found.slots[key]) for key, value in wanted.items())
                and all(key == "domain" or (key == "area" and found.slots[key] == room) for key in extra)
            )
            if not right[-1]:
                missed[f"{row['intent']} as {found.name or found.reason}"] += 1
                if show:
                    print(f"  {row['intent']} as {found.name or found.reason}: {text}")
        for name, flags in (("intent", right), ("intent and slots", slots_right)):
            numbers = np.array(flags, int)
            rate = rate_estimate(numbers, np.ones_like(numbers), np.arange(len(numbers)))
            print(
                f"{language} {written}, {name}: {100 * rate.value:.2f} % [{100 * rate.low:.2f}, {100 * rate.high:.2f}] "
                f"of {len(rows)}"
            )
        print(f"  {1000 * np.median(seconds):.1f} ms in the median, {1000 * np.percentile(seconds, 99):.0f} in 99 %")
        print("  " + ("; ".join(f"{name} {count}" for name, count in missed.most_common(8)) or "nothing missed"))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--show", action="store_true", help="print every sentence that is not recognised")
    arguments = parser.parse_args()
    try:
        rows = list(read_sound_objects(arguments.manifest))
        for language in NAMES:
            measure([row for row in rows if row["lang"] == language], language, arguments.show)
    except AsrError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
