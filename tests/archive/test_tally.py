"""Counts and the sentence of them."""

from asr.archive.tally import Tally, kind_of
from asr.errors import AsrError, AudioError, ManifestError


def test_a_failure_has_a_kind() -> None:
    assert [kind_of(error("x")) for error in (AudioError, ManifestError, AsrError)] == ["audio", "manifest", "other"]


def test_the_summary_counts_all() -> None:
    tally = Tally(kept=2, seconds=36.0)
    tally.heard(3600, ("bias", "beam", "beam"))
    tally.failures.update(["manifest", "audio", "audio"])
    assert tally.summary("there already") == (
        "1 transcribed, 2 there already, 3 failed (2 audio, 1 manifest); 1.00 h of audio in 36.0 s "
        "(real-time factor 0.010); windows decoded again: beam 2, bias 1"
    )
    assert Tally().summary("") == "0 transcribed, 0 failed; 0.00 h of audio in 0.0 s"
    assert (tally.speed(), Tally().speed()) == ("100.0 s of audio per second", "0.0 s of audio per second")
