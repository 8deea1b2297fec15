"""Transcripts in the forms of OpenAI's API, with what we know beyond them as further keys."""

from __future__ import annotations

import json
from typing import Any

from whisper.tokenizer import LANGUAGES

from asr.transcript import Transcript
from asr.writers import format_transcript

FORMATS = ("json", "verbose_json", "text", "srt", "vtt")


def answer(transcript: Transcript, form: str, words: bool, segments: bool) -> tuple[str, str]:
    """Return the body and its media type.

    Args:
        transcript: What was heard.
        form: One of FORMATS.
        words: Whether verbose_json tells each word.
        segments: Whether verbose_json tells the segments.
    """
    if form == "json":
        return _json({"text": transcript.text, "usage": usage(transcript)}), "application/json"
    if form == "verbose_json":
        return _json(verbose(transcript, words, segments)), "application/json"
    if form == "text":
        return f"{transcript.text}\n", "text/plain; charset=utf-8"
    kind = "text/vtt" if form == "vtt" else "application/x-subrip"
    return format_transcript(transcript, form), f"{kind}; charset=utf-8"


def verbose(transcript: Transcript, words: bool, segments: bool = True) -> dict[str, Any]:
    """OpenAI's verbose form: the language by its English name, tokens left out; then our own keys."""
    own = transcript.to_dict()
    for key in ("id", "segments", "words", "text", "language", "duration"):
        del own[key]
    told: dict[str, Any] = {
        "task": "transcribe",
        "language": LANGUAGES.get(transcript.language, transcript.language),
        "language_code": transcript.language,
        "duration": transcript.duration,
        "text": transcript.text,
        "usage": usage(transcript),
        **own,
    }
    if segments:
        told["segments"] = [
            {
                "id": number,
                "seek": round(100 * segment.start),
                "start": segment.start,
                "end": segment.end,
                "text": segment.text,
                "tokens": [],
                "temperature": 0.0,
                "avg_logprob": segment.avg_logprob,
                "compression_ratio": segment.compression_ratio,
                "no_speech_prob": segment.no_speech_prob,
            }
            for number, segment in enumerate(transcript.segments)
        ]
    if words:
        told["words"] = [
            {
                "word": word.text,
                "start": word.start,
                "end": word.end,
                "probability": word.probability,
                "prominence": word.prominence,
            }
            for word in transcript.words
        ]
    return told


def usage(transcript: Transcript) -> dict[str, Any]:
    """What OpenAI would charge for."""
    return {"type": "duration", "seconds": transcript.duration}


def event(data: dict[str, Any]) -> str:
    """One server-sent event; an error has no type."""
    name = f"event: {data['type']}\n" if "type" in data else ""
    return f"{name}data: {_json(data)}\n\n"


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False)
