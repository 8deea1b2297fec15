"""The one loader of recordings, for training and for inference: any file in, mono float32 at 16 kHz out.

libsndfile reads wav, flac, opus and the like; PyAV reads mp3, ogg, m4a, webm and the sound of a video.
No ffmpeg program is needed, and the content decides what a file is, not its name; only G.722, which has no header, goes
by its ending. Channels are averaged, and every rate goes through one resampler (soxr, high quality).

A span of a long recording is read without the rest: the file is sought, a little context around the span is read with
it, and resampling keeps to the grid of the whole recording, so that a span has the same samples whether it is cut
before or after. Cut so, PCM, flac, mp3, ogg and opus agree to rounding. In m4a and mp4 the times agree too, but a
decoder that starts in the middle may make other noise. Webm and mkv count time in milliseconds and agree to one.

`stream_audio` gives the same samples block by block, so that hours of audio need no more memory than seconds.
"""

from asr.audio.load import BLOCK_SECONDS, SAMPLE_RATE, load_audio, probe, stream_audio
from asr.audio.sources import AUDIO_ENDINGS, END_TOLERANCE, AudioInfo, Samples

__all__ = [
    "AUDIO_ENDINGS",
    "BLOCK_SECONDS",
    "END_TOLERANCE",
    "SAMPLE_RATE",
    "AudioInfo",
    "Samples",
    "load_audio",
    "probe",
    "stream_audio",
]
