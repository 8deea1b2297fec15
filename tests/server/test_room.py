import pytest

from asr.server.limits import Limits
from asr.server.refusals import Refusal
from asr.server.room import Room


def test_places_are_given_back() -> None:
    room = Room(Limits(queue=2))
    with room.enter(), room.enter():
        with pytest.raises(Refusal, match="2 requests are here already") as refused:
            room.enter()
        assert refused.value.status == 429 and refused.value.retry_after
    assert room.places == 0
    with room.enter():
        assert room.places == 1


def test_bytes_are_given_back_whatever_happens() -> None:
    room = Room(Limits(memory_mb=1))
    with pytest.raises(Refusal, match="all the memory"), room.enter() as place:
        place.hold(1 << 20)
        place.hold(10)
        assert room.size == 10
        place.hold((1 << 20) + 1)
    assert (room.places, room.size) == (0, 0)


def test_less_may_be_held_when_it_is_full() -> None:
    room = Room(Limits(memory_mb=1))
    with room.enter() as one, room.enter() as other:
        one.hold(1 << 20)
        with pytest.raises(Refusal):
            other.hold(1)
        one.hold(5)
        other.hold(1)
        assert room.size == 6
