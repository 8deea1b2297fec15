"""Starts the server and stops it: the key, the address, and what happens on SIGTERM."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from asr.errors import ConfigError

log = logging.getLogger(__name__)

# Of a WebSocket message; what is longer than the protocol's own limit, but not than this, gets a sentence.
_MESSAGE = 1 << 20
_SHORTEST_KEY = 16


def read_key(path: Path | None) -> str | None:
    """The API key of a file, or else of ``ASR_API_KEY``; None where there is neither.

    Raises:
        ConfigError: The file cannot be read, or the key is too short to be one.
    """
    try:
        given = os.environ.get("ASR_API_KEY") if path is None else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the API key's file {path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    if given is None:
        return None
    key = given.strip()
    if len(key) < _SHORTEST_KEY or not key.isascii() or len(key.split()) != 1:
        raise ConfigError(
            f"the API key must be one word of at least {_SHORTEST_KEY} ASCII characters; make one "
            "with openssl rand -hex 32"
        )
    return key


def listen(host: str, port: int) -> socket.socket:
    """Bind an address before the model is loaded, which takes longer.

    Raises:
        ConfigError: It cannot be bound.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"{host}:{port} cannot be listened on ({error}); choose another --host or --port") from None
    return bound


def is_this_machine(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_of(app: FastAPI) -> uvicorn.Server:
    """What serves an app; on SIGTERM or Ctrl-C it takes no connection any more, and finishes what is in work."""
    config = uvicorn.Config(
        app,
        # An access log would name the clients.
        access_log=False,
        log_level="warning",
        ws_max_size=_MESSAGE,
        ws_per_message_deflate=False,
        server_header=False,
    )
    return uvicorn.Server(config)
