"""Reads a form with a recording from a request: in memory, within limits, and never a temporary file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from asr.server.limits import Limits
from asr.server.refusals import Refusal
from asr.server.room import Place

_MEGABYTE = 1 << 20
_FIELDS = 32
# Bytes of a field that is no file; a prompt is the longest.
_FIELD_SIZE = 1 << 14


class _InMemory(MultiPartParser):
    """Starlette's parser; a size of 0 means that no upload goes to a temporary file, however long it is."""

    spool_max_size = 0


@dataclass(frozen=True, slots=True)
class Form:
    """What was sent.

    Attributes:
        recording: The content of ``file``.
        fields: All other fields by name, each with its values in order.
    """

    recording: bytes
    fields: dict[str, list[str]]


async def read_form(request: Request, limits: Limits, place: Place) -> Form:
    """Read the body of a request.

    Raises:
        Refusal: 415, it is no form; 413, it is too long, by its header or when that much has come; 408, it does not
            come in time; 429, the memory is full; 400, it is broken, or has no file.
        ClientDisconnect: The client has gone.
    """
    kind = request.headers.get("content-type", "")
    if kind.split(";")[0].strip().lower() != "multipart/form-data":
        raise Refusal(415, "the body must be multipart/form-data with the recording in the field file")
    most = round(limits.upload_mb * _MEGABYTE)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise _too_large(limits)
    parser = _InMemory(
        request.headers,
        _bounded(request, most, limits, place),
        max_files=1,
        max_fields=_FIELDS,
        max_part_size=_FIELD_SIZE,
    )
    try:
        form = await asyncio.wait_for(parser.parse(), limits.upload_seconds)
    except asyncio.TimeoutError:
        raise Refusal(408, f"the body did not come within {limits.upload_seconds:g} s; send it again") from None
    except MultiPartException as error:
        raise Refusal(400, f"the form cannot be read: {error.message.rstrip('.')}") from None
    recording = b""
    fields: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            fields.setdefault(name, []).append(value)
        elif name == "file":
            recording = await value.read()
    await form.close()
    if not recording:
        raise Refusal(400, "the form has no recording in the field file, or an empty one", param="file")
    return Form(recording, fields)


async def _bounded(request: Request, most: int, limits: Limits, place: Place) -> AsyncGenerator[bytes, None]:
    """Pass the body on until it is too long."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(limits)
        # Twice: the parser's file, and what is read from it.
        place.hold(2 * size)
        yield chunk


def _too_large(limits: Limits) -> Refusal:
    return Refusal(
        413,
        f"the body is larger than the {limits.upload_mb:g} MB that are taken; send a shorter or compressed recording",
    )
