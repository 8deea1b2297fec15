from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from asr import Transcriber, Transcript
from asr.errors import ConfigError
from asr.server.hearing import Hearing
from asr.server.queue import Wish


def test_a_wish_is_what_the_transcriber_is_asked(
    transcriber: Transcriber, speech: Any, voice: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import asr.inference.decoding as decoding

    prompts = []
    original = decoding.DecodingOptions

    def spy(**given: Any) -> Any:
        prompts.append(given["prompt"])
        return original(**given)

    monkeypatch.setattr(decoding, "DecodingOptions", spy)
    hearing = Hearing(transcriber)
    (asked,) = hearing([speech], Wish("fr", "fr-CA", "Bonjour", words=True))
    (plain,) = hearing([speech], Wish())
    (cut,) = hearing([voice(1.0)], Wish(cut=True))
    assert isinstance(asked, Transcript) and isinstance(plain, Transcript)
    assert isinstance(cut, Transcript)
    assert prompts[0] == "Bonjour" and prompts[-1] is None
    # In a voice that says nothing no speech is found.
    assert cut.text and not transcriber.transcribe(voice(1.0)).text
    assert (asked.language, asked.dialect) == ("fr", "fr-CA")
    assert bool(asked.words) == bool(asked.text) and not plain.words
    assert plain == transcriber.transcribe(speech)


@pytest.mark.parametrize("wish", [Wish("xx"), Wish(None, "no tag"), Wish("en", "fr-CA")])
def test_what_cannot_be_wished_is_said_at_once(transcriber: Transcriber, wish: Wish) -> None:
    with pytest.raises(ConfigError):
        Hearing(transcriber).check(wish)


def test_a_padded_window_is_30_s(transcriber: Transcriber) -> None:
    assert Hearing(transcriber).window(16000) == 30
    assert not np.isnan(Hearing(transcriber).window(1))
