"""`DialectWhisper`: openai-whisper's network, run on fragments of any length.

It wraps `whisper.model.Whisper` and runs that model's own layers; what is added is what Whisper, which only ever sees
30 s, does not need: the key-padding mask, and the tail, a few frames of silence that stand for all that would follow a
fragment up to there. Shapes: B batch, T mel frames, E encoder frames (50 a second), K frames of the tail, S tokens,
D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from whisper.audio import SAMPLE_RATE
from whisper.model import MultiHeadAttention, ResidualAttentionBlock, Whisper

from asr.model.features import MAX_SAMPLES, frame_mask, log_mel
from asr.model.heads import Head, HeadSpec
from asr.model.mixture import Mixture, project

Window = Literal["padded", "tight"]

# All of torch's attention but cuDNN's, which torch takes first on a Hopper GPU and plans anew for every length that it
# meets; of batches of speech hardly two have the same.
_ANY_LENGTH = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

# Frames that stand for the silence behind a tight window.
TAIL = 100

# What silence is in Whisper's features: eight decades under a loudest frame of 10 ** 1.2, which is usual in speech.
_SILENT = -0.7

# Encoder frames up to which attention on a CPU in bf16 is learnt as matrices: ten seconds.
_SHORT = 512


def describe_window(window: Window, tail: int) -> str:
    """A window in words; models go together only where it is the same."""
    return f"tight with {tail} frames of silence behind" if window == "tight" and tail else window


@dataclass(frozen=True)
class Silence:
    """The tail as the encoder hears it. It does not hear the fragments, and so is the same behind all of them.

    Attributes:
        places: Long [K], each frame's place in the 30 s.
        keys_values: What fragments attend to, of every block, each float [1, K, D].
        states: Float [1, K, D], after the final layer norm.

    Where adapters were mixed in, which differ between fragments, B stands in the place of 1.
    """

    places: Tensor
    keys_values: tuple[tuple[Tensor, Tensor], ...]
    states: Tensor


@dataclass(frozen=True)
class Encoded:
    """What the encoder made of a batch.

    Attributes:
        states: Float [B, E, D], after the final layer norm; zero after each fragment's end, as the layers are.
        num_frames: Long [B], encoder frames that belong to each fragment.
        bias: Float [B, 1, 1, E + K], added to the decoder's scores of attention: minus infinity for what comes after a
            fragment's end, and for what comes before it in the tail; 0 for the others. None when all may be heard.
        tail: Float [1, K, D], the states of the silence that follows, one for all fragments, or [B, K, D], where
            each takes other adapters; None without.
        layers: What the heads hear: the convolutions' output and every block's, float [B, E, D]; none without heads,
            and where adapters were mixed in, which heads have not learnt from.
        mixture: The adapters that the decoder is to be run with; None for none.
    """

    states: Tensor
    num_frames: Tensor
    bias: Tensor | None
    tail: Tensor | None = None
    layers: tuple[Tensor, ...] = ()
    mixture: Mixture | None = None

    @cached_property
    def normal(self) -> tuple[Tensor, ...]:
        """The layers with every frame normalised, in float32: made once for all heads."""
        return tuple(functional.layer_norm(layer.float(), layer.shape[-1:]) for layer in self.layers)

    def select(self, rows: list[int]) -> Encoded:
        """Return some rows of the batch, for the decoder."""
        return Encoded(
            self.states[rows],
            self.num_frames[rows],
            None if self.bias is None else self.bias[rows],
            self.tail if self.tail is None or len(self.tail) == 1 else self.tail[rows],
            mixture=None if self.mixture is None else self.mixture.select(rows),
        )

    def repeat(self, times: int) -> Encoded:
        """Return every row so many times, one after the other: the beams of a search."""
        return Encoded(
            self.states.repeat_interleave(times, 0),
            self.num_frames.repeat_interleave(times, 0),
            None if self.bias is None else self.bias.repeat_interleave(times, 0),
            self.tail if self.tail is None or len(self.tail) == 1 else self.tail.repeat_interleave(times, 0),
            mixture=None if self.mixture is None else self.mixture.repeat(times),
        )


@dataclass
class DecoderCache:
    """Keys and values of past tokens and of the encoder, per block, [B, heads, length, D / heads]."""

    past: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    audio: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Number of tokens seen so far."""
        return self.past[0][0].shape[2] if self.past else 0

    def select_past(self, rows: Tensor) -> None:
        """Reorder the rows of the past tokens: beams that were kept."""
        self.past = [(key.index_select(0, rows), value.index_select(0, rows)) for key, value in self.past]


class DialectWhisper(nn.Module):
    """Whisper with an encoder of any length.

    Args:
        whisper: The model whose layers are run; it stays a `whisper.model.Whisper` that works by itself.
        window: ``"padded"`` pads every fragment to 30 s, as Whisper was trained; ``"tight"`` lets the encoder see
            the fragment's own length plus a margin of silence.
        margin: Seconds of silence after the fragment in a tight window at inference.
        tail: Frames of silence, spread evenly over the 30 s, that stand for all silent frames behind a tight window;
            0 for none. Whisper knows the end of speech by the silence that follows, and mishears without. In the
            encoder each weighs as much as all that it stands for; in the decoder it is one, because CTranslate2's
            cannot weigh. Silence does not hear the fragment, so it is heard once for all of a batch.

    Attributes:
        heads: What is told beside the text, by name; none at first (`set_heads`).
    """

    def __init__(self, whisper: Whisper, window: Window = "padded", margin: float = 0.5, tail: int = TAIL) -> None:
        super().__init__()
        self.heads = nn.ModuleDict()
        # openai keeps the heads for word times in a sparse buffer, which DDP cannot broadcast; as a plain attribute
        # they serve word times as well.
        heads = whisper.alignment_heads
        del whisper.alignment_heads
        whisper.alignment_heads = heads
        self.whisper = whisper
        self.window: Window = window
        self.margin = margin
        self.tail = tail
        self.gradient_checkpointing = False

    @property
    def window_described(self) -> str:
        """See `describe_window`."""
        return describe_window(self.window, self.tail)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return cast(torch.device, self.whisper.device)

    def features(self, audio: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel features for this model's window; see `asr.model.features.log_mel`.

        What a padded window does not hold, all beyond 30 s, is cut off.

        Args:
            audio: Float [B, N] at 16 kHz, zero after each fragment's end.
            num_samples: Long [B]; in a tight window it must already hold the margin (`window_samples`).
        """
        if self.window == "padded":
            num_samples = torch.full_like(num_samples, MAX_SAMPLES)
        return log_mel(audio, num_samples, self.whisper.dims.n_mels)

    def window_samples(self, num_samples: Tensor, margin: Tensor | None = None) -> Tensor:
        """Samples that the encoder sees of fragments, at most 30 s.

        Args:
            num_samples: Long [B], each fragment's own length.
            margin: Long [B], samples of silence after it in a tight window; the model's own margin when None.
        """
        if self.window == "padded":
            return torch.full_like(num_samples, MAX_SAMPLES)
        behind = round(self.margin * SAMPLE_RATE) if margin is None else margin
        return (num_samples + behind).clamp(max=MAX_SAMPLES)

    def encode(
        self, mel: Tensor, num_frames: Tensor, mixture: Mixture | None = None, silence: Silence | None = None
    ) -> Encoded:
        """Run the encoder; a fragment's output is the same alone and in any batch.

        Args:
            mel: Float [B, F, T], zero after each fragment's end.
            num_frames: Long [B], valid mel frames, at most T.
            mixture: Adapters that change what is heard, and then what is written of it.
            silence: What `silence` has given for the same weights and mixture, to spare hearing it again.

        Raises:
            ValueError: If a fragment is longer than the encoder's 30 s, or empty.
        """
        encoder = self.whisper.encoder
        shortest, longest = (int(frames) for frames in num_frames.aminmax())
        if shortest < 1:
            raise ValueError("a fragment of the batch is empty; leave it out")
        num_states = (num_frames + 1).div(2, rounding_mode="floor")
        length = (longest + 1) // 2
        if length > encoder.positional_embedding.shape[0]:
            limit = encoder.positional_embedding.shape[0] / 50
            raise ValueError(f"the encoder hears at most {limit:.0f} s at once, got {length / 50:.1f} s")
        uneven = shortest != longest
        silence = self.silence(mixture) if silence is None else silence
        mel = mel[..., :longest]
        if silence is not None:
            # What is next to the fragment is silence, as it would be in 30 s; one frame further nothing hears it.
            mel = functional.pad(mel, (0, 4))
            mel = mel.masked_fill(~frame_mask(num_frames, mel.shape[2])[:, None, :], _SILENT)
        x = functional.gelu(encoder.conv1(mel))
        if uneven and silence is None:
            # Alone, conv2 would see zeros after the fragment; the bias of conv1 must not leak in there.
            x = x * frame_mask(num_frames, x.shape[2])[:, None, :].to(x.dtype)
        x = functional.gelu(encoder.conv2(x)).permute(0, 2, 1)[:, :length]
        x = (x + encoder.positional_embedding[:length]).to(x.dtype)
        valid = frame_mask(num_states, length)
        heard = valid if silence is None else torch.cat((valid, silence.places >= num_states[:, None]), 1)
        bias = weighed = None
        if uneven or silence is not None:
            bias = weighed = x.new_zeros(heard.shape).masked_fill(~heard, -torch.inf)[:, None, None, :]
            if silence is not None:
                weighed = bias.clone()
                weighed[..., length:] += math.log(encoder.positional_embedding.shape[0] / self.tail)
        index = valid.flatten().nonzero()[:, 0] if uneven else None
        frames = _Frames(x.shape[0], length, index)
        x = frames.gather(x)
        layers = [x]
        mixed = None if mixture is None else mixture.by_frame(frames.rows(x.device))
        for number, block in enumerate(encoder.blocks):
            behind = (None, None) if silence is None else silence.keys_values[number]
            x = self._run(_encoder_block, block, x, frames, *behind, weighed, mixed)
            layers.append(x)
        states = frames.scatter(_norm(encoder.ln_post, x))
        tail = None if silence is None else silence.states
        kept = tuple(frames.scatter(layer) for layer in layers) if self.heads and mixture is None else ()
        return Encoded(states, num_states, bias, tail, kept, mixture)

    def silence(self, mixture: Mixture | None = None) -> Silence | None:
        """Hear the tail; None for a window without.

        Args:
            mixture: See `encode`.
        """
        if self.window == "padded" or not self.tail:
            return None
        encoder = self.whisper.encoder
        positions = encoder.positional_embedding
        places = ((torch.arange(self.tail, device=positions.device) + 0.5) * (len(positions) / self.tail)).long()
        # Of five frames of silence, those in the middle do not hear where it ends.
        flat = torch.full((1, self.whisper.dims.n_mels, 5), _SILENT, device=positions.device)
        state = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(flat))))[:, :, 1]
        x = (state[:, None] + positions[places]).to(state.dtype)
        x = x if mixture is None else x.expand(len(mixture.weights), -1, -1)
        keys_values = []
        for block in encoder.blocks:
            x, key, value = _silent_block(block, x, mixture)
            keys_values.append((key, value))
        return Silence(places, tuple(keys_values), _norm(encoder.ln_post, x))

    def decode(self, tokens: Tensor, encoded: Encoded, cache: DecoderCache | None = None) -> Tensor:
        """Run the decoder up to its last hidden states; `logits` turns those into scores.

        Args:
            tokens: Long [B, S]; with a cache that holds earlier tokens, only the new ones.
            encoded: The encoder's output for the same batch.
            cache: Filled and extended in place when given (inference only).

        Returns:
            Float [B, S, D].
        """
        decoder = self.whisper.decoder
        offset = cache.length if cache is not None else 0
        positions = decoder.positional_embedding[offset : offset + tokens.shape[1]]
        x = (decoder.token_embedding(tokens) + positions).to(encoded.states.dtype)
        for index, block in enumerate(decoder.blocks):
            if cache is None:
                x = self._run(_decoder_block, block, x, encoded)
            else:
                x = _cached_decoder_block(block, x, encoded, cache, index)
        return _norm(decoder.ln, x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary, float32 [..., vocabulary], for hidden states [..., D]."""
        weight = self.whisper.decoder.token_embedding.weight
        return functional.linear(hidden, weight.to(hidden.dtype)).float()

    def set_heads(self, specs: Mapping[str, HeadSpec]) -> None:
        """Give the model new heads, untrained, instead of those it has under these names."""
        dims = self.whisper.dims
        for name, spec in specs.items():
            self.heads[name] = Head(spec, dims.n_audio_layer + 1, dims.n_audio_state).to(self.device)

    def head(self, name: str) -> Head:
        """One of the heads."""
        return cast(Head, self.heads[name])

    def _run(self, function: Callable[..., Tensor], *args: object) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(function, *args, use_reentrant=False)
        return function(*args)


@dataclass(frozen=True)
class _Frames:
    """The frames of a batch that belong to a fragment, one after the other.

    All that the encoder does to a frame by itself is done to these V frames alone, [V, D]: what pads the shorter
    fragments would cost as much as speech. Only attention, which needs to know whose frame it is, sees [B, E, D].
    """

    batch: int
    length: int
    index: Tensor | None  # long, places in the flattened batch; None when all frames are valid

    def gather(self, x: Tensor) -> Tensor:
        """The valid frames of [B, E, D]."""
        x = x.flatten(end_dim=1)
        return x if self.index is None else x.index_select(0, self.index)

    def rows(self, device: torch.device) -> Tensor:
        """Long [V], the fragment of each frame."""
        places = torch.arange(self.batch * self.length, device=device) if self.index is None else self.index
        return places.div(self.length, rounding_mode="floor")

    def scatter(self, x: Tensor) -> Tensor:
        """[V, D] back in its places, zero in between."""
        if self.index is not None:
            x = x.new_zeros(self.batch * self.length, x.shape[1]).index_copy_(0, self.index, x)
        return x.view(self.batch, self.length, -1)


def _heads(x: Tensor, attention: MultiHeadAttention) -> Tensor:
    return x.view(*x.shape[:2], attention.n_head, -1).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, causal: bool = False) -> Tensor:
    if _multiplies_faster(query, key, causal):
        mixed = _multiplied(query, key, value, bias)
    else:
        with _backends(query):
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, is_causal=causal)
    return mixed.transpose(1, 2).flatten(start_dim=2)


def _backends(query: Tensor) -> AbstractContextManager[None]:
    return sdpa_kernel(_ANY_LENGTH) if query.is_cuda else nullcontext()


def _multiplies_faster(query: Tensor, key: Tensor, causal: bool) -> bool:
    """Whether attention that is learnt is faster as matrices: torch's own way back is slow on a CPU in bf16.

    The matrix of scores is kept for the way back, so not where it is large.
    """
    return (
        query.device.type == "cpu"
        and query.dtype == torch.bfloat16
        and query.requires_grad
        and not causal
        and key.shape[2] <= _SHORT
    )


def _multiplied(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    scores = query @ (key * key.shape[-1] ** -0.5).transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return torch.softmax(scores, -1).to(value.dtype) @ value


def _followed(x: Tensor, tail: Tensor | None) -> Tensor:
    """[B, E, D] and the tail behind every row, [B, E + K, D]."""
    return x if tail is None else torch.cat((x, tail.expand(x.shape[0], -1, -1)), 1)


def _norm(layer: nn.Module, x: Tensor) -> Tensor:
    """Whisper's layer norm; on a CPU without a copy in float32, in which torch computes it anyway."""
    if x.device.type != "cpu":
        return cast(Tensor, layer(x))
    assert isinstance(layer, nn.LayerNorm)
    return functional.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


def _keys_values(
    attention: MultiHeadAttention, x: Tensor, mixture: Mixture | None, tail: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    key, value = (
        _followed(project(layer, x, mixture), None if tail is None else project(layer, tail, mixture))
        for layer in (attention.key, attention.value)
    )
    return _heads(key, attention), _heads(value, attention)


def _mlp(block: ResidualAttentionBlock, x: Tensor, mixture: Mixture | None) -> Tensor:
    if mixture is None:
        return cast(Tensor, block.mlp(x))
    wide, activation, narrow = block.mlp
    return project(narrow, activation(project(wide, x, mixture)), mixture)


def _cross_attention(
    block: ResidualAttentionBlock, x: Tensor, keys_values: tuple[Tensor, Tensor], encoded: Encoded
) -> Tensor:
    attention, mixture = block.cross_attn, encoded.mixture
    query = _heads(project(attention.query, _norm(block.cross_attn_ln, x), mixture), attention)
    return x + project(attention.out, _attend(query, *keys_values, encoded.bias), mixture)


def _encoder_block(
    block: ResidualAttentionBlock,
    x: Tensor,
    frames: _Frames,
    silent_key: Tensor | None,
    silent_value: Tensor | None,
    bias: Tensor | None,
    mixture: Mixture | None,
) -> Tensor:
    attention, normed = block.attn, _norm(block.attn_ln, x)
    query, key, value = (
        frames.scatter(project(layer, normed, mixture)) for layer in (attention.query, attention.key, attention.value)
    )
    key, value = _followed(key, silent_key), _followed(value, silent_value)
    mixed = _attend(_heads(query, attention), _heads(key, attention), _heads(value, attention), bias)
    x = x + project(attention.out, frames.gather(mixed), mixture)
    return x + _mlp(block, _norm(block.mlp_ln, x), mixture)


def _silent_block(block: ResidualAttentionBlock, x: Tensor, mixture: Mixture | None) -> tuple[Tensor, Tensor, Tensor]:
    """What silence is after a block, which hears itself alone, and the keys and values that fragments attend to."""
    attention, normed = block.attn, _norm(block.attn_ln, x)
    query, key, value = (project(layer, normed, mixture) for layer in (attention.query, attention.key, attention.value))
    mixed = _attend(_heads(query, attention), _heads(key, attention), _heads(value, attention))
    x = x + project(attention.out, mixed, mixture)
    return x + _mlp(block, _norm(block.mlp_ln, x), mixture), key, value


def _decoder_block(block: ResidualAttentionBlock, x: Tensor, encoded: Encoded) -> Tensor:
    attention, normed, mixture = block.attn, _norm(block.attn_ln, x), encoded.mixture
    query = _heads(project(attention.query, normed, mixture), attention)
    mixed = _attend(query, *_keys_values(attention, normed, mixture), causal=True)
    x = x + project(attention.out, mixed, mixture)
    x = _cross_attention(block, x, _keys_values(block.cross_attn, encoded.states, mixture, encoded.tail), encoded)
    return x + _mlp(block, _norm(block.mlp_ln, x), mixture)


def _cached_decoder_block(
    block: ResidualAttentionBlock, x: Tensor, encoded: Encoded, cache: DecoderCache, index: int
) -> Tensor:
    attention, normed, mixture = block.attn, _norm(block.attn_ln, x), encoded.mixture
    key, value = _keys_values(attention, normed, mixture)
    if index < len(cache.past):
        past_key, past_value = cache.past[index]
        key, value = torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2)
        cache.past[index] = key, value
    else:
        cache.past.append((key, value))
    if index == len(cache.audio):
        cache.audio.append(_keys_values(block.cross_attn, encoded.states, mixture, encoded.tail))
    query = _heads(project(attention.query, normed, mixture), attention)
    new, known = x.shape[1], key.shape[2]
    # A single new token may attend to all that came before; among several, none sees those after it.
    mask = torch.ones(new, known, dtype=torch.bool, device=x.device).tril(known - new) if new > 1 else None
    x = x + project(attention.out, _attend(query, key, value, mask), mixture)
    x = _cross_attention(block, x, cache.audio[index], encoded)
    return x + _mlp(block, _norm(block.mlp_ln, x), mixture)
