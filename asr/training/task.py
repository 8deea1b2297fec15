"""The task that lightning runs: hear a batch, compare with its labels, learn; and count errors on the side.

Shapes: B batch, S tokens.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
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
from asr.inference.decoding import DecodeOptions, decode
from asr.metrics import nearest_errors
from asr.model.adapt import trainable_parameters
from asr.model.features import MAX_SAMPLES
from asr.model.network import DialectWhisper
from asr.text import get_normalizer

# A dialect with fewer reference words than this does not choose a checkpoint.
_ENOUGH_WORDS = 100
_FIXED_TOKENS = 16
_TOKENS_PER_SECOND = 12
# Of one process: [loss summed over tokens, tokens], and [word errors, reference words] by dialect.
_Part = tuple[list[float], dict[str, list[float]]]


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
    """

    def __init__(self, model: DialectWhisper, optim: OptimOptions, augment: Augment | None, max_steps: int) -> None:
        super().__init__()
        self.model = model
        self.optim = optim
        self.augment = augment
        self.max_steps = max_steps
        self._errors: dict[str, list[float]] = {}
        self._loss_sum = [0.0, 0.0]
        self._most_tokens = model.whisper.dims.n_text_ctx // 2

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
        encoded = self.model.encode(mel, num_frames)
        loss = self._loss(self.model.decode(batch.tokens, encoded), batch.targets, self.optim.label_smoothing)
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch.fragments))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin a new count."""
        self._errors = defaultdict(lambda: [0.0, 0.0])
        self._loss_sum = [0.0, 0.0]

    def validation_step(self, batch: Batch, index: int) -> None:
        """Count loss and word errors of one batch."""
        window = self.model.window_samples(batch.num_samples)
        encoded = self.model.encode(*self.model.features(batch.audio, window))
        loss = self._loss(self.model.decode(batch.tokens, encoded), batch.targets, 0.0)
        tokens = int((batch.targets != IGNORED).sum())
        self._loss_sum[0] += float(loss) * tokens
        self._loss_sum[1] += tokens
        # A model that does not know tight windows yet finds no end; nobody says more tokens than these.
        longest = int(batch.num_samples.max()) / SAMPLE_RATE
        options = DecodeOptions(max_tokens=min(_FIXED_TOKENS + round(_TOKENS_PER_SECOND * longest), self._most_tokens))
        for language in sorted({fragment.language for fragment in batch.fragments}):
            rows = [row for row, fragment in enumerate(batch.fragments) if fragment.language == language]
            for row, result in zip(rows, decode(self.model, encoded.select(rows), language, options), strict=True):
                fragment = batch.fragments[row]
                normalize = get_normalizer(language, fragment.dialect)
                words, _ = nearest_errors(normalize(fragment.text), normalize.renderings(result.text))
                counts = self._errors[fragment.dialect or language]
                counts[0] += words.errors
                counts[1] += words.reference

    def on_validation_epoch_end(self) -> None:
        """Log the mean loss per token, and WERs in percent."""
        parts = self._gathered((self._loss_sum, dict(self._errors)))
        loss, tokens = (sum(sums[column] for sums, _ in parts) for column in (0, 1))
        self.log("dev/loss", loss / tokens)
        names = sorted({name for _, part in parts for name in part})
        errors = {
            name: tuple(sum(part[name][column] for _, part in parts if name in part) for column in (0, 1))
            for name in names
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

    def _gathered(self, part: _Part) -> list[_Part]:
        """What each process counted; one may have had no fragment at all, so that only here they can meet."""
        if self.trainer.world_size == 1:
            return [part]
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, part)
        return parts

    def configure_optimizers(self) -> Any:
        """AdamW, with the learning rate set anew at every step."""
        parameters = trainable_parameters(self.model)
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.optim.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        # A fused optimiser undoes fp16's loss scale by itself, too late for the gradient to be clipped before.
        fused = self.trainer.precision != "16-mixed"
        optimizer = torch.optim.AdamW(groups, lr=self.optim.lr, betas=(0.9, 0.98), eps=1e-6, fused=fused)
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
