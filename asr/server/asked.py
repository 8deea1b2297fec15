"""The fields of a request, checked."""

from __future__ import annotations

from dataclasses import dataclass

from asr.server.answers import FORMATS
from asr.server.queue import Wish
from asr.server.refusals import Refusal
from asr.server.upload import Form

# What OpenAI's clients are told to ask for; here it is whatever model is served.
USUAL_MODEL = "whisper-1"
_GRANULARITIES = ("word", "segment")
_PROMPT = 2000


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client wants.

    Attributes:
        wish: How its recording is to be heard.
        form: One of `asr.server.answers.FORMATS`.
        segments: Whether the verbose form tells segments.
        stream: Whether the text comes piece by piece.
    """

    wish: Wish
    form: str
    segments: bool
    stream: bool


def read_fields(form: Form, model: str) -> Asked:
    """Check the fields of a form.

    Fields that are not known are passed over: OpenAI adds some now and then.

    Args:
        form: What was sent.
        model: The id of the model that is served.

    Raises:
        Refusal: 404, another model is asked for; 400, a field cannot be.
    """
    wanted = _one(form, "model") or model
    if wanted not in (model, USUAL_MODEL):
        raise Refusal(
            404,
            f"the model {wanted[:100]!r} is not served here; ask for {model!r} or {USUAL_MODEL!r}",
            param="model",
            code="model_not_found",
        )
    shape = _one(form, "response_format") or "json"
    if shape not in FORMATS:
        raise Refusal(
            400,
            f"response_format {shape[:100]!r} is not known; choose from {', '.join(FORMATS)}",
            param="response_format",
        )
    stream = (_one(form, "stream") or "false").lower()
    if stream not in ("true", "false", "1", "0"):
        raise Refusal(400, f"stream must be true or false, found {stream[:100]!r}", param="stream")
    _check_temperature(_one(form, "temperature"))
    detail = form.fields.get("timestamp_granularities[]", []) + form.fields.get("timestamp_granularities", [])
    if unknown := [one for one in detail if one not in _GRANULARITIES]:
        raise Refusal(
            400,
            f"timestamp_granularities {unknown[0][:100]!r} is not known; choose word, segment or both",
            param="timestamp_granularities",
        )
    prompt = (_one(form, "prompt") or "").strip()
    if len(prompt) > _PROMPT:
        raise Refusal(400, f"the prompt has {len(prompt)} characters; at most {_PROMPT} are taken", param="prompt")
    wish = Wish(_one(form, "language"), _one(form, "dialect"), prompt or None, "word" in detail)
    return Asked(wish, shape, not detail or "segment" in detail, stream in ("true", "1"))


def _one(form: Form, name: str) -> str | None:
    """The last value of a field; None where there is none, or an empty one."""
    return form.fields.get(name, [""])[-1] or None


def _check_temperature(given: str | None) -> None:
    try:
        fits = given is None or 0 <= float(given) <= 1
    except ValueError:
        fits = False
    if not fits:
        raise Refusal(400, "temperature must be a number from 0 to 1", param="temperature")
