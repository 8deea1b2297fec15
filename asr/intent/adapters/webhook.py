"""Any receiver that takes JSON by ``POST``: the event as it is, with a key against doubles and a signature.

The headers are those of Standard Webhooks 1.0 (https://www.standardwebhooks.com), for which receivers have libraries;
``Idempotency-Key`` says the same as ``webhook-id`` to those that know that name instead.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field

from asr.errors import ConfigError
from asr.intent.event import UtteranceEvent

_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """What is sent.

    Attributes:
        body: JSON in UTF-8.
        headers: Of the request.
    """

    body: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)


def request(event: UtteranceEvent, secret: str | None = None, at: float | None = None) -> WebhookRequest:
    """Return body and headers.

    In the body ``<``, ``>`` and ``&`` are written as escapes, which mean the same in JSON: a receiver that puts it into
    a page as it came runs no markup.

    Args:
        event: The utterance.
        secret: Shared with the receiver, ``whsec_`` and base64; without it nothing is signed.
        at: When it is sent, in seconds since 1970; now by default. A receiver refuses what is old.

    Raises:
        ConfigError: The secret is not written so.
    """
    text = json.dumps(event.to_dict(), ensure_ascii=False, allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    body = text.encode()
    sent = str(int(time.time() if at is None else at))
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Idempotency-Key": event.id,
        "webhook-id": event.id,
        "webhook-timestamp": sent,
    }
    if secret is not None:
        headers["webhook-signature"] = sign(secret, event.id, sent, body)
    return WebhookRequest(body, headers)


def sign(secret: str, id: str, sent: str, body: bytes) -> str:
    """Return the signature of Standard Webhooks: HMAC-SHA256 of id, time and body, in base64.

    Raises:
        ConfigError: The secret is not ``whsec_`` and base64.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(_PREFIX) or not key:
        raise ConfigError("a webhook's secret is written whsec_ and base64, as the receiver shows it")
    digest = hmac.new(key, b".".join([id.encode(), sent.encode(), body]), hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()
