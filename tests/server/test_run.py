from __future__ import annotations

import socket
from pathlib import Path

import pytest

from asr.errors import ConfigError
from asr.server.run import is_this_machine, listen, read_key

KEY = "0123456789abcdef"


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASR_API_KEY", raising=False)
    assert read_key(None) is None
    monkeypatch.setenv("ASR_API_KEY", f"{KEY}1")
    assert read_key(None) == f"{KEY}1"
    (tmp_path / "key").write_text(f"{KEY}2\n")
    assert read_key(tmp_path / "key") == f"{KEY}2"


@pytest.mark.parametrize(
    "content", [b"", b"short", b"two words of length", "clé de seize lettres".encode(), b"\xff" * 20]
)
def test_what_is_no_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read_key(tmp_path / "key")
    assert "short" not in str(refused.value)


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_key(tmp_path / "none")


def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="cannot be listened on"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigError, match="cannot be listened on"):
        listen("no such host", 0)


@pytest.mark.parametrize(
    ("host", "own"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)]
)
def test_who_reaches_it(host: str, own: bool) -> None:
    assert is_this_machine(host) == own
