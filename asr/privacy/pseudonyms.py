"""Pseudonyms: keyed names for speakers, conversations and the like, which nobody can undo without the key.

A pseudonym is an HMAC-SHA256 (RFC 2104) of the kind and the true value. The same key gives the same pseudonym, so what
belongs together stays together; another key gives others, and two releases under two keys share no id. Whoever has the
key can try names until one fits: the key is as secret as the names, and lives elsewhere than the data.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
from base64 import b32encode
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from asr.errors import ConfigError

log = logging.getLogger(__name__)

Kind = Literal["speaker", "conversation", "fragment", "annotator", "consent"]

KEY_BYTES = 32
# 100 bits: among a thousand million fragments, two share a pseudonym with a probability of 4 in 10 ** 13.
_CODE_LENGTH = 20


def new_key(path: str | Path, outside: Iterable[str | Path] = ()) -> bytes:
    """Make a random key and write it to a new file that only its owner can read.

    Args:
        path: The file; missing folders are created. It must not exist: a lost key cannot be had again.
        outside: As for `read_key`.

    Raises:
        ConfigError: There is such a file already, or it would lie in a folder of data.
    """
    target = Path(path)
    _refuse_inside(target, outside)
    target.parent.mkdir(parents=True, exist_ok=True)
    key = secrets.token_bytes(KEY_BYTES)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{target} exists already; use that key, or name another file") from None
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as handle:
            handle.write(key.hex() + "\n")
            handle.flush()
            os.fsync(handle.fileno())
    except BaseException:  # half a key on a full disk would look like a key that somebody uses
        target.unlink(missing_ok=True)
        raise
    return key


def read_key(path: str | Path, outside: Iterable[str | Path] = ()) -> bytes:
    """Read a key that `new_key` wrote.

    A file that others than its owner can read is used, with a warning in the log: mounted secrets often are so.

    Args:
        path: The file.
        outside: Folders of data, in none of which the key may lie, not even by a link.

    Raises:
        ConfigError: There is no such file, it holds no key, or it lies in a folder of data.
    """
    file = Path(path)
    _refuse_inside(file, outside)
    try:
        # One byte more than a key has, for a file that is something else altogether.
        with file.open("rb") as handle:
            content = handle.read(2 * KEY_BYTES + 3)
            mode = os.fstat(handle.fileno()).st_mode
    except FileNotFoundError:
        raise ConfigError(f"there is no key {file}; make one with --new-key, or check the path") from None
    except OSError as error:
        raise ConfigError(f"the key {file} cannot be read: {error.strerror or error}") from error
    text = content.strip()
    if not re.fullmatch(rb"[0-9a-fA-F]{%d}" % (2 * KEY_BYTES), text):
        raise ConfigError(f"{file} holds no key: a key is {2 * KEY_BYTES} hexadecimal digits on one line")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        log.warning("the key %s can be used by others (mode %04o); chmod 600 it", file, stat.S_IMODE(mode))
    return bytes.fromhex(text.decode("ascii"))


def pseudonym(kind: Kind, value: str, key: bytes) -> str:
    """Return the pseudonym of a value, such as ``speaker-k3v7t…``: the kind and 20 letters and digits.

    The kind goes into the hash, so a speaker and a conversation of one name have nothing in common.

    Args:
        kind: What the value names.
        value: The true id.
        key: 32 bytes of `read_key`.
    """
    digest = _digest(f"{kind}\0{value}", key)
    return f"{kind}-{b32encode(digest).decode('ascii').lower()[:_CODE_LENGTH]}"


def fingerprint(key: bytes) -> str:
    """Return 16 hexadecimal digits by which a key is known again, and which say nothing else about it."""
    return _digest("key fingerprint", key).hex()[:16]


def _refuse_inside(key: Path, folders: Iterable[str | Path]) -> None:
    real = key.resolve()
    for folder in folders:
        if real.is_relative_to(Path(folder).resolve()):
            raise ConfigError(
                f"the key {key} lies in the data folder {folder}: whoever gets the data would get the names; "
                "keep it elsewhere"
            )


def _digest(message: str, key: bytes) -> bytes:
    # Half of a surrogate pair is legal in JSON, and an id may hold one.
    return hmac.digest(key, message.encode("utf-8", "surrogatepass"), hashlib.sha256)
