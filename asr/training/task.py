"""The task that lightning runs: hear a batch, compare with its labels, learn; and count errors on the side.

Text and heads learn together: the loss is that of the text plus each head's, by its weight, plus that of the dialect
head's adversary, if it has one.

Shapes: B batch, S tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional

from asr.audio import SAMPLE_RATE
from asr.data.augment import Augment, change_speed
from asr.data.batch import Batch
from asr.data.labels import IGNORED
from asr.errors import AudioError, TrainingError
from asr.inference.decoding import DecodeOptions, decode, sayable_tokens
from asr.model.adapt import trainable_parameters
from asr.model.features import count_states
from asr.model.heads import HeadName
from asr.model.network import DialectWhisper, Encoded
from asr.training.adversary import PACE, Adversary, strength_at
from asr.training.counts import Counts, figures, total
from asr.training.gate import Gate
from asr.training.heads import HeadOptions
from asr.training.optim import OptimOptions, adamw
from asr.training.parts import Parts, Step
from asr.training.sharding import Whole, is_finite, shard

log = logging.getLogger(__name__)

# So many recordings that cannot be read end no run, whatever their share.
_FEW_UNREADABLE = 10


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
class _Heard:
    """What of a batch reaches the model.

    Attributes:
        mel: Features, float [B, F, T].
        num_frames: Long [B], those of them that are a fragment's.
        num_samples: Long [B], samples of each fragment at the speed that it is heard with.
    """

    mel: Tensor
    num_frames: Tensor
    num_samples: Tensor

    def select(self, rows: slice) -> _Heard:
        """Some rows."""
        return _Heard(self.mel[rows], self.num_frames[rows], self.num_samples[rows])


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
        unreadable: Share of the fragments whose recordings may be unreadable.
        gate: Says what was forgotten of what is protected, if something is.

    Attributes:
        drawn: Fragments that were to be heard since the run began, by all processes.
        missed: Those of them that could not be read.
        heard: Seconds of speech in the others.
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
        unreadable: float = 0.05,
        gate: Gate | None = None,
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
        self._counts = Counts()
        self._whole: Whole | None = None
        self.unreadable = unreadable
        self.gate = gate
        self.drawn = self.missed = 0
        self.heard = 0.0
        self.parts = Parts()
        # Of the step that runs: the fragments of its batches, and the batch whose loss was no number.
        self._step: list[str] = []
        self._broken: list[str] = []

    def configure_model(self) -> None:
        """Divide the weights among the processes, where the strategy asks for it; lightning calls this first."""
        if self.device_mesh is not None and self._whole is None:
            self._whole = Whole(self.model)
            shard(self, self.device_mesh["data_parallel"], ("training_step", "validation_step"))

    def whole_model(self) -> DialectWhisper:
        """The model as one process holds it; every process must call it, and only the first may use what it gets."""
        return self.model if self._whole is None else self._whole.gathered(self.model)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was counted, and how batches are divided."""
        checkpoint["fragments"] = {"drawn": self.drawn, "missed": self.missed, "heard": self.heard}
        checkpoint["parts"] = parts = [self.parts.state_dict()]
        if self.trainer.world_size > 1:  # each process divides its own batches
            parts *= self.trainer.world_size
            torch.distributed.all_gather_object(parts, self.parts.state_dict())
        if self.gate is not None:
            checkpoint["gate"] = self.gate.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting, and divide as before."""
        self.drawn, self.missed, self.heard = (checkpoint["fragments"][name] for name in ("drawn", "missed", "heard"))
        self.parts.load_state_dict(checkpoint["parts"][self.trainer.global_rank])
        if self.gate is not None:
            self.gate.load_state_dict(checkpoint.get("gate", {}))

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss: a mean over the targets that are asked for, of all processes together.

        lightning takes the mean of the processes' gradients. Each gives its losses the weight of its targets among all,
        so that the result is the gradient of their batches joined.

        Raises:
            AudioError: Too many recordings cannot be read.
        """
        # Dropout draws from torch's own generator; with this it too depends on the place in the stream alone.
        torch.manual_seed(batch.seed)
        audio, num_samples = change_speed(batch.audio, batch.num_samples, batch.speed)
        window = self.model.window_samples(num_samples, batch.margin)
        audio = functional.pad(audio, (0, max(0, int(window.max()) - audio.shape[1])))
        if self.augment is not None:
            audio = self.augment.waveform(audio, window, batch.seed)
        mel, num_frames = self.model.features(audio, window)
        if self.augment is not None:
            mel = self.augment.spectrogram(mel, num_frames, batch.seed)
        heard = _Heard(mel, num_frames, num_samples)
        asked = self._asked(batch)
        weights = self._shares(batch, asked)
        if self._whole is not None:
            # Who shares weights takes part in every piece of the others' way there and back, and in no second try.
            losses = self._losses(heard, batch, weights, asked)
            loss = _objective(losses)
        else:
            step = Step(
                batch,
                lambda rows: self._losses(heard.select(rows), batch.select(rows), weights, asked),
                _objective,
                trainable_parameters(self),
            )
            losses, loss = self.parts.learn(step, lambda: self._before_parts(index))
        # The mean of the processes' weighted losses is that of their batches joined.
        tell = partial(self.log, batch_size=len(batch.fragments), sync_dist=True)
        told = [losses[name].detach() for name in ("heads", "text") if name in losses]
        tell("train/loss", torch.stack(told).sum(), prog_bar=True)
        if len(told) > 1:
            tell("train/heads_loss", losses["heads"].detach())
        if self.adversary is not None:
            # In every step, also where no corpus is known and both are 0: lightning would repeat the last figures.
            tell("train/adversary_loss", losses["adversary"].detach())
            tell("train/adversary_accuracy", 100 * weights[-1] * losses["right"] / max(1, asked[-1]))
        self._step += [fragment.id for fragment in batch.fragments]
        if not loss.isfinite():
            self._broken = [fragment.id for fragment in batch.fragments]
        return loss

    def _before_parts(self, index: int) -> float:
        """Let go the last step's gradients, if there are any; return what the loss will be multiplied by.

        lightning does so a moment later, when two gradients would have to be held. The factor is that of fp16, in which
        small gradients could not be held without it.
        """
        if index % self.trainer.accumulate_grad_batches == 0:
            self.zero_grad()
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return 1.0 if scaler is None else float(scaler.get_scale())

    def _losses(self, heard: _Heard, batch: Batch, weights: Sequence[float], asked: Sequence[int]) -> dict[str, Tensor]:
        """The losses of a batch or a part of one, weighted, and how often the adversary was right.

        Args:
            heard: What is heard.
            batch: What was to be heard, the same rows.
            weights: Of each kind of target in the whole batch.
            asked: How many there are of each in the whole batch.
        """
        with torch.set_grad_enabled(self._learns_text and torch.is_grad_enabled()):
            encoded = self.model.encode(heard.mel, heard.num_frames)
        answers = self._answers(encoded, heard.num_samples, batch)
        here = [
            weight * (count / whole) if whole else 0.0
            for weight, count, whole in zip(weights, self._asked(batch), asked, strict=True)
        ]
        losses = {"heads": self._head_loss(answers, here[1:])} if answers else {}
        if self._learns_text:
            hidden = self.model.decode(batch.tokens, encoded)
            losses["text"] = here[0] * self._loss(hidden, batch.targets, self.optim.label_smoothing)
        if self.adversary is not None:
            corpora = self.adversary.targets(batch.fragments or [None])
            loss, losses["right"] = self._adversary_loss(self.adversary, answers["dialect"], corpora)
            losses["adversary"] = here[-1] * loss
        return losses

    def _asked(self, batch: Batch) -> list[int]:
        """How many targets of each kind there are: tokens, labels of each head, corpora."""
        counts = [int((batch.targets != IGNORED).sum())]
        for name in self.heads.weights:
            counts.append(int((self._targets(name, batch) != IGNORED).sum()))
        if self.adversary is not None:
            counts.append(int((self.adversary.targets(batch.fragments or [None]) != IGNORED).sum()))
        return counts

    def _shares(self, batch: Batch, asked: Sequence[int]) -> list[float]:
        """Of each kind of target, this process's number against the mean of all processes; 1 in one process alone.

        Raises:
            AudioError: Too many recordings cannot be read.
        """
        spoken = [int(length) for length, one in zip(batch.num_samples, batch.fragments, strict=False) if one.text]
        here = [*asked, sum(spoken), batch.heard + batch.unreadable, batch.unreadable]
        everywhere = here
        if self.trainer.world_size > 1:
            sums = torch.tensor(here, device=self.device)
            torch.distributed.all_reduce(sums)
            everywhere = sums.tolist()
        *totals, samples, drawn, missed = everywhere
        self.heard += samples / SAMPLE_RATE
        self.drawn += drawn
        self.missed += missed
        if self.missed:
            self.log("train/unreadable", float(self.missed), batch_size=len(batch.fragments))
        if self.missed > max(_FEW_UNREADABLE, self.unreadable * self.drawn):
            raise AudioError(
                f"{self.missed} of the {self.drawn} fragments drawn so far have recordings that cannot be read, and "
                f"data.unreadable allows {100 * self.unreadable:g} %; run `asr validate` on them, or allow more"
            )
        return [
            self.trainer.world_size * count / total if total else 0.0
            for count, total in zip(asked, totals, strict=True)
        ]

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *told: Any, **more: Any) -> None:
        """Look at the gradient before it changes the weights, and shorten it; it is the same in every process.

        Raises:
            TrainingError: A loss or the gradient is not finite.
        """
        learning = [parameter for parameter in self.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in learning if parameter.grad is not None])
        # With fp16 a gradient too large to be held is an everyday thing: the step is skipped, the loss scaled anew.
        scaled = self.trainer.precision == "16-mixed"
        finite = scaled or is_finite(norm)
        parts: list[list[str]] = [self._broken]
        if self.trainer.world_size > 1 and (scaled or not finite):
            found: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(found, (self._broken, self._step))
            parts = [broken for broken, _ in found]
            self._step = [name for _, own in found for name in own]
        broken = [name for part in parts for name in part]
        if broken or not finite:
            what, names = ("loss", broken) if broken else ("gradient", self._step)
            raise TrainingError(
                f"the {what} is not finite in step {self.global_step}, with the fragments "
                f"{', '.join(map(repr, names))}; nothing was learnt from it, and what was saved before it is "
                "kept: look at these fragments, or go on from an earlier checkpoint with a lower learning rate"
            )
        self._step, self._broken = [], []
        if self.optim.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(learning, self.optim.clip_norm, norm)

    def _answers(self, encoded: Encoded, num_samples: Tensor, batch: Batch) -> dict[HeadName, _Answer]:
        """What each head that learns makes of a batch, whose fragments may have become longer or shorter."""
        languages = _languages(batch)
        dialects = [fragment.dialect for fragment in batch.fragments] or [None]
        answers = {}
        for name in self.heads.weights:
            head = self.model.head(name)
            represented = head.represented(encoded.normal, count_states(num_samples), batch.contours)
            scores = head.scores(represented, languages, dialects)
            answers[name] = _Answer(represented, scores, self._targets(name, batch).to(scores.device))
        return answers

    def _targets(self, name: HeadName, batch: Batch) -> Tensor:
        """The labels that a head should give, long [B]."""
        labels = [getattr(fragment, name) for fragment in batch.fragments] or [None]
        return self.model.head(name).targets(labels, _languages(batch), IGNORED)

    def _head_loss(self, answers: Mapping[HeadName, _Answer], shares: Sequence[float]) -> Tensor:
        """The heads' losses, by weight and share; a fragment without a label counts in none, and none gives 0."""
        return torch.stack(
            [
                share
                * self.heads.weights[name]
                * _mean_loss(answer.scores, answer.targets, self._label_weights[name].to(answer.scores))
                for (name, answer), share in zip(answers.items(), shares, strict=False)
            ]
        ).sum()

    def _adversary_loss(self, adversary: Adversary, answer: _Answer, corpora: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of telling corpora apart, and how many are told rightly.

        The loss is a plain one: the option's weight is in the gradient that is reversed.
        """
        strength = self.heads.adversary * strength_at(self.global_step / self.max_steps)
        scores = adversary(answer.represented, answer.targets, strength)
        targets = corpora.to(scores.device)
        return _mean_loss(scores, targets), (scores.argmax(-1) == targets).sum()

    def on_validation_epoch_start(self) -> None:
        """Begin a new count."""
        self._counts = Counts()

    def validation_step(self, batch: Batch, index: int) -> None:
        """Count loss and word errors of one batch."""
        self._counts.unreadable += batch.unreadable
        if not batch.fragments:
            return
        window = self.model.window_samples(batch.num_samples)
        encoded = self.model.encode(*self.model.features(batch.audio, window))
        answers = self._answers(encoded, batch.num_samples, batch)
        for name, answer in answers.items():
            pairs = zip(answer.scores.argmax(-1).tolist(), answer.targets.tolist(), strict=True)
            self._counts.heard.setdefault(name, []).extend(pair for pair in pairs if pair[1] != IGNORED)
        if answers:
            heads_loss = self._head_loss(answers, [1.0] * len(answers))
            self._counts.heads_loss[0] += float(heads_loss) * len(batch.fragments)
            self._counts.heads_loss[1] += len(batch.fragments)
        if not self._learns_text:
            return
        loss = self._loss(self.model.decode(batch.tokens, encoded), batch.targets, 0.0)
        tokens = int((batch.targets != IGNORED).sum())
        self._counts.loss[0] += float(loss) * tokens
        self._counts.loss[1] += tokens
        longest = int(batch.num_samples.max()) / SAMPLE_RATE
        for language in sorted({fragment.language for fragment in batch.fragments}):
            options = DecodeOptions(max_tokens=sayable_tokens(self.model, longest, language))
            rows = [row for row, fragment in enumerate(batch.fragments) if fragment.language == language]
            for row, result in zip(rows, decode(self.model, encoded.select(rows), language, options), strict=True):
                self._counts.count_words(batch.fragments[row], result.text)

    def on_validation_epoch_end(self) -> None:
        """Log the mean losses, WERs in percent, and each head's F1 in percent, a mean over its labels.

        Raises:
            AudioError: Nothing could be read.
        """
        counts = total(self._counts.gathered(self.trainer.world_size))
        if not counts.loss[1] and not counts.heads_loss[1]:
            raise AudioError(
                f"none of the {counts.unreadable} recordings of data.dev can be read; run `asr validate` on it"
            )
        found = figures(counts)
        if self.gate is not None:
            if self.trainer.sanity_checking:
                self.gate.begin(counts.errors)
                return
            verdict = self.gate.look(counts.errors)
            found |= {"dev/wer_worst": verdict.wer, "dev/harmed": float(len(verdict.harmed))}
            if verdict.harmed and self.trainer.is_global_zero:
                log.info("step %d harms %s", self.global_step, ", ".join(map(str, verdict.harmed)))
        shown = ("dev/wer", "dev/wer_worst", *(f"dev/f1/{head}" for head in self.heads.weights))
        for name, value in found.items():
            self.log(name, value, prog_bar=name in shown)

    def configure_optimizers(self) -> Any:
        """AdamW, with the learning rate set anew at every step."""
        optimizer = adamw(
            (
                (trainable_parameters(self.model.whisper), self.optim.lr, self.optim.weight_decay),
                (trainable_parameters(self.model.heads), self.heads.lr, self.heads.weight_decay),
                (
                    [] if self.adversary is None else trainable_parameters(self.adversary),
                    PACE * self.heads.lr,
                    self.heads.weight_decay,
                ),
            )
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.optim.lr_share(step, self.max_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _loss(self, hidden: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        # Only where an answer is asked: the output layer is as wide as the vocabulary.
        asked = targets != IGNORED
        logits = self.model.logits(hidden[asked])
        total = functional.cross_entropy(logits, targets[asked], label_smoothing=smoothing, reduction="sum")
        return total / max(1, len(logits))


def _languages(batch: Batch) -> list[str]:
    """Of each row; silence in the place of a batch is in no language and has no label."""
    return [fragment.language for fragment in batch.fragments] or [""]


def _objective(losses: Mapping[str, Tensor]) -> Tensor:
    """What is to become small."""
    return torch.stack([losses[name] for name in ("heads", "text", "adversary") if name in losses]).sum()


def _mean_loss(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy over the targets that there are; 0 without any.

    Every parameter takes part in every step, which DDP asks for, even when no fragment has a label.
    """
    losses = functional.cross_entropy(scores, targets, weights, ignore_index=IGNORED, reduction="sum")
    return losses / max(1, int((targets != IGNORED).sum()))
