"""Heads: what the encoder's one pass tells beside the text, each a small classifier over its layers.

Shapes: B batch, E encoder frames, D width, K layers (the convolutions' output first, then every block's), C labels,
P places of a pitch contour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.special import expit, logit
from torch import Tensor, nn
from torch.nn import functional

from asr.model.features import frame_mask

HeadName = Literal["dialect", "intonation", "tune"]
# The name of a head is also the name of the fragment's field that it learns.
HEAD_NAMES: tuple[HeadName, ...] = ("dialect", "intonation", "tune")

# The share of a fragment's frames that counts as its end, where a tune differs most.
_END = 0.3
# Width of the attention's hidden layer, and dropout on what is pooled, in training.
_ATTENTION, _DROPOUT = 64, 0.2
_NEVER = -1e4


@dataclass(frozen=True, slots=True)
class Fusion:
    """How the decoder's log-odds of a question mark and the voice's of a question become one: a logistic regression.

    Attributes:
        words: Weight of the decoder's.
        voice: Weight of the voice's.
        bias: Added to both.
        threshold: Probability from which on it is a question.
    """

    words: float
    voice: float
    bias: float
    threshold: float

    def p_question(self, words: float, p_voice: float) -> float:
        """The probability of a question.

        Args:
            words: The decoder's log-odds of "?" against ".".
            p_voice: The probability that the head gives the label "question".
        """
        return float(expit(self.words * words + self.voice * log_odds(p_voice) + self.bias))


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """What a head answers, and how sure it must be.

    Attributes:
        labels: Its classes, in order.
        languages: Whisper's language of each label, where a label belongs to one (dialects); else empty.
        dialects: Dialects with a bias of their own (intonation: what is a question is learnt per dialect).
        temperature: Divides the logits, so that probabilities hold on development data.
        threshold: Under this probability the answer is "unknown".
        heard: Whisper's languages that it has learnt from; the answer in another one is "unknown". Empty where that
            is not known, in older checkpoints.
        fusion: How its answer and the decoder's become a text's final mark (intonation); None where not learnt.
        bottleneck: Width of a linear layer before the scores, in which training can unlearn what an adversary finds;
            0 for none: of what is only pooled, nothing can be unlearnt.
        contour: P, how many places of the pitch at a fragment's end it hears beside the encoder; 0 for none.
    """

    labels: tuple[str, ...]
    languages: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    temperature: float = 1.0
    threshold: float = 0.0
    heard: tuple[str, ...] = ()
    fusion: Fusion | None = None
    bottleneck: int = 0
    contour: int = 0

    def __post_init__(self) -> None:
        if self.languages and len(self.languages) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels, but {len(self.languages)} languages")

    @property
    def calibrated(self) -> bool:
        """Whether temperature or threshold were learnt from development data."""
        return self.temperature != 1.0 or self.threshold > 0.0


class Head(nn.Module):
    """A classifier over the encoder's layers, and over the pitch at a fragment's end where its spec asks for that.

    The layers, each normalised, are mixed by learned weights (their softmax); of the valid frames the head takes the
    attentive statistics (mean and standard deviation under learned attention; Okabe et al. 2018, "Attentive Statistics
    Pooling for Deep Speaker Embedding"), and the plain mean of the last 30 % if it hears the pitch there. Attention
    begins even.

    Args:
        spec: What it answers.
        layers: K.
        width: D.
    """

    def __init__(self, spec: HeadSpec, layers: int, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.mix = nn.Parameter(_middle(layers))
        scorer = nn.Linear(_ATTENTION, 1)
        nn.init.zeros_(scorer.weight)
        self.attention = nn.Sequential(nn.Linear(width, _ATTENTION), nn.Tanh(), scorer)
        pooled = (3 * width + spec.contour) if spec.contour else 2 * width
        # Of the fragments that the head begins with (`asr.training.heads.start_heads`).
        self.register_buffer("center", torch.zeros(pooled))
        self.register_buffer("scale", torch.ones(pooled))
        self.bottleneck = nn.Linear(pooled, spec.bottleneck) if spec.bottleneck else nn.Identity()
        self.dropout = nn.Dropout(_DROPOUT)
        self.out = nn.Linear(spec.bottleneck or pooled, len(spec.labels))
        self.by_dialect: nn.Embedding | None = None
        if spec.dialects:
            # Row 0 is for a dialect without a bias of its own, and stays zero.
            self.by_dialect = nn.Embedding(len(spec.dialects) + 1, len(spec.labels), padding_idx=0)
            nn.init.zeros_(self.by_dialect.weight)
        known = sorted(set(spec.languages))
        self._language_index = {language: index for index, language in enumerate(known)}
        belongs = torch.tensor([[owner == language for owner in spec.languages] for language in known])
        self.register_buffer("belongs", belongs, persistent=False)

    belongs: Tensor
    center: Tensor
    scale: Tensor

    def pooled(self, layers: Sequence[Tensor], num_frames: Tensor, contours: Tensor) -> Tensor:
        """What the head knows of each fragment, float [B, 3 D + P], or [B, 2 D] without a contour.

        Args:
            layers: K tensors, float [B, E, D], every frame normalised (`asr.model.network.Encoded.normal`).
            num_frames: Long [B], the frames of the fragment itself, without any margin of silence.
            contours: Float [B, P], of `asr.prosody.final_contour`, NaN where there is too little voice. A head without
                a contour hears none of it, and nothing of the end by itself.
        """
        weights = self.mix.softmax(0)
        mixed = weights[0] * layers[0]
        for weight, layer in zip(weights[1:], layers[1:], strict=True):
            mixed = torch.addcmul(mixed, weight, layer)
        valid = frame_mask(num_frames, mixed.shape[1])
        attention = self.attention(mixed).squeeze(-1).masked_fill(~valid, _NEVER).softmax(-1)
        mean = _weighted(mixed, attention)
        variance = _weighted(mixed.square(), attention) - mean.square()
        heard = [mean, variance.clamp_min(1e-6).sqrt()]
        if self.spec.contour:
            end = valid & ~frame_mask(num_frames - (num_frames * _END).ceil().long(), mixed.shape[1])
            heard += [_weighted(mixed, _even(end)), contours[:, : self.spec.contour].nan_to_num()]
        return torch.cat(heard, dim=-1)

    def forward(
        self,
        layers: Sequence[Tensor],
        num_frames: Tensor,
        languages: Sequence[str],
        dialects: Sequence[str | None],
        contours: Tensor,
    ) -> Tensor:
        """Scores of the labels, float [B, C]; of dialects only those of the fragment's own language can be heard.

        Args:
            layers: See `pooled`.
            num_frames: See `pooled`.
            languages: Of each fragment.
            dialects: Of each fragment, where known.
            contours: See `pooled`.
        """
        return self.scores(self.represented(layers, num_frames, contours), languages, dialects)

    def represented(self, layers: Sequence[Tensor], num_frames: Tensor, contours: Tensor) -> Tensor:
        """What the scores are made of, float [B, R]: R is the bottleneck's width, or that of `pooled`."""
        standard = (self.pooled(layers, num_frames, contours) - self.center) * self.scale
        represented: Tensor = self.bottleneck(standard)
        return represented

    def scores(self, represented: Tensor, languages: Sequence[str], dialects: Sequence[str | None]) -> Tensor:
        """The second half of `forward`, from what the first half, `represented`, gave."""
        scores: Tensor = self.out(self.dropout(represented))
        if self.by_dialect is not None:
            rows = [0 if name not in self.spec.dialects else 1 + self.spec.dialects.index(name) for name in dialects]
            scores = scores + self.by_dialect(torch.tensor(rows, device=scores.device))
        if self.spec.languages:
            rows = [self._language_index.get(language, -1) for language in languages]
            belongs = functional.pad(self.belongs, (0, 0, 0, 1))[torch.tensor(rows, device=scores.device)]
            scores = scores.masked_fill(~belongs, _NEVER)
        return scores

    def probabilities(self, scores: Tensor) -> Tensor:
        """Calibrated probabilities, float [B, C], of the scores that `forward` gave; zero where none is possible."""
        possible = scores > _NEVER / 2
        probabilities: Tensor = (scores / self.spec.temperature).softmax(-1) * possible
        return probabilities

    def targets(self, labels: Sequence[str | None], languages: Sequence[str], ignored: int) -> Tensor:
        """Long [B], the number of each label; ``ignored`` where there is none that the head could give.

        Args:
            labels: Of each fragment, where people gave one.
            languages: Of each fragment; a dialect that belongs to another one cannot be heard.
            ignored: Stands for no target.
        """
        owners = self.spec.languages or ("",) * len(self.spec.labels)
        numbers: dict[tuple[str | None, str], int] = {
            pair: number for number, pair in enumerate(zip(self.spec.labels, owners, strict=True))
        }
        spoken = languages if self.spec.languages else ("",) * len(labels)
        return torch.tensor([numbers.get(pair, ignored) for pair in zip(labels, spoken, strict=True)])


def log_odds(probability: float) -> float:
    """Natural log of p / (1 - p); of what is nearer than 1e-6 to none or all, that of 1e-6."""
    return float(logit(min(max(probability, 1e-6), 1 - 1e-6)))


def _middle(layers: int) -> Tensor:
    """Where the mix begins: on a frozen Whisper the middle layers know dialect and tune best, the ends least."""
    place = torch.linspace(-1, 1, layers)
    return -4 * (place - 0.2).square()


def _even(mask: Tensor) -> Tensor:
    """The same weight for every frame of a mask, summing to one."""
    weights = mask.float()
    return weights / weights.sum(-1, keepdim=True).clamp_min(1.0)


def _weighted(states: Tensor, weights: Tensor) -> Tensor:
    return torch.einsum("bed,be->bd", states, weights)
