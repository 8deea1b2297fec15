"""How many requests there are at once, and how much memory they may take together."""

from __future__ import annotations

from types import TracebackType

from asr.server.limits import Limits
from asr.server.refusals import busy

_MEGABYTE = 1 << 20


class Room:
    """Counts places and bytes; used from the event loop alone.

    Args:
        limits: How many of each.

    Attributes:
        places: Requests that are there.
        size: Bytes that they hold.
    """

    def __init__(self, limits: Limits) -> None:
        self._most_places = limits.queue
        self._most_bytes = round(limits.memory_mb * _MEGABYTE)
        self.places = 0
        self.size = 0

    def enter(self) -> Place:
        """Take a place, to be left at the end of a ``with``.

        Raises:
            Refusal: 429, there is none.
        """
        if self.places >= self._most_places:
            raise busy(f"{self.places} requests are here already, and no more are taken")
        self.places += 1
        return Place(self)

    def grow(self, size: int) -> None:
        """Count so many bytes more, or less.

        Raises:
            Refusal: 429, they are too many.
        """
        if size > 0 and self.size + size > self._most_bytes:
            raise busy("the requests that are here take all the memory that they may")
        self.size += size


class Place:
    """One request's place, and the bytes that it holds."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def __enter__(self) -> Place:
        return self

    def hold(self, size: int) -> None:
        """Say how many bytes the request holds now.

        Raises:
            Refusal: 429, they are too many.
        """
        self._room.grow(size - self._size)
        self._size = size

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.grow(-self._size)
        self._size = 0
        self._room.places -= 1
