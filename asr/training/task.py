"""The task that lightning runs: hear a batch, compare with its labels, learn; and count errors on the side.

Text and heads learn together: the loss is that of the text plus each head's, by its weight, plus that of the dialect
head's adversary, if it has one.

Shapes: B batch, S tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import lightning
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from asr.audio import SAMPLE_RATE
from asr.data.augment import Augment, change_speed
from asr.data.batch import Batch
from asr.data.labels import IGNORED
from asr.fragment import Fragment
from asr.inference.decoding import DecodeOptions, decode, sayable_tokens
from asr.metrics import macro_f1, nearest_errors
from asr.model.adapt import trainable_parameters
from asr.model.features import MAX_SAMPLES, count_states
from asr.model.heads import HeadName
from asr.model.network import DialectWhisper, Encoded
from asr.text import get_normalizer
from asr.training.adversary import PACE, Adversary, strength_at
from asr.training.heads import HeadOptions

# A dialect with fewer reference words than this does not choose a checkpoint.
_ENOUGH_WORDS = 100


@dataclass(slots=True)
class _Counts:
    """What one process counts in a validation.

    Attributes:
        loss: The text's loss summed over tokens, and the tokens.
        errors: Word errors and reference words, by dialect.
        heads_loss: The heads' loss summed over fragments, and the fragments.
        heard: What each head heard, and what it should have heard, as numbers of its labels.
    """

    loss: list[float] = field(default_factory=lambda: [0.0, 0.0])
    errors: dict[str, list[float]] = field(default_factory=dict)
    heads_loss: list[float] = field(default_factory=lambda: [0.0, 0.0])
    heard: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a head made of a batch.

    Attributes:
        represented: What its scores are made of, float [B, R].
        scores: Of its labels, float [B, C].
        targets: The labels that should have won, long [B].
    """

    represented: Tensor
    scores: Tensor
    targets: Tensor


@dataclass(frozen=True, slots=True)
class OptimOptions:
    """How weights are changed.

    Attributes:
        lr: Highest learning rate of AdamW.
        warmup_steps: Steps over which it rises to that.
        schedule: How it falls afterwards, to reach zero after the last step.
        weight_decay: Of matrices; biases and norms have none.
        clip_norm: Longest gradient; 0 does not clip.
        label_smoothing: Share of probability spread over the vocabulary, from 0 to less than 1.
    """

    lr: Annotated[float, Field(gt=0)] = 1e-5
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1


class TranscriptionTask(lightning.LightningModule):
    """Learns to write what is said.

    The validation loss and the WER of greedy decoding are logged as ``dev/…``: overall, per dialect, and of the worst
    dialect, by which a checkpoint is chosen.

    Args:
        model: The model; what of it learns is already set.
        optim: How weights are changed.
        augment: Changes training batches; None leaves them as they are.
        max_steps: Where the schedule ends.
        heads: How the model's heads are learnt.
        head_weights: Of each label of each head, by the head's name.
        corpora: What the dialect head's adversary tells apart, if there is one.
    """

    def __init__(
        self,
        model: DialectWhisper,
        optim: OptimOptions,
        augment: Augment | None,
        max_steps: int,
        heads: HeadOptions | None = None,
        head_weights: Mapping[HeadName, Sequence[float]] | None = None,
        corpora: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.optim = optim
        self.augment = augment
        self.max_steps = max_steps
        self.heads = heads or HeadOptions()
        self._label_weights = {name: torch.tensor(weights) for name, weights in (head_weights or {}).items()}
        self.adversary: Adversary | None = None
        if corpora:
            spec = model.head("dialect").spec
            self.adversary = Adversary(corpora, len(spec.labels), spec.bottleneck)
        # With all of Whisper frozen there is no text to learn, and nothing below the heads to go back through.
        self._learns_text = any(parameter.requires_grad for parameter in model.whisper.parameters())
        self._counts = _Counts()

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the mean loss over the targets that are asked for."""
        # Dropout draws from torch's own generator; with this it too depends on the place in the stream alone.
        torch.manual_seed(batch.seed)
        audio, num_samples = change_speed(batch.audio, batch.num_samples, batch.speed)
        window = (num_samples + batch.margin).clamp(max=MAX_SAMPLES)
        audio = functional.pad(audio, (0, max(0, int(window.max()) - audio.shape[1])))
        if self.augment is not None:
            audio = self.augment.waveform(audio, window, batch.seed)
        mel, num_frames = self.model.features(audio, window)
        if self.augment is not None:
            mel = self.augment.spectrogram(mel, num_frames, batch.seed)
        with torch.set_grad_enabled(self._learns_text):
            encoded = self.model.encode(mel, num_frames)
        answers = self._answers(encoded, num_samples, batch)
        losses = {"heads": self._head_loss(answers)} if answers else {}
        if self._learns_text:
            hidden = self.model.decode(batch.tokens, encoded)
            losses["text"] = self._loss(hidden, batch.targets, self.optim.label_smoothing)
        loss = torch.stack(list(losses.values())).sum()
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch.fragments))
        if len(losses) > 1:
            self.log("train/heads_loss", losses["heads"].detach(), batch_size=len(batch.fragments))
        if self.adversary is not None:
            loss = loss + self._adversary_loss(self.adversary, answers["dialect"], batch.fragments)
        return loss

    def _answers(self, encoded: Encoded, num_samples: Tensor, batch: Batch) -> dict[HeadName, _Answer]:
        """What each head that learns makes of a batch, whose fragments may have become longer or shorter."""
        languages = [fragment.language for fragment in batch.fragments]
        dialects = [fragment.dialect for fragment in batch.fragments]
        answers = {}
        for name in self.heads.weights:
            head = self.model.head(name)
            represented = head.represented(encoded.layers, count_states(num_samples), batch.contours)
            scores = head.scores(represented, languages, dialects)
            labels = [getattr(fragment, name) for fragment in batch.fragments]
            answers[name] = _Answer(represented, scores, head.targets(labels, languages, IGNORED).to(scores.device))
        return answers

    def _head_loss(self, answers: Mapping[HeadName, _Answer]) -> Tensor:
        """The heads' losses, by weight; a fragment without a label counts in none, and none of them gives 0."""
        return torch.stack(
            [
                self.heads.weights[name]
                * _mean_loss(answer.scores, answer.targets, self._label_weights[name].to(answer.scores))
                for name, answer in answers.items()
            ]
        ).sum()

    def _adversary_loss(self, adversary: Adversary, answer: _Answer, fragments: Sequence[Fragment]) -> Tensor:
        """The loss of telling corpora apart, a plain one: the option's weight is in the gradient that is reversed."""
        strength = self.heads.adversary * strength_at(self.global_step / self.max_steps)
        scores = adversary(answer.represented, answer.targets, strength)
        targets = adversary.targets(fragments).to(scores.device)
        loss = _mean_loss(scores, targets)
        # In every step, also where no corpus is known and both are 0: lightning would repeat the last figures.
        right = 100 * int((scores.argmax(-1) == targets).sum()) / max(1, int((targets != IGNORED).sum()))
        self.log("train/adversary_loss", loss.detach(), batch_size=len(fragments))
        self.log("train/adversary_accuracy", right, batch_size=len(fragments))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin a new count."""
        self._counts = _Counts()

    def validation_step(self, batch: Batch, index: int) -> None:
        """Count loss and word errors of one batch."""
        window = self.model.window_samples(batch.num_samples)
        encoded = self.model.encode(*self.model.features(batch.audio, window))
        answers = self._answers(encoded, batch.num_samples, batch)
        for name, answer in answers.items():
            pairs = zip(answer.scores.argmax(-1).tolist(), answer.targets.tolist(), strict=True)
            self._counts.heard.setdefault(name, []).extend(pair for pair in pairs if pair[1] != IGNORED)
        if answers:
            heads_loss = self._head_loss(answers)
            self._counts.heads_loss[0] += float(heads_loss) * len(batch.fragments)
            self._counts.heads_loss[1] += len(batch.fragments)
        if not self._learns_text:
            return
        loss = self._loss(self.model.decode(batch.tokens, encoded), batch.targets, 0.0)
        tokens = int((batch.targets != IGNORED).sum())
        self._counts.loss[0] += float(loss) * tokens
        self._counts.loss[1] += tokens
        longest = int(batch.num_samples.max()) / SAMPLE_RATE
        options = DecodeOptions(max_tokens=sayable_tokens(self.model, longest))
        for language in sorted({fragment.language for fragment in batch.fragments}):
            rows = [row for row, fragment in enumerate(batch.fragments) if fragment.language == language]
            for row, result in zip(rows, decode(self.model, encoded.select(rows), language, options), strict=True):
                fragment = batch.fragments[row]
                normalize = get_normalizer(language, fragment.dialect)
                words, _ = nearest_errors(normalize(fragment.text), normalize.renderings(result.text))
                counts = self._counts.errors.setdefault(fragment.dialect or language, [0.0, 0.0])
                counts[0] += words.errors
                counts[1] += words.reference

    def on_validation_epoch_end(self) -> None:
        """Log the mean losses, WERs in percent, and each head's F1 in percent, a mean over its labels."""
        parts = self._gathered(self._counts)
        if self.heads.weights:
            loss, fragments = (sum(part.heads_loss[column] for part in parts) for column in (0, 1))
            self.log("dev/heads_loss", loss / fragments)
        for head in self.heads.weights:
            pairs = [pair for part in parts for pair in part.heard.get(head, ())]
            if pairs:
                heard, said = zip(*pairs, strict=True)
                self.log(f"dev/f1/{head}", 100 * macro_f1(said, heard), prog_bar=True)
        if not self._learns_text:
            return
        loss, tokens = (sum(part.loss[column] for part in parts) for column in (0, 1))
        self.log("dev/loss", loss / tokens)
        spoken = sorted({name for part in parts for name in part.errors})
        errors = {
            name: tuple(sum(part.errors[name][column] for part in parts if name in part.errors) for column in (0, 1))
            for name in spoken
        }
        rates = {name: 100 * wrong / words for name, (wrong, words) in errors.items() if words}
        if not rates:
            return
        enough = [name for name in rates if errors[name][1] >= _ENOUGH_WORDS] or list(rates)
        wrong, words = (sum(counts[column] for counts in errors.values()) for column in (0, 1))
        self.log("dev/wer", 100 * wrong / words, prog_bar=True)
        self.log("dev/wer_worst", max(rates[name] for name in enough), prog_bar=True)
        for name, rate in sorted(rates.items()):
            self.log(f"dev/wer/{name}", rate)

    def _gathered(self, part: _Counts) -> list[_Counts]:
        """What each process counted; one may have had no fragment at all, so that only here they can meet."""
        if self.trainer.world_size == 1:
            return [part]
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, part)
        return parts

    def configure_optimizers(self) -> Any:
        """AdamW, with the learning rate set anew at every step."""
        groups = [
            {"params": [p for p in parameters if (p.ndim > 1) is matrix], "lr": lr, "weight_decay": decay * matrix}
            for parameters, lr, decay in (
                (trainable_parameters(self.model.whisper), self.optim.lr, self.optim.weight_decay),
                (trainable_parameters(self.model.heads), self.heads.lr, self.heads.weight_decay),
                (
                    [] if self.adversary is None else trainable_parameters(self.adversary),
                    PACE * self.heads.lr,
                    self.heads.weight_decay,
                ),
            )
            if parameters
            for matrix in (True, False)
        ]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6, fused=True)
        # A fused optimiser offers to undo fp16's loss scale by itself, which is too late for the gradient to be clipped
        # before. In any mixed precision lightning refuses to clip as long as it offers.
        optimizer._step_supports_amp_scaling = False
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _lr_share(self, step: int) -> float:
        warmup = self.optim.warmup_steps
        if step < warmup:
            return (step + 1) / warmup
        if self.optim.schedule == "constant":
            return 1.0
        done = min(1.0, (step - warmup) / max(1, self.max_steps - warmup))
        return 1.0 - done if self.optim.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))

    def _loss(self, hidden: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        # Only where an answer is asked: the output layer is as wide as the vocabulary.
        asked = targets != IGNORED
        logits = self.model.logits(hidden[asked])
        return functional.cross_entropy(logits, targets[asked], label_smoothing=smoothing)


def _mean_loss(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy over the targets that there are; 0 without any.

    Every parameter takes part in every step, which DDP asks for, even when no fragment has a label.
    """
    losses = functional.cross_entropy(scores, targets, weights, ignore_index=IGNORED, reduction="sum")
    return losses / max(1, int((targets != IGNORED).sum()))
