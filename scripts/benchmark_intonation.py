"""Question or not, by the voice alone: python scripts/benchmark_intonation.py MANIFEST --model CHECKPOINT.

MANIFEST holds short sentences said with different tunes (`asr import bestiary_intonation`): the words carry no cue.
With each speaker, and then each sentence, held out in turn: prosody alone (logistic regression on the features of
`asr.prosody`), the intonation head on the frozen encoder, both (the mean of their log-odds), and the model's own "?".
Prints AUC and F1 with 95 % intervals over speakers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track as progress
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from asr import Fragment, Transcriber, Transcript, read_manifest
from asr.audio import SAMPLE_RATE, load_audio
from asr.metrics import statistic_estimate
from asr.metrics.labels import area_under_curve, f1_of
from asr.model.checkpoint import load_checkpoint
from asr.model.features import count_states
from asr.model.heads import Head, HeadSpec
from asr.model.network import DialectWhisper
from asr.prosody import features, prosody_of, track

Floats = npt.NDArray[np.float64]

BATCH = 32
RESAMPLES = 1000
# A tune that annotators could not name is one more that is no question.
OTHER = "other"


def label_of(fragment: Fragment) -> str | None:
    """The tune as people heard it; None where nobody labelled it."""
    unmapped = fragment.custom.get("unmapped")
    return fragment.intonation or (OTHER if isinstance(unmapped, dict) and "intonation" in unmapped else None)


@torch.inference_mode()
def encoder_layers(model: DialectWhisper, clips: list[npt.NDArray[np.float32]]) -> tuple[list[Tensor], Tensor]:
    """All layers, K tensors [N, E, D] in half precision, and the frames of each clip [N]."""
    lengths = torch.tensor([len(clip) for clip in clips])
    frames = count_states(lengths)
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
            layers[number][part, : min(longest, layer.shape[1])] = layer[:, :longest].half()
    return layers, frames


def learn_head(
    layers: list[Tensor], frames: Tensor, targets: Tensor, rows: Tensor, spec: HeadSpec, epochs: int, seed: int
) -> Head:
    """A head that has learnt from some rows, as training does it: AdamW, warm-up and decay."""
    torch.manual_seed(seed)
    head = Head(spec, len(layers), layers[0].shape[-1]).train()
    matrices = [parameter for parameter in head.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in head.parameters() if parameter.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}])
    steps = epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    for _ in range(epochs):
        for part in rows[torch.randperm(len(rows))].split(BATCH):
            scores = head([layer[part] for layer in layers], frames[part], ["en"] * len(part), [None] * len(part))
            functional.cross_entropy(scores, targets[part]).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return head.eval()


def held_out(groups: list[str], answer: Callable[[Tensor, Tensor], Floats]) -> Floats:
    """The probability of a question for every fragment, by what was learnt without its group."""
    found = np.zeros(len(groups))
    names = np.array(groups)
    for name in progress(sorted(set(groups)), "held out", console=Console(stderr=True)):
        learnt, asked = (torch.from_numpy(np.flatnonzero(mask)) for mask in (names != name, names == name))
        found[asked.numpy()] = answer(learnt, asked)
    return found


def interval(speakers: list[str], statistic: Callable[[npt.NDArray[np.intp]], float | None]) -> str:
    """The statistic over all, and its 95 % interval over speakers."""
    found = statistic_estimate(statistic, speakers, resamples=RESAMPLES)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=1, help="heads whose probabilities are averaged")
    given = parser.parse_args()

    fragments = [fragment for fragment in read_manifest(given.manifest) if label_of(fragment)]
    clips = [load_audio(fragment.audio, fragment.start, fragment.duration) for fragment in fragments]
    seconds = sum(map(len, clips)) / SAMPLE_RATE
    labels = sorted({label_of(fragment) or "" for fragment in fragments})
    targets = torch.tensor([labels.index(label_of(fragment) or "") for fragment in fragments])
    question = labels.index("question")
    truth = (targets == question).numpy()
    speakers = [fragment.speaker or fragment.id for fragment in fragments]
    sentences = [fragment.text for fragment in fragments]
    print(
        f"{len(fragments)} fragments, {len(set(speakers))} speakers, {len(set(sentences))} sentences, labels {labels}"
    )

    loaded = load_checkpoint(given.model)
    spec = HeadSpec(tuple(labels))
    loaded.model.set_heads({"intonation": spec})
    layers, frames = encoder_layers(loaded.model.eval(), clips)
    began = time.perf_counter()
    voice = np.stack([features(prosody_of(track(clip))) for clip in clips])
    print(f"prosody: {1000 * (time.perf_counter() - began) / seconds:.1f} ms per second of audio")

    def by_prosody(learnt: Tensor, asked: Tensor) -> Floats:
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(voice[learnt], truth[learnt])
        return np.asarray(model.predict_proba(voice[asked])[:, 1])

    def by_encoder(learnt: Tensor, asked: Tensor) -> Floats:
        chances = []
        for seed in range(given.seeds):
            head = learn_head(layers, frames, targets, learnt, spec, given.epochs, seed)
            with torch.inference_mode():
                scores = head(
                    [layer[asked] for layer in layers], frames[asked], ["en"] * len(asked), [None] * len(asked)
                )
                chances.append(head.probabilities(scores)[:, question].double().numpy())
        return np.asarray(np.mean(chances, axis=0))

    # Heads told of nothing but text: the model's own question mark.
    loaded.model.heads.clear()
    heard = Transcriber(loaded).transcribe_many(fragments)
    marks = np.array([isinstance(item, Transcript) and item.text.rstrip().endswith("?") for item in heard])

    print(f"{'held out':10} {'by':10} {'AUC':24} F1")
    for name, groups in (("speaker", speakers), ("sentence", sentences)):
        prosody, encoder = held_out(groups, by_prosody), held_out(groups, by_encoder)
        both = (logit(prosody.clip(1e-6, 1 - 1e-6)) + logit(encoder.clip(1e-6, 1 - 1e-6))) / 2
        for how, scores, yes in (
            ("prosody", prosody, prosody > 0.5),
            ("encoder", encoder, encoder > 0.5),
            ("both", both, both > 0),
        ):
            auc = interval(speakers, lambda rows, scores=scores: area_under_curve(truth[rows], scores[rows]))
            f1 = interval(speakers, lambda rows, yes=yes: f1_of(truth[rows], yes[rows]))
            print(f"{name:10} {how:10} {auc:24} {f1}")
    f1 = interval(speakers, lambda rows: f1_of(truth[rows], marks[rows]))
    print(f"{'-':10} {'own ?':10} {'-':24} {f1}, a false one on {100 * marks[~truth].mean():.1f} % of the others")


if __name__ == "__main__":
    main()
