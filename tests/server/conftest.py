"""A real server on a free loopback port with the tiny model, and recordings to send to it."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr

from asr import Transcriber
from asr.inference.decoding import DecodeOptions
from asr.server.app import create_app
from asr.server.run import listen, server_of

# A tiny random model would write on to the end.
TOKENS = 6
Samples = npt.NDArray[np.float32]
Serve = Callable[..., str]


def wav(samples: Samples) -> bytes:
    """The content of a wav file at 16 kHz."""
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format="WAV")
    return file.getvalue()


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The address of an app that is served."""
    with listen("127.0.0.1", 0) as bound:
        server = server_of(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def transcriber(tiny_checkpoint: Path) -> Transcriber:
    return Transcriber(tiny_checkpoint, options=DecodeOptions(max_tokens=TOKENS))


@pytest.fixture
def serve(transcriber: Transcriber) -> Iterator[Serve]:
    """Serves the tiny model with any settings of `create_app`, and returns the address."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running(create_app(transcriber, "tiny", **settings)))


@pytest.fixture
def recording(speech: Samples) -> bytes:
    """A spoken sentence, as a wav file's content."""
    return wav(speech)


@pytest.fixture(scope="session")
def speech() -> Samples:
    """A sentence, spoken by espeak-ng, with a second of silence on both sides."""
    from asr.importers.espeak import ESPEAK_SAMPLE_RATE, speak

    spoken = soxr.resample(speak("The train to the coast leaves now.", "en-us") / 32768, ESPEAK_SAMPLE_RATE, 16000)
    silence = np.zeros(16000)
    return np.concatenate((silence, spoken, silence)).astype(np.float32)
