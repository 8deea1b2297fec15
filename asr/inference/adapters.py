"""Which adapters each fragment is heard with: the one of its dialect, or of the dialect that a head hears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from asr.corpus.dialects import goes_with, tag_fault, wider_tag
from asr.errors import ConfigError
from asr.inference.heads import Answer
from asr.model.adapter import SUFFIX, read_adapter
from asr.model.mixture import LowRank, Mixture, Stacked, stacked
from asr.model.network import DialectWhisper
from asr.weights.state import weights_sha256

ROUTINGS = ("hard", "soft", "given")
# Smaller shares of a mixture change nothing that can be heard, and cost as much as large ones.
_LEAST = 0.02

Adapters = Mapping[str, str | Path] | str | Path
"""The file of each dialect's adapter, or the folder of them, each named by its dialect: ``fr-CA.safetensors``."""


class Router:
    """The adapters of a model, in memory side by side, and who is heard with which.

    Args:
        adapters: Their files.
        model: The base, which stays as it is.
        languages: Whisper's codes of the languages that the model knows.
        routing: What to do where no dialect is given: ``hard`` takes the adapter of the dialect that the model's head
            hears and is sure of; ``soft`` mixes all by the head's probabilities; ``given`` takes none.

    Attributes:
        dialects: Whose adapters there are.

    Raises:
        CheckpointError: A file is missing, damaged, no adapter, or one of another base.
        ConfigError: There is no such routing, no adapter, or no such dialect.
    """

    def __init__(
        self, adapters: Adapters, model: DialectWhisper, languages: Sequence[str], routing: str = "hard"
    ) -> None:
        if routing not in ROUTINGS:
            raise ConfigError(f"routing {routing!r} is not known; choose {', '.join(ROUTINGS)}")
        self.routing = routing
        files = _files(adapters)
        for dialect, path in files.items():
            if fault := tag_fault(dialect):
                raise ConfigError(
                    f"an adapter is named by its dialect, such as fr-CA{SUFFIX}, and {dialect!r} ({path}) is no BCP 47 "
                    f"tag: {fault}"
                )
            if not any(goes_with(dialect, language) for language in languages):
                raise ConfigError(
                    f"the adapter {path} is for {dialect}, which goes with no language that the model "
                    "knows; take it out of the folder"
                )
        base = weights_sha256(model.whisper)
        self._device = model.device
        self._updates: list[Mapping[nn.Module, LowRank]] = []
        self._hearing: set[str] = set()
        for dialect, path in files.items():
            adapter = read_adapter(path, model, base)
            self._updates.append(adapter.by_layer(model))
            if adapter.changes_encoder:
                self._hearing.add(dialect)
        self.dialects = tuple(files)
        # BCP 47 tags are the same in any case.
        self._names = {dialect.lower(): dialect for dialect in files}
        self._last: tuple[tuple[str, ...], dict[nn.Module, Stacked]] = ((), {})

    def choose(self, given: str | None, heard: Answer | None) -> dict[str, float]:
        """How much of which adapter a fragment takes; nothing where none is for it.

        A dialect that has no adapter takes that of a wider one: ``en-GB-x-cumbria`` that of ``en-GB``.

        Args:
            given: Its dialect, where known; what a head hears does not count then.
            heard: What the dialect head says of it.
        """
        if given is not None:
            found = self._serving(given)
            return {} if found is None else {found: 1.0}
        if heard is None or self.routing == "given":
            return {}
        # Where the head is not sure, it says "unknown", for which there is no adapter.
        scores = {heard.label: 1.0} if self.routing == "hard" else heard.scores
        shares: dict[str, float] = {}
        for label, score in scores.items():
            if (found := self._serving(label)) is not None:
                shares[found] = shares.get(found, 0.0) + score
        return {dialect: share for dialect, share in shares.items() if share >= _LEAST}

    def mixture(self, chosen: Sequence[Mapping[str, float]]) -> Mixture | None:
        """What a batch is heard with; None for the base as it is.

        Args:
            chosen: Of `choose`, for each fragment.
        """
        used = tuple(dialect for dialect in self.dialects if any(dialect in shares for shares in chosen))
        if not used:
            return None
        last = self._last
        if used != last[0]:
            # Batches of one dialect come one after the other more often than not.
            last = used, stacked([self._updates[self.dialects.index(dialect)] for dialect in used])
            self._last = last
        weights = [[shares.get(dialect, 0.0) for dialect in used] for shares in chosen]
        return Mixture(last[1], torch.tensor(weights, device=self._device))

    def heard_anew(self, chosen: Sequence[Mapping[str, float]]) -> list[int]:
        """The fragments, by place, of which an adapter changes what is heard, not only what is written of it.

        Args:
            chosen: Of `choose`, for each fragment.
        """
        return [row for row, shares in enumerate(chosen) if not self._hearing.isdisjoint(shares)]

    def _serving(self, dialect: str) -> str | None:
        tag: str | None = dialect.lower()
        while tag is not None and tag not in self._names:
            tag = wider_tag(tag)
        return None if tag is None else self._names[tag]


def _files(adapters: Adapters) -> dict[str, Path]:
    """The file of each dialect."""
    if isinstance(adapters, Mapping):
        files = {dialect: Path(path).expanduser() for dialect, path in adapters.items()}
        if not files:
            raise ConfigError("there is no adapter; give one for a dialect at least, or leave adapters out")
        return files
    folder = Path(adapters).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder of adapters; give one that holds files such as fr-CA{SUFFIX}")
    files = {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}")) if not path.name.startswith(".")}
    if not files:
        raise ConfigError(f"there is no adapter in {folder}; they are files such as fr-CA{SUFFIX} (asr adapter)")
    return files
