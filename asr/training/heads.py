"""What heads can learn from some manifests, and how their loss is counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from asr.data.stream import FOR_TRAINING
from asr.errors import ConfigError
from asr.model.heads import HEAD_NAMES, HeadName, HeadSpec
from asr.privacy.consent import ConsentCheck, read_consented
from asr.prosody import CONTOUR

log = logging.getLogger(__name__)

_Share = Annotated[float, Field(ge=0)]
# Of the dialect head's bottleneck, which it has when an adversary works against it.
_BOTTLENECK = 64


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """What is learnt beside the text.

    Attributes:
        dialect: Weight of the dialect head's loss beside that of the text; 0 trains no such head.
        intonation: Of the sentence type's.
        tune: Of the tune's.
        adversary: Of what tells corpora apart, against the dialect head; 0 lets that learn rooms and microphones.
        lr: Highest learning rate of the heads, which begin near where they end (`asr.training.start`).
        weight_decay: Of their matrices: there are few labelled voices, and many ways to tell them apart.
        least: Fragments that a label must have to be learnt.
    """

    dialect: _Share = 0.0
    intonation: _Share = 0.0
    tune: _Share = 0.0
    adversary: _Share = 0.0
    lr: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: _Share = 0.1
    least: Annotated[int, Field(ge=1)] = 5

    @property
    def weights(self) -> dict[HeadName, float]:
        """The weight of each head that is trained."""
        given = {name: float(getattr(self, name)) for name in HEAD_NAMES}
        return {name: weight for name, weight in given.items() if weight}


@dataclass(frozen=True, slots=True)
class HeadLabels:
    """What one head learns.

    Attributes:
        spec: What it answers.
        weights: Of each label in the loss, see `label_weights`.
        fragments: That have one of the labels.
    """

    spec: HeadSpec
    weights: tuple[float, ...]
    fragments: int


def head_labels(
    manifests: Sequence[str | Path], options: HeadOptions, consent: ConsentCheck | None = FOR_TRAINING
) -> dict[HeadName, HeadLabels]:
    """Find the labels of the heads that are trained, in one pass over the manifests.

    A dialect belongs to the language that it is annotated under most often. The intonation of a fragment whose dialect
    is known is learnt with a bias of that dialect. A head answers in the languages in which as many fragments have a
    label for it as a label needs. Fragments without consent do not count.

    Raises:
        ConfigError: A head has fewer than two labels to tell apart.
    """
    counts: dict[HeadName, Counter[str]] = {name: Counter() for name in options.weights}
    languages: Counter[tuple[str, str]] = Counter()
    dialects: dict[HeadName, set[str]] = {name: set() for name in options.weights}
    heard: dict[HeadName, Counter[str]] = {name: Counter() for name in options.weights}
    for manifest in manifests if counts else ():
        for item in read_consented(manifest, consent):
            for name, counter in counts.items():
                label = getattr(item, name)
                if label is not None:
                    counter[label] += 1
                    heard[name][item.language] += 1
                    if name != "dialect" and item.dialect is not None:
                        dialects[name].add(item.dialect)
            if item.dialect is not None:
                languages[item.dialect, item.language] += 1
    found = {}
    for name, counter in counts.items():
        kept = sorted(label for label, count in counter.items() if count >= options.least)
        if rare := sorted(counter.keys() - set(kept)):
            log.warning("heads.%s does not learn %s: fewer than %d fragments", name, ", ".join(rare), options.least)
        if len(kept) < 2:
            raise ConfigError(
                f"heads.{name} is asked for, but data.train holds {len(kept)} kinds of {name!r} with {options.least} "
                f"fragments or more, and two are needed; leave it at 0, or give manifests with more labels"
            )
        owners: tuple[str, ...] = ()
        bottleneck, contour = 0, CONTOUR
        if name == "dialect":
            contour = 0
            bottleneck = _BOTTLENECK if options.adversary else 0
            owners = tuple(
                max((count, language) for (label, language), count in languages.items() if label == dialect)[1]
                for dialect in kept
            )
        known = tuple(sorted(language for language, count in heard[name].items() if count >= options.least))
        biased = tuple(sorted(dialects[name]))
        spec = HeadSpec(tuple(kept), owners, biased, heard=known, bottleneck=bottleneck, contour=contour)
        numbers = [counter[label] for label in kept]
        found[name] = HeadLabels(spec, label_weights(name, numbers), sum(numbers))
    return found


def label_weights(name: HeadName, counts: Sequence[int]) -> tuple[float, ...]:
    """Weights of a head's labels in its loss, by how rare each is; 1 on average over the fragments.

    Of dialects a rare one counts as much as a frequent one: how many people recorded it says nothing of who will speak
    (scikit-learn's "balanced"). What is rare among sentence types and tunes is rare in speech, too; there the square
    root of that is taken, half way to no weights.

    Args:
        name: Of the head.
        counts: Fragments of each label, none of them 0.
    """
    power = -1.0 if name == "dialect" else -0.5
    rare = [count**power for count in counts]
    mean = sum(count * weight for count, weight in zip(counts, rare, strict=True)) / sum(counts)
    return tuple(weight / mean for weight in rare)
