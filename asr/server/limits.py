"""How much the server takes at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

from asr.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused, so that nobody can fill the memory or keep the others waiting for ever.

    Attributes:
        upload_mb: Most megabytes of one request's body (413).
        upload_seconds: Most seconds that a body may take to arrive (408).
        audio_seconds: Most seconds that one recording may last (413).
        queue: Most requests that are read, wait or are in work (429).
        memory_mb: Most megabytes of bodies and decoded audio of all requests together (429).
        batch_seconds: Most seconds of encoder window that are heard at once.
        live: Most live sessions (429).
        live_idle_seconds: A live session in which nobody speaks for so long is closed.
        stuck_seconds: When one batch takes longer, ``/healthz`` says so (503).

    Raises:
        ConfigError: A limit is not above 0.
    """

    upload_mb: float = 25.0
    upload_seconds: float = 120.0
    audio_seconds: float = 3600.0
    queue: int = 256
    memory_mb: float = 2048.0
    batch_seconds: float = 120.0
    live: int = 8
    live_idle_seconds: float = 300.0
    stuck_seconds: float = 120.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not 0 < value < float("inf"):
                raise ConfigError(f"{one.name} must be a number above 0, found {value}")
