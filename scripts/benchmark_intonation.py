"""Question or not, by the voice alone: python scripts/benchmark_intonation.py MANIFEST --model CHECKPOINT.

MANIFEST holds short sentences said with different tunes (recipe `bestiary_intonation`): the words carry no cue.
With each speaker, and then each sentence, held out in turn (of many, several at once): prosody alone (logistic
regression on the features of `asr.prosody`), the intonation head on the frozen encoder without the pitch contour and
with it, as training lets it begin (`asr.training.start`), the model's own "?", and both fused as `asr calibrate` learns
it, from the answers on the other speakers. Prints AUC, F1 and the share of false "?" with 95 % intervals over speakers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track as progress
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from asr import Fragment, Transcriber, Transcript, read_manifest
from asr.audio import load_audio
from asr.data.batch import contours_of
from asr.evaluation.calibrate import learn_fusion
from asr.inference.punctuation import asks, question_log_odds
from asr.metrics import statistic_estimate
from asr.metrics.labels import area_under_curve, f1_of
from asr.model.checkpoint import load_checkpoint
from asr.model.features import count_states
from asr.model.heads import Head, HeadSpec
from asr.model.network import DialectWhisper
from asr.prosody import CONTOUR, features, prosody_of, track
from asr.text import get_normalizer
from asr.training.heads import label_weights
from asr.training.start import begin

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float32]

BATCH = 32
RESAMPLES = 1000
# Of more groups than these, several are held out together.
FOLDS = 14
# A tune that annotators could not name is one more that is no question.
OTHER = "other"


def label_of(fragment: Fragment) -> str | None:
    """The tune as people heard it; None where nobody labelled it."""
    unmapped = fragment.custom.get("unmapped")
    return fragment.intonation or (OTHER if isinstance(unmapped, dict) and "intonation" in unmapped else None)


@torch.inference_mode()
def heard_by(
    head: Head, model: DialectWhisper, clips: Sequence[Samples], contours: Tensor, texts: Sequence[str], language: str
) -> tuple[Samples, Floats]:
    """What a head pools of every clip before it has learnt anything, [N, R]; the decoder's log-odds of "?", [N]."""
    lengths = torch.tensor([len(clip) for clip in clips])
    order = lengths.argsort()
    pooled: list[Tensor] = [torch.empty(0)] * len(clips)
    odds = np.zeros(len(clips))
    parts = order.split(BATCH)
    for part in progress(parts, "hearing", console=Console(stderr=True)):
        audio = torch.zeros(len(part), int(lengths[part].max()))
        for row, number in zip(audio.numpy(), part.tolist(), strict=True):
            row[: len(clips[number])] = clips[number]
        encoded = model.encode(*model.features(audio, model.window_samples(lengths[part])))
        found = head.pooled(encoded.normal, count_states(lengths[part]), contours[part])
        for number, row in zip(part.tolist(), found, strict=True):
            pooled[number] = row
        odds[part.numpy()] = question_log_odds(model, encoded, [texts[number] for number in part.tolist()], language)
    return torch.stack(pooled).numpy(), odds


def held_out(groups: Sequence[str], answer: Callable[[Tensor, Tensor], Floats]) -> Floats:
    """The probability of a question for every fragment, by what was learnt without its group; see `FOLDS`."""
    found = np.zeros(len(groups))
    splitter = GroupKFold(min(FOLDS, len(set(groups))))
    parts = list(splitter.split(found, groups=groups))
    for learnt, asked in progress(parts, "held out", console=Console(stderr=True)):
        found[asked] = answer(torch.from_numpy(learnt), torch.from_numpy(asked))
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
    given = parser.parse_args()

    fragments = [fragment for fragment in read_manifest(given.manifest) if label_of(fragment)]
    clips = [load_audio(fragment.audio, fragment.start, fragment.duration) for fragment in fragments]
    labels = sorted({label_of(fragment) or "" for fragment in fragments})
    targets = np.array([labels.index(label_of(fragment) or "") for fragment in fragments])
    question = labels.index("question")
    truth = targets == question
    speakers = [fragment.speaker or fragment.id for fragment in fragments]
    # Without its final mark, which tells what the words do not.
    sentences = [get_normalizer(fragment.language, fragment.dialect)(fragment.text) for fragment in fragments]
    languages = [fragment.language for fragment in fragments]
    print(
        f"{len(fragments)} fragments, {len(set(speakers))} speakers, {len(set(sentences))} sentences, labels {labels}"
    )

    loaded = load_checkpoint(given.model)
    model = loaded.model
    # Heads told of nothing but text: the model's own question mark.
    model.heads.clear()
    heard = Transcriber(loaded).transcribe_many(fragments)
    texts = [item.text if isinstance(item, Transcript) else "" for item in heard]
    marks = np.array([asks(text, language) for text, language in zip(texts, languages, strict=True)])
    voice = np.stack([features(prosody_of(track(clip))) for clip in clips])
    contours = contours_of(clips)
    model.set_heads({"intonation": HeadSpec(tuple(labels), contour=CONTOUR)})
    pooled, odds = heard_by(model.head("intonation").eval(), model, clips, contours, texts, languages[0])

    def by_prosody(learnt: Tensor, asked: Tensor) -> Floats:
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(voice[learnt], truth[learnt])
        return np.asarray(model.predict_proba(voice[asked])[:, 1])

    def by_head(contour: int) -> Callable[[Tensor, Tensor], Floats]:
        """With the end and its contour, which come last in what is pooled, or without."""
        width = model.whisper.dims.n_audio_state
        known = pooled if contour else pooled[:, : 2 * width]

        @torch.inference_mode()
        def answer(learnt: Tensor, asked: Tensor) -> Floats:
            head = Head(HeadSpec(tuple(labels), contour=contour), len(model.whisper.encoder.blocks) + 1, width).eval()
            rows, own = learnt.tolist(), targets[learnt]
            weights = label_weights("intonation", np.bincount(own, minlength=len(labels)).clip(1).tolist())
            voices, spoken = [speakers[row] for row in rows], [languages[row] for row in rows]
            begin(head, known[learnt], own, spoken, voices, weights)
            standard = (torch.from_numpy(known[asked]) - head.center) * head.scale
            scores = head.scores(standard, [languages[row] for row in asked.tolist()], [None] * len(asked))
            return np.asarray(head.probabilities(scores)[:, question].double())

        return answer

    def fused(chances: Floats) -> npt.NDArray[np.bool_]:
        """Whether each fragment gets a question mark, by what its speaker's answers have not taught."""
        asked = np.zeros(len(chances), bool)
        for name in set(speakers):
            own = np.array(speakers) == name
            voices = [speakers[row] for row in np.flatnonzero(~own)]
            fusion = learn_fusion(odds[~own].tolist(), chances[~own].tolist(), truth[~own], marks[~own], voices)
            pairs = zip(odds[own], chances[own], strict=True)
            asked[own] = [fusion.p_question(words, voice) >= fusion.threshold for words, voice in pairs]
        return asked

    def show(name: str, how: str, yes: npt.NDArray[np.bool_], chances: Floats | None = None) -> None:
        auc = "-"
        if chances is not None:
            auc = interval(speakers, lambda rows: area_under_curve(truth[rows], chances[rows]))
        f1 = interval(speakers, lambda rows: f1_of(truth[rows], yes[rows]))
        false = interval(speakers, lambda rows: float(yes[rows][~truth[rows]].mean()))
        print(f"{name:10} {how:18} {auc:24} {f1:24} {false}", flush=True)

    print(f"{'held out':10} {'by':18} {'AUC':24} {'F1':24} false on others")
    for name, groups in (("speaker", speakers), ("sentence", sentences)):
        for how, learn in (("prosody", by_prosody), ("encoder", by_head(0)), ("encoder, contour", by_head(CONTOUR))):
            chances = held_out(groups, learn)
            show(name, how, chances > 0.5, chances)
        if name == "speaker":
            show(name, "contour and words", fused(chances))
    show("-", "own ?", marks)


if __name__ == "__main__":
    main()
