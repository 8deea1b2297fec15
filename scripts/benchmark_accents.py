"""Which English, by the voice alone: python scripts/benchmark_accents.py ACCENTS [OTHER] --model CHECKPOINT.

ACCENTS (recipe `accents_alphanumeric`) holds three Englishes out of one corpus. With a fifth of its speakers held
out in turn: the dialect head on the frozen encoder, and logistic regression on the mean of one layer. Prints the macro
F1 with its 95 % interval over speakers, the recall of each, the confusion and the expected calibration error; of the
head this again with the temperature that the other fifths' held-out answers ask for (`asr calibrate`).

OTHER (recipe `speechocean762`) holds one of the three, out of other rooms. Prints what heads that learnt from
ACCENTS hear in it; and how well ACCENTS is heard by heads that learnt that one English from OTHER, alone or beside
ACCENTS, without an adversary and with one: a head that learns the room hears nobody of it in ACCENTS.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from asr import Fragment, read_manifest
from asr.audio import load_audio
from asr.metrics import Estimate, gap_estimate, macro_f1, statistic_estimate
from asr.metrics.calibration import calibration_error, fit_temperature
from asr.model.checkpoint import load_checkpoint
from asr.model.features import count_states
from asr.model.heads import Head, HeadSpec
from asr.model.network import DialectWhisper
from asr.training.adversary import PACE, Adversary, strength_at
from asr.training.heads import label_weights
from asr.training.start import begin

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float32]

LABELS = ("en-CN", "en-IN", "en-US")
# The one that both corpora have.
SHARED = "en-CN"
BATCH, FOLDS, RESAMPLES = 16, 5, 1000
RATE = 1e-3
# Of 50 encoder frames a second, every eighth is heard: those between say little that is new, and cost as much.
STRIDE = 8
BOTTLENECK = 64
LONGEST = 30.0
LAYERS = (3, 4)


@dataclass(frozen=True)
class Heard:
    """Fragments as the frozen encoder hears them.

    Attributes:
        layers: K tensors, half-precision float [N, E, D].
        frames: Long [N].
        targets: Long [N], the numbers of `LABELS`.
        corpora: Long [N], 0 for ACCENTS and 1 for OTHER.
        speakers: N.
    """

    layers: list[Tensor]
    frames: Tensor
    targets: Tensor
    corpora: Tensor
    speakers: npt.NDArray[np.str_]


def usable(manifest: Path, per_speaker: int | None = None) -> list[Fragment]:
    """The fragments whose dialect is among the three, none too long, so many of a speaker at most."""
    counts: Counter[str] = Counter()
    found = []
    for fragment in read_manifest(manifest):
        speaker = fragment.speaker or fragment.id
        long = fragment.duration is None or fragment.duration > LONGEST
        if fragment.dialect in LABELS and not long and (per_speaker is None or counts[speaker] < per_speaker):
            counts[speaker] += 1
            found.append(fragment)
    return found


@torch.inference_mode()
def encoder_layers(model: DialectWhisper, clips: list[Samples]) -> tuple[list[Tensor], Tensor]:
    """All layers at every eighth frame, K tensors [N, E, D] in half precision, and so many frames of each clip [N]."""
    lengths = torch.tensor([len(clip) for clip in clips])
    frames = (count_states(lengths) + STRIDE - 1) // STRIDE
    longest = int(frames.max())
    layers: list[Tensor] = []
    for first in range(0, len(clips), BATCH):
        part = slice(first, first + BATCH)
        audio = torch.zeros(len(lengths[part]), int(lengths[part].max()))
        for row, clip in zip(audio.numpy(), clips[part], strict=True):
            row[: len(clip)] = clip
        encoded = model.encode(*model.features(audio, model.window_samples(lengths[part])))
        for number, layer in enumerate(encoded.layers):
            if first == 0:
                layers.append(torch.zeros(len(clips), longest, layer.shape[-1], dtype=torch.float16))
            heard = layer[:, ::STRIDE][:, :longest]
            layers[number][part, : heard.shape[1]] = heard.half()
    return layers, frames


def hear(corpora: Sequence[list[Fragment]], model: str) -> Heard:
    """Run the encoder over all fragments, each in a window of its own length."""
    loaded = load_checkpoint(model).model
    loaded.window = "tight"
    loaded.set_heads({"dialect": HeadSpec(LABELS)})  # without a head, no layers are kept
    pairs = [(fragment, number) for number, fragments in enumerate(corpora) for fragment in fragments]
    # Those of like length side by side; which comes first changes nothing below.
    pairs.sort(key=lambda pair: pair[0].duration or 0.0)
    fragments = [fragment for fragment, _ in pairs]
    layers, frames = encoder_layers(
        loaded, [load_audio(fragment.audio, fragment.start, fragment.duration) for fragment in fragments]
    )
    return Heard(
        layers,
        frames,
        torch.tensor([LABELS.index(fragment.dialect or "") for fragment in fragments]),
        torch.tensor([number for _, number in pairs]),
        np.array([fragment.speaker or fragment.id for fragment in fragments]),
    )


def batch_of(heard: Heard, rows: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Layers of some fragments, as long as the longest of these, their frames, and no pitch: dialects do without."""
    longest = int(heard.frames[rows].max())
    parts = (layer[rows, :longest].float() for layer in heard.layers)
    layers = [functional.layer_norm(part, part.shape[-1:]) for part in parts]
    return layers, heard.frames[rows], torch.empty(len(rows), 0)


def learn_head(heard: Heard, rows: Tensor, epochs: int, adversary: float) -> Head:
    """A dialect head that has learnt from some fragments as training does it."""
    torch.manual_seed(0)
    spec = HeadSpec(LABELS, bottleneck=BOTTLENECK if adversary else 0)
    head = Head(spec, len(heard.layers), heard.layers[0].shape[-1]).eval()
    learnt = heard.targets[rows].numpy()
    counts = np.bincount(learnt, minlength=len(LABELS))
    weights = label_weights("dialect", counts.clip(1).tolist())
    with torch.inference_mode():
        pooled = torch.cat([head.pooled(*batch_of(heard, part)) for part in rows.split(BATCH)]).numpy()
    begin(head, pooled, learnt, ["en"] * len(rows), heard.speakers[rows.numpy()].tolist(), weights)
    return against(head, heard, rows, epochs, adversary, torch.tensor(weights)) if adversary else head


def against(head: Head, heard: Heard, rows: Tensor, epochs: int, strength: float, weights: Tensor) -> Head:
    """Train a head against an adversary, with warm-up and decay."""
    head.train()
    adversary = Adversary(("ACCENTS", "OTHER"), len(LABELS), BOTTLENECK)
    groups = [
        {"params": [one for one in module.parameters() if (one.ndim > 1) is matrix], "lr": rate, "weight_decay": decay}
        for module, rate in ((head, RATE), (adversary, PACE * RATE))
        for matrix, decay in ((True, 0.1), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups)
    steps = epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [group["lr"] for group in groups], total_steps=steps)
    step = 0
    for _ in range(epochs):
        # Fragments of like length side by side, as in training; which of them, and in which order, is drawn.
        drawn = heard.frames[rows] * (0.8 + 0.4 * torch.rand(len(rows)))
        parts = rows[drawn.argsort()].split(BATCH)
        for number in torch.randperm(len(parts)).tolist():
            part = parts[number]
            targets = heard.targets[part]
            represented = head.represented(*batch_of(heard, part))
            scores = head.scores(represented, ["en"] * len(part), [None] * len(part))
            loss = functional.cross_entropy(scores, targets, weights, reduction="sum") / len(part)
            corpora = adversary(represented, targets, strength * strength_at(step / steps))
            (loss + functional.cross_entropy(corpora, heard.corpora[part])).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            step += 1
    return head.eval()


@torch.inference_mode()
def by_head(head: Head, heard: Heard, rows: Tensor) -> Floats:
    """Probabilities of the labels, [rows, C]."""
    parts = []
    for part in rows.split(BATCH):
        represented = head.represented(*batch_of(heard, part))
        scores = head.scores(represented, ["en"] * len(part), [None] * len(part))
        parts.append(head.probabilities(scores).double().numpy())
    return np.concatenate(parts)


def by_regression(heard: Heard, layer: int, rows: Tensor) -> tuple[Floats, Floats]:
    """What logistic regression takes, [rows, D]: the mean of a layer; and the targets."""
    means = [heard.layers[layer][row, : heard.frames[row]].float().mean(0).double() for row in rows.tolist()]
    return torch.stack(means).numpy(), heard.targets[rows].numpy()


def folds(heard: Heard, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What is learnt from and what is held out, five times: no speaker on both sides."""
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    pairs = splitter.split(rows, heard.targets[rows], heard.speakers[rows.numpy()])
    return [(rows[torch.from_numpy(learnt)], rows[torch.from_numpy(asked)]) for learnt, asked in pairs]


def interval(
    speakers: npt.NDArray[np.str_],
    statistic: Callable[[npt.NDArray[np.intp]], float | None],
    estimate: Callable[..., Estimate] = statistic_estimate,
) -> str:
    """The statistic over all, and its 95 % interval over speakers."""
    found = estimate(statistic, list(speakers), resamples=RESAMPLES)
    return f"{found.value:.3f}" if found.low is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def show(name: str, heard: Heard, chances: Floats) -> None:
    """Print what was heard in ACCENTS, and of OTHER how much."""
    accents, truth, said = (heard.corpora == 0).numpy(), heard.targets.numpy(), chances.argmax(-1)
    own, answers = truth[accents], said[accents]
    f1 = interval(heard.speakers[accents], lambda rows: macro_f1(own[rows].tolist(), answers[rows].tolist()))
    confusion = confusion_matrix(own, answers)
    recalls = "  ".join(f"{share:.2f}" for share in confusion.diagonal() / confusion.sum(1))
    sure, right = chances[accents].max(-1), own == answers
    error = interval(heard.speakers[accents], lambda rows: calibration_error(sure[rows], right[rows]), gap_estimate)
    there = ""
    if not accents.all():
        there_right = (said == truth)[~accents]
        there = interval(heard.speakers[~accents], lambda rows: float(there_right[rows].mean()))
    print(f"{name:40} {f1:22} {recalls}   {error:22} {there:22} {confusion.tolist()}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("accents", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--model", default="base")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--adversary", type=float, default=1.0, help="its weight where there is one")
    parser.add_argument("--per-speaker", type=int, default=3, help="fragments of a speaker of OTHER, at most")
    given = parser.parse_args()

    corpora = [usable(given.accents)] + ([usable(given.other, given.per_speaker)] if given.other else [])
    heard = hear(corpora, given.model)
    for name, fragments in zip(("ACCENTS", "OTHER"), corpora, strict=False):
        counts = Counter(fragment.dialect for fragment in fragments)
        speakers = {fragment.speaker for fragment in fragments}
        print(f"{name}: {len(fragments)} fragments, {len(speakers)} speakers, {dict(sorted(counts.items()))}")
    everything = torch.arange(len(heard.targets))
    accents, other = everything[heard.corpora == 0], everything[heard.corpora == 1]
    own = folds(heard, accents)
    # OTHER has one label, so that only its speakers are spread; without it there is nothing to spread.
    theirs = folds(heard, other) if len(other) else [(other, other)] * FOLDS
    print(f"{'learnt by, from':40} {'macro F1':22} {'  '.join(LABELS)}  {'ECE':22} {'recall on OTHER':22} confusion")

    def measure(name: str, answer: Callable[[Tensor, Tensor], Floats], own_cn: bool, beside: bool) -> Floats:
        """Hold speakers of both corpora out in turn; OTHER is learnt from only where it is to stand beside ACCENTS."""
        chances = np.zeros((len(everything), len(LABELS)))
        for (learnt, asked), (more, also) in zip(own, theirs, strict=True):
            if not own_cn:
                learnt = learnt[heard.targets[learnt] != LABELS.index(SHARED)]
            learnt, asked = torch.cat([learnt, more]) if beside else learnt, torch.cat([asked, also])
            chances[asked] = answer(learnt, asked)
        show(name, heard, chances)
        return chances

    for layer in LAYERS:

        def by_layer(learnt: Tensor, asked: Tensor, layer: int = layer) -> Floats:
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))
            model.fit(*by_regression(heard, layer, learnt))
            return np.asarray(model.predict_proba(by_regression(heard, layer, asked)[0]))

        measure(f"regression on layer {layer}, ACCENTS", by_layer, True, False)

    def heads(adversary: float) -> Callable[[Tensor, Tensor], Floats]:
        return lambda learnt, asked: by_head(learn_head(heard, learnt, given.epochs, adversary), heard, asked)

    scores = np.log(measure("head, ACCENTS", heads(0.0), True, False).clip(1e-9))
    cooled, targets = scores.copy(), heard.targets.numpy()
    for (others, asked), (_, also) in zip(own, theirs, strict=True):
        temperature = fit_temperature(scores[others], targets[others])
        asked = torch.cat([asked, also])
        cooled[asked] = log_softmax(scores[asked] / temperature, axis=1)
    show("the same, with a temperature", heard, np.exp(cooled))
    for own_cn, name in ((False, f"ACCENTS without {SHARED}, OTHER"), (True, "ACCENTS, OTHER")) if given.other else ():
        for adversary in (0.0, given.adversary):
            measure(f"{'adversary' if adversary else 'head'}, {name}", heads(adversary), own_cn, True)


if __name__ == "__main__":
    main()
