"""What is heard whole and what in windows; and that both are the samples of the recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from asr.audio import load_audio
from asr.errors import AudioError, ManifestError
from asr.fragment import Fragment
from asr.inference.clips import Audio, Clip, End, read_clips
from asr.inference.speech import SpeechOptions
from asr.inference.windows import BREATHS

Samples = npt.NDArray[np.float32]


def read(item: Audio, speech: SpeechOptions | None = SpeechOptions()) -> tuple[list[Clip], End]:  # noqa: B008
    *clips, end = read_clips(3, item, None, None, "fr".__eq__, BREATHS, speech)
    assert all(isinstance(clip, Clip) and (clip.number, clip.id) == (3, end.id) for clip in clips)
    assert isinstance(end, End)
    return clips, end  # type: ignore[return-value]


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory, speak: Callable[..., Samples]) -> Path:
    """Fifty seconds, in which somebody speaks from 2 to 5, from 20 to 45 and from 47 to 49 s."""
    sound = np.zeros(50 * 16000, np.float32)
    for number, (begin, end) in enumerate(((2, 5), (20, 45), (47, 49))):
        sound[begin * 16000 : end * 16000] = speak(end - begin, number)
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, sound, 16000, subtype="FLOAT")
    return path


def test_a_recording_is_heard_in_windows_wherever_it_comes_from(talk: Path) -> None:
    whole = load_audio(talk)
    fragment = Fragment(id="f", audio=str(talk), text="", language="fr", dialect="fr-CA")
    for item, name in ((talk, "talk.wav"), (str(talk), "talk.wav"), (whole, ""), (fragment, "f")):
        clips, end = read(item)
        given = ("fr", "fr-CA") if name == "f" else (None, None)
        assert end == End(name, 50.0, *given)
        assert {(clip.language, clip.dialect, clip.whole) for clip in clips} == {(*given, False)}
        assert clips[0].start == pytest.approx(2, abs=0.3) and clips[0].duration == pytest.approx(3, abs=0.6)
        assert clips[-1].start == pytest.approx(47, abs=0.3)
        assert len(clips) >= 4 and max(clip.duration for clip in clips) <= 15
        assert sum(clip.duration for clip in clips) == pytest.approx(30, abs=2)
        for clip in clips:
            first = round(clip.start * 16000)
            np.testing.assert_array_equal(clip.samples, whole[first : first + len(clip.samples)])


def test_speech_is_looked_for_in_a_fragment_where_that_is_wanted(talk: Path) -> None:
    fragment = Fragment(id="f", audio=str(talk), text="", language="fr", start=1.0, duration=5.0)
    (clip,), end = read(fragment, SpeechOptions(fragments=True))
    assert (clip.whole, end) == (False, End("f", 5.0, "fr", None))
    assert clip.start == pytest.approx(1, abs=0.3) and clip.duration == pytest.approx(3, abs=0.6)


def test_a_fragment_is_heard_whole_as_it_was_cut(talk: Path) -> None:
    fragment = Fragment(id="f", audio=str(talk), text="", language="fr", start=1.0, duration=30.0)
    for item in (fragment, fragment.replace(start=20.0, duration=None)):
        ((clip,), end) = read(item)
        assert (clip.whole, clip.start, clip.duration, end.duration) == (True, 0.0, 30.0, 30.0)
        np.testing.assert_array_equal(clip.samples, load_audio(talk, item.start, 30.0))
    # One that is longer than a model hears at once is a recording; its times are its own.
    clips, end = read(fragment.replace(duration=30.1))
    assert end.duration == pytest.approx(30.1)
    assert [clip.whole for clip in clips] == [False] * len(clips)
    assert clips[0].start == pytest.approx(1, abs=0.3)


def test_without_detection_a_recording_is_like_a_fragment(talk: Path) -> None:
    samples = load_audio(talk, 0.0, 30.0)
    ((clip,), _) = read(samples, None)
    assert clip.whole and np.array_equal(clip.samples, samples)
    with pytest.raises(AudioError, match=r"talk.wav lasts 50.00 s.*or let speech be looked for"):
        read(talk, None)


def test_faults_are_named_at_the_start_or_where_they_are(talk: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="'f' is in 'de', which the model does not know"):
        read(Fragment(id="f", audio=str(talk), text="", language="de"))
    with pytest.raises(AudioError, match="No such file"):
        read(tmp_path / "missing.wav")
    samples = load_audio(talk)
    samples[-1] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16000, subtype="FLOAT")
    found = read_clips(0, tmp_path / "nan.wav", None, None, "fr".__eq__, BREATHS, SpeechOptions())
    assert isinstance(next(found), Clip)
    with pytest.raises(AudioError, match=r"nan.wav holds a NaN or infinite sample at 50.000 s"):
        list(found)
    with pytest.raises(AudioError, match="NaN"):
        read(samples)
