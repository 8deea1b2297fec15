import hashlib
import logging
import re
import stat
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ConfigError
from asr.privacy.pseudonyms import Kind, fingerprint, new_key, pseudonym, read_key

KINDS = get_args(Kind)
keys = st.binary(min_size=32, max_size=32)
# Any string that JSON can carry, halves of surrogate pairs included.
values = st.text(st.characters(exclude_categories=()), max_size=40)


def hmac_by_hand(key: bytes, message: bytes) -> bytes:
    """RFC 2104, section 2, for a key that is shorter than a block."""
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + message).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in block) + inner).digest()


@given(st.sampled_from(KINDS), values, keys)
def test_a_pseudonym_is_the_hmac_of_its_kind_and_value(kind: Kind, value: str, key: bytes) -> None:
    name = pseudonym(kind, value, key)
    assert re.fullmatch(rf"{kind}-[a-z2-7]{{20}}", name)
    digest = hmac_by_hand(key, kind.encode() + b"\0" + value.encode("utf-8", "surrogatepass"))
    bits = "".join(f"{'abcdefghijklmnopqrstuvwxyz234567'.index(letter):05b}" for letter in name.partition("-")[2])
    assert bits == "".join(f"{byte:08b}" for byte in digest)[:100]


@given(st.lists(values, min_size=1, max_size=30, unique=True), keys, keys)
def test_two_keys_share_no_id_and_one_key_mixes_none_up(ids: list[str], first: bytes, second: bytes) -> None:
    under_first = {pseudonym(kind, value, first) for kind in KINDS for value in ids}
    assert len(under_first) == len(KINDS) * len(ids)
    # The code alone, without the kind in front, must differ between kinds too.
    assert len({name.partition("-")[2] for name in under_first}) == len(under_first)
    if first != second:
        assert under_first.isdisjoint(pseudonym(kind, value, second) for kind in KINDS for value in ids)
        assert fingerprint(first) != fingerprint(second)


def test_a_key_is_written_once_for_its_owner_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys" / "spring.key"
    key = new_key(path)
    assert len(key) == 32 and key != new_key(tmp_path / "other.key")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with caplog.at_level(logging.WARNING):
        assert read_key(path) == key
    assert not caplog.records
    with pytest.raises(ConfigError, match="exists already"):
        new_key(path)
    assert read_key(path) == key


def test_a_key_that_others_can_read_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = new_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    assert read_key(tmp_path / "key") == key
    assert "mode 0640" in caplog.text and "chmod 600" in caplog.text
    assert key.hex() not in caplog.text


@pytest.mark.parametrize(
    "content", [b"", b"ab" * 31, b"ab" * 33, b"zz" * 32, b"ab" * 32 + b"\nab", bytes(range(256)) * 20]
)
def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigError, match="holds no key: a key is 64 hexadecimal digits") as caught:
        read_key(tmp_path / "key")
    assert "abab" not in str(caught.value)


def test_a_missing_key_and_a_folder_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no key"):
        read_key(tmp_path / "key")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_key(tmp_path)


def test_a_key_does_not_lie_in_the_data(tmp_path: Path) -> None:
    new_key(tmp_path / "data" / "deep" / "key")
    new_key(tmp_path / "database" / "key")
    (tmp_path / "link").symlink_to(tmp_path / "data" / "deep" / "key")
    for path in ("data/deep/key", "link", "database/../data/deep/key"):
        with pytest.raises(ConfigError, match="lies in the data folder"):
            read_key(tmp_path / path, outside=[tmp_path / "other", tmp_path / "data"])
    with pytest.raises(ConfigError, match="lies in the data folder"):
        new_key(tmp_path / "data" / "another", outside=[tmp_path / "data"])
    assert not (tmp_path / "data" / "another").exists()
    read_key(tmp_path / "database" / "key", outside=[tmp_path / "data"])
