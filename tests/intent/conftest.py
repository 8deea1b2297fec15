"""A tiny made-up set of intents, and the model that learns from it."""

from __future__ import annotations

import pytest

from asr.intent.model import IntentModel
from asr.intent.training import Example, IntentOptions, train_intent_model

TEXTS = {
    "weather": (
        "will it rain tomorrow?",
        "what is the weather like?",
        "is it cold outside?",
        "how hot will it be today?",
        "do i need an umbrella?",
    ),
    "light_on": (
        "turn on the light.",
        "switch the lamp on.",
        "lights on please.",
        "make it brighter in here.",
        "turn the kitchen lamp on.",
    ),
    "music": (
        "play some jazz.",
        "put on a song by abba.",
        "i want to hear music.",
        "play the next track.",
        "start my rock playlist.",
    ),
    "nothing": (
        "who won the war?",
        "seven times nine.",
        "my cousin lives in rome.",
        "paint dries slowly.",
        "why do cats purr?",
    ),
}
OPTIONS = IntentOptions(outside="nothing", buckets=64)


@pytest.fixture(scope="session")
def made_up() -> list[Example]:
    return [Example(text, intent, "en") for intent, texts in TEXTS.items() for text in texts]


@pytest.fixture(scope="session")
def tiny(made_up: list[Example]) -> IntentModel:
    return train_intent_model(made_up, OPTIONS)
