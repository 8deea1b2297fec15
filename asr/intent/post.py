"""Sending an event to a receiver by HTTP, and what its answer means for the event."""

from __future__ import annotations

import ipaddress
import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from asr.errors import ConfigError, DeliveryError, MissingExtraError
from asr.intent.dispatch import Busy, Refused

log = logging.getLogger(__name__)

# Answers that are the same however often one asks: the event is not understood, too large, or not accepted.
_NEVER = (400, 413, 415, 422)
# Of an answer's body, which nobody reads; what is longer costs the connection.
_BODY = 1 << 16


class Request(Protocol):
    """What is sent, as `asr.intent.adapters.webhook.WebhookRequest` says it."""

    @property
    def body(self) -> bytes: ...  # noqa: D102
    @property
    def headers(self) -> dict[str, str]: ...  # noqa: D102


class Post:
    """Posts events, each with its key in ``Idempotency-Key``; a callable for `asr.intent.dispatch.Dispatcher`.

    An event is delivered when the receiver answers 2xx. It is refused for ever with 400, 413, 415 or 422, and with a
    redirect: it would go to somebody whom nobody named. 429, and 503 that says for how long, ask everybody to wait. All
    else is a failed try: another answer, none in time, garbage, a connection that breaks. Certificates are always
    checked; ``SSL_CERT_FILE`` names an authority of your own.

    Args:
        url: ``https://…``, or ``http://…`` where nobody listens in. A user and password in it become a header.
        form: Makes of an event what is sent; by default it is the event as JSON. It is called for every try, because
            some receivers want to know when it was sent.
        headers: Sent with every event.
        timeout: Seconds to wait for a connection, and for each part of the answer.
        connections: Kept open at once.

    Raises:
        ConfigError: The URL cannot be used.
        MissingExtraError: httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        form: Callable[[dict[str, Any]], Request] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        connections: int = 8,
    ) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingExtraError("delivery by HTTP needs the package httpx; install dialect-asr[intent]") from None
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError):
            parsed = httpx.URL("")
        if parsed.scheme not in ("http", "https") or not parsed.host or (parsed.port or 0) > 65535:
            raise ConfigError("the receiver is given as a URL such as https://intents.example/events")
        if parsed.scheme == "http" and not _is_this_machine(parsed.host):
            log.warning("http:// sends what people said in the clear; use https:// where others share the network")
        self._httpx = httpx
        # Its log names whom it asks.
        self._url = parsed.copy_with(userinfo=b"")
        self._client = httpx.Client(
            auth=(parsed.username, parsed.password) if parsed.userinfo else None,
            headers={"User-Agent": "dialect-asr", **(headers or {}), "Content-Type": "application/json; charset=utf-8"},
            timeout=timeout,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
        )
        self._form = form
        self._timeout = timeout

    @property
    def host(self) -> str:
        """Of the receiver."""
        return str(self._url.host)

    def __call__(self, event: dict[str, Any], key: str) -> None:
        """Send one event; returns when the receiver has it.

        Raises:
            Refused: It will never take it.
            Busy: It asks to wait.
            DeliveryError: It did not take it, and may do so later.
        """
        httpx = self._httpx
        if self._form is None:
            body, headers = json.dumps(event, allow_nan=False).encode(), {}
        else:
            request = self._form(event)
            body, headers = request.body, dict(request.headers)
        headers["Idempotency-Key"] = key
        try:
            with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                _read(response.iter_raw(), time.monotonic() + self._timeout)
                status, asked = response.status_code, response.headers.get("Retry-After")
        except httpx.TimeoutException as error:
            raise DeliveryError(f"the receiver did not answer within {self._timeout:g} s") from error
        except httpx.ConnectError as error:
            raise DeliveryError("the receiver cannot be reached, or its certificate does not hold") from error
        except (httpx.HTTPError, ValueError) as error:
            raise DeliveryError(f"the receiver's answer broke off or is no HTTP ({type(error).__name__})") from error
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            raise Refused(
                f"the receiver answered {status}, a redirect, which is not followed; give the address it moved to"
            )
        if status in _NEVER:
            raise Refused(f"the receiver answered {status}: it will never take this event")
        wait = _retry_after(asked)
        if status == 429 or (status == 503 and wait is not None):
            raise Busy(f"the receiver answered {status}: it is busy", wait)
        raise DeliveryError(f"the receiver answered {status}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _read(chunks: Any, until: float) -> None:
    """Read a body to its end, so that the connection can be used again, unless it is long or slow."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > _BODY or time.monotonic() > until:
            return


def _retry_after(value: str | None) -> float | None:
    """Seconds that a header asks for, as a number or as a date; None where it says neither."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max((when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp() - time.time(), 0.0)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
