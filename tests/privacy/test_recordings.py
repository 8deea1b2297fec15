"""What is left of a source's tags, by mutagen's reading and by a search of the bytes."""

import struct
from collections.abc import Callable
from pathlib import Path

import av
import mutagen
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, COMM, ID3, TIT2, TPE1
from mutagen.mp4 import MP4, MP4Cover
from mutagen.oggvorbis import OggVorbis

from asr.audio import load_audio
from asr.privacy.recordings import write_plain

Voice = Callable[..., np.ndarray]
# What a recorder, an editor or a person may have left in a file; each must be found in the source, and not after.
NAME, PLACE, COVER = "Jeanne Dupont", "chez elle, 12 rue des Lilas", b"\x89PNG\r\n\x1a\nthe face of Jeanne"
SECRETS = (NAME.encode(), PLACE.encode(), COVER)


def wav_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def tagged_wav(path: Path, samples: np.ndarray) -> None:
    """A broadcast wave as field recorders write it: bext and iXML before the sound, LIST and ID3 behind it."""
    data = np.round(samples * 32767).astype("<i2").tobytes()
    info = b"INFO" + wav_chunk(b"IART", NAME.encode()) + wav_chunk(b"ICRD", b"2024-05-14")
    chunks = (
        wav_chunk(b"bext", NAME.encode().ljust(256, b"\0") + PLACE.encode().ljust(346, b"\0")),
        wav_chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)),
        wav_chunk(b"iXML", f"<BWFXML><NOTE>{NAME}, {PLACE}</NOTE></BWFXML>".encode()),
        wav_chunk(b"data", data),
        wav_chunk(b"LIST", info),
        wav_chunk(b"junk", COVER),
    )
    body = b"WAVE" + b"".join(chunks)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def tagged_mp3(path: Path, samples: np.ndarray) -> None:
    soundfile.write(path, samples, 16000, format="MP3")
    tags = ID3()
    tags.add(TPE1(text=NAME))
    tags.add(TIT2(text=PLACE))
    tags.add(COMM(text=PLACE))
    tags.add(APIC(mime="image/png", data=COVER))
    tags.save(path, v1=2)


def tagged_flac(path: Path, samples: np.ndarray) -> None:
    soundfile.write(path, samples, 16000)
    file = FLAC(path)
    file["ARTIST"], file["LOCATION"], file["DATE"] = NAME, PLACE, "2024-05-14"
    picture = Picture()
    picture.data = COVER
    file.add_picture(picture)
    file.save()


def tagged_ogg(path: Path, samples: np.ndarray) -> None:
    soundfile.write(path, samples, 16000, format="OGG", subtype="VORBIS")
    file = OggVorbis(path)
    file["ARTIST"], file["LOCATION"], file["COVER"] = NAME, PLACE, COVER.decode("latin-1")
    file.save()


def tagged_m4a(path: Path, samples: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32).reshape(1, -1), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file = MP4(path)
    file["\xa9ART"], file["\xa9cmt"], file["covr"] = [NAME], [PLACE], [MP4Cover(COVER)]
    file.save()


SOURCES = {"wav": tagged_wav, "mp3": tagged_mp3, "flac": tagged_flac, "ogg": tagged_ogg, "m4a": tagged_m4a}


@pytest.mark.parametrize("ending", SOURCES)
def test_nothing_but_the_sound_is_left(tmp_path: Path, voice: Voice, ending: str) -> None:
    source = tmp_path / f"jeanne-dupont.{ending}"
    SOURCES[ending](source, voice(3.0))
    before = source.read_bytes()
    # The ogg comment holds the picture as text.
    secrets = (*SECRETS[:2], COVER[8:]) if ending == "ogg" else SECRETS
    assert all(secret in before for secret in secrets)

    target = tmp_path / "out" / "fragment.flac"
    samples = load_audio(source, 0.5, 2.0)
    write_plain(target, samples)
    after = target.read_bytes()
    for secret in (*secrets, b"Dupont", b"2024", b"Lavf", b"LAME", b"Xiph", b"libFLAC", b"jeanne"):
        assert secret.lower() not in after.lower()

    read = mutagen.File(target)
    assert isinstance(read, FLAC)
    assert read.tags is None and not read.pictures and read.cuesheet is None and read.seektable is None
    assert [type(block).__name__ for block in read.metadata_blocks] == ["StreamInfo"]
    assert (read.info.sample_rate, read.info.channels, read.info.total_samples) == (16000, 1, 32000)
    np.testing.assert_allclose(load_audio(target), samples, rtol=0, atol=0.5 / 32768)


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=3000))
def test_every_16_bit_sample_stays(tmp_path_factory: pytest.TempPathFactory, whole: list[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "exact.flac"
    write_plain(path, np.array(whole, np.float32) / 32768)
    assert soundfile.read(path, dtype="int16")[0].tolist() == whole


def test_what_is_too_loud_is_cut_off(tmp_path: Path) -> None:
    write_plain(tmp_path / "loud.flac", np.array([1.0, 1.7, -1.0, -3.0, 0.5], np.float32))
    found = soundfile.read(tmp_path / "loud.flac", dtype="int16")[0]
    assert found.tolist() == [32767, 32767, -32768, -32768, 16384]
