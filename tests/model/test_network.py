"""The wrapped network, against openai-whisper's own forward pass and against each fragment alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from whisper.model import MultiHeadAttention, Whisper

from asr.model import network
from asr.model.features import MAX_SAMPLES
from asr.model.network import DecoderCache, DialectWhisper

# Frames of fragments in one batch: odd and even numbers, for the encoder halves them.
FRAMES = (301, 40, 167, 1, 300)


@pytest.fixture(params=[0, 60], ids=["no-tail", "tail"])
def tight(tiny_whisper: Whisper, request: pytest.FixtureRequest) -> DialectWhisper:
    return DialectWhisper(tiny_whisper, window="tight", margin=0.25, tail=request.param)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mixed_batch() -> tuple[Tensor, Tensor]:
    mel = random(len(FRAMES), 80, max(FRAMES))
    for row, frames in enumerate(FRAMES):
        mel[row, :, frames:] = 0
    return mel, torch.tensor(FRAMES)


def token_batch(rows: int, length: int) -> Tensor:
    return torch.randint(51865, (rows, length), generator=torch.Generator().manual_seed(1))


def hear(model: DialectWhisper, mel: Tensor, num_frames: Tensor, tokens: Tensor) -> Tensor:
    return model.logits(model.decode(tokens, model.encode(mel, num_frames)))


# ---------------------------------------------------------------------------------------------------------------- stock


@torch.no_grad()
def test_a_padded_window_is_stock_whisper(tiny_whisper: Whisper) -> None:
    model = DialectWhisper(tiny_whisper)
    mel, tokens = random(2, 80, 3000), token_batch(2, 9)
    encoded = model.encode(mel, torch.tensor([3000, 3000]))
    expected = tiny_whisper.encoder(mel)
    assert expected.std() > 0.5 and encoded.num_frames.tolist() == [1500, 1500]
    assert encoded.bias is None and encoded.tail is None
    torch.testing.assert_close(encoded.states, expected, rtol=0, atol=1e-5)
    logits = model.logits(model.decode(tokens, encoded))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, tiny_whisper.decoder(tokens, expected), rtol=0, atol=1e-4)


def test_a_padded_window_has_stock_whispers_gradients(tiny_whisper: Whisper) -> None:
    mel, tokens = random(1, 80, 3000), token_batch(1, 9)
    stock = copy.deepcopy(tiny_whisper)
    stock(mel, tokens).square().mean().backward()
    hear(DialectWhisper(tiny_whisper), mel, torch.tensor([3000]), tokens).square().mean().backward()
    for (name, mine), theirs in zip(tiny_whisper.named_parameters(), stock.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None, name
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-6, msg=name)


# ---------------------------------------------------------------------------------------------------------- mixed batch


@torch.no_grad()
def test_a_fragment_sounds_the_same_alone_and_in_a_batch(tight: DialectWhisper) -> None:
    mel, num_frames = mixed_batch()
    encoded = tight.encode(mel, num_frames)
    assert encoded.num_frames.tolist() == [151, 20, 84, 1, 150]
    tokens = token_batch(len(FRAMES), 6)
    hidden = tight.decode(tokens, encoded)
    for row, frames in enumerate(FRAMES):
        alone = tight.encode(mel[row : row + 1, :, :frames], num_frames[row : row + 1])
        assert (alone.bias is None) == (alone.tail is None) == (tight.tail == 0)
        states = encoded.states[row, : alone.states.shape[1]]
        torch.testing.assert_close(states, alone.states[0], rtol=0, atol=1e-5)
        assert not encoded.states[row, alone.states.shape[1] :].any()
        mine = tight.decode(tokens[row : row + 1], alone)
        torch.testing.assert_close(hidden[row], mine[0], rtol=0, atol=1e-5)


def test_neighbours_get_no_gradient_from_a_fragment(tight: DialectWhisper) -> None:
    mel, num_frames = mixed_batch()
    mel.requires_grad_()
    hear(tight, mel, num_frames, token_batch(len(FRAMES), 6))[2].square().mean().backward()
    assert mel.grad is not None and mel.grad.isfinite().all()
    heard = mel.grad.abs().amax(dim=1) > 0
    assert heard[2, : FRAMES[2]].all() and not heard[[0, 1, 3, 4]].any()


def test_a_batch_teaches_the_encoder_what_its_fragments_teach_alone(tight: DialectWhisper) -> None:
    mel, num_frames = mixed_batch()
    encoder = tight.whisper.encoder

    def gradients(*passes: tuple[Tensor, Tensor]) -> list[Tensor]:
        tight.zero_grad()
        for one in passes:
            encoded = tight.encode(*one)
            # Only the fragments' own frames count; what lies between them is nobody's.
            own = torch.arange(encoded.states.shape[1])[None] < encoded.num_frames[:, None]
            encoded.states[own].pow(3).sum().backward()
        return [parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None]

    together = gradients((mel, num_frames))
    alone = gradients(*((mel[row : row + 1], num_frames[row : row + 1]) for row in range(len(FRAMES))))
    assert len(together) == len(list(encoder.parameters()))
    for mine, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


@torch.no_grad()
def test_more_padding_than_the_longest_needs_changes_nothing(tight: DialectWhisper) -> None:
    mel, num_frames = mixed_batch()
    expected = tight.encode(mel, num_frames)
    wider = tight.encode(functional.pad(mel, (0, 55)), num_frames)
    assert torch.equal(wider.states, expected.states)
    even = tight.encode(functional.pad(mel[:1], (0, 55)), num_frames[:1])
    torch.testing.assert_close(even.states[0], expected.states[0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_chosen_rows_of_a_batch(tight: DialectWhisper) -> None:
    mel, num_frames = mixed_batch()
    tokens = token_batch(len(FRAMES), 6)
    encoded = tight.encode(mel, num_frames)
    rows = [4, 1]
    chosen = encoded.select(rows)
    assert chosen.num_frames.tolist() == [150, 20]
    expected = tight.decode(tokens, encoded)[rows]
    torch.testing.assert_close(tight.decode(tokens[rows], chosen), expected, rtol=0, atol=1e-5)
    if not tight.tail:
        assert tight.encode(mel[:2], torch.tensor([301, 301])).select([1]).bias is None


# ----------------------------------------------------------------------------------------------------------------- tail


def quiet_states(whisper: Whisper) -> Tensor:
    """What the convolutions make of silence in all of 30 s, [1500, D], without what they hear of its ends."""
    silence = torch.full((1, 80, 3000 + 16), network._SILENT)
    x = functional.gelu(whisper.encoder.conv2(functional.gelu(whisper.encoder.conv1(silence))))
    return x[0, :, 4:-4].T + whisper.encoder.positional_embedding


def heard_with_silence_in_full(whisper: Whisper, mel: Tensor, tail: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The brute-force twin: one fragment [1, F, T], every frame of silence as often as it counts, and a mask."""
    encoder, decoder = whisper.encoder, whisper.decoder
    length, each = (mel.shape[2] + 1) // 2, 1500 // tail
    places = torch.arange(each // 2, 1500, each)
    around = torch.full((1, 80, 3000), network._SILENT)
    around[:, :, : mel.shape[2]] = mel
    own = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(around))))[0].T
    own = (own + encoder.positional_embedding)[:length]
    x = torch.cat((own, quiet_states(whisper)[places].repeat_interleave(each, 0)))[None]
    is_own = torch.arange(x.shape[1]) < length
    after = torch.cat((torch.zeros(length, dtype=torch.bool), (places >= length).repeat_interleave(each)))
    # The fragment hears itself and the silence after it; silence hears all silence.
    allowed = torch.where(is_own[:, None], is_own | after, ~is_own[None])

    def attend(attention: MultiHeadAttention, x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        query, key, value = attention.query(x), attention.key(other), attention.value(other)
        query, key, value = (one.unflatten(2, (attention.n_head, -1)).transpose(1, 2) for one in (query, key, value))
        scores = (query @ key.transpose(2, 3) / query.shape[3] ** 0.5).masked_fill(~mask, -torch.inf)
        return attention.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))

    for block in encoder.blocks:
        normed = block.attn_ln(x)
        x = x + attend(block.attn, normed, normed, allowed)
        x = x + block.mlp(block.mlp_ln(x))
    states = encoder.ln_post(x)
    # The decoder is told each once.
    told = (is_own | after) & (is_own | ((torch.arange(x.shape[1]) - length) % each == 0))
    causal = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).tril()
    y = decoder.token_embedding(tokens) + decoder.positional_embedding[: tokens.shape[1]]
    for block in decoder.blocks:
        normed = block.attn_ln(y)
        y = y + attend(block.attn, normed, normed, causal)
        y = y + attend(block.cross_attn, block.cross_attn_ln(y), states, told)
        y = y + block.mlp(block.mlp_ln(y))
    return states[:, :length], decoder.ln(y)


@torch.no_grad()
@pytest.mark.parametrize("tail", [60, 100, 1500])
def test_a_tail_is_as_much_silence_as_follows(tail: int, tiny_whisper: Whisper) -> None:
    model = DialectWhisper(tiny_whisper, window="tight", tail=tail)
    mel, num_frames = mixed_batch()
    tokens = token_batch(len(FRAMES), 6)
    encoded = model.encode(mel, num_frames)
    hidden = model.decode(tokens, encoded)
    assert encoded.tail is not None and encoded.tail.shape == (1, tail, tiny_whisper.dims.n_audio_state)
    without = DialectWhisper(copy.deepcopy(tiny_whisper), window="tight", tail=0).encode(mel, num_frames)
    for row, frames in enumerate(FRAMES):
        one = slice(row, row + 1)
        states, expected = heard_with_silence_in_full(tiny_whisper, mel[one, :, :frames], tail, tokens[one])
        torch.testing.assert_close(encoded.states[one, : states.shape[1]], states, rtol=0, atol=2e-5)
        torch.testing.assert_close(hidden[one], expected, rtol=0, atol=5e-5)
        assert (without.states[one, : states.shape[1]] - states).abs().max() > 0.01


@torch.no_grad()
def test_silence_is_heard_once_for_many_batches(tight: DialectWhisper) -> None:
    mel, num_frames = mixed_batch()
    silence = tight.silence()
    assert (silence is None) == (tight.tail == 0)
    for rows in ([0, 1, 2, 3, 4], [2]):
        batch = mel[rows, :, : max(num_frames[rows])], num_frames[rows]
        anew, kept = tight.encode(*batch), tight.encode(*batch, silence=silence)
        assert torch.equal(kept.states, anew.states)
        assert torch.equal(tight.decode(token_batch(len(rows), 6), kept), tight.decode(token_batch(len(rows), 6), anew))
    tight.window = "padded"
    assert tight.silence() is None


@torch.no_grad()
def test_what_fills_the_window_has_no_tail(tiny_whisper: Whisper) -> None:
    model = DialectWhisper(tiny_whisper, window="tight", tail=60)
    mel, tokens = random(2, 80, 3000), token_batch(2, 9)
    encoded = model.encode(mel, torch.tensor([3000, 3000]))
    # But for its last frame, behind which stock Whisper hears zeros, it is stock Whisper's.
    expected = tiny_whisper.encoder(mel)
    assert functional.cosine_similarity(encoded.states, expected, dim=-1).min() > 0.99
    assert encoded.bias is not None and encoded.bias[..., 1500:].isneginf().all()
    assert model.decode(tokens, encoded).isfinite().all()
    model.window = "padded"
    padded = model.encode(mel, torch.tensor([3000, 3000]))
    assert padded.tail is None
    torch.testing.assert_close(padded.states, expected, rtol=0, atol=1e-5)


# --------------------------------------------------------------------------------------------------------------- limits


def test_more_than_thirty_seconds(tight: DialectWhisper) -> None:
    with pytest.raises(ValueError, match=r"hears at most 30 s at once, got 30\.1 s"):
        tight.encode(random(1, 80, 3006), torch.tensor([3006]))


def test_an_empty_fragment(tight: DialectWhisper) -> None:
    with pytest.raises(ValueError, match="is empty"):
        tight.encode(random(2, 80, 10), torch.tensor([10, 0]))


def test_windows(tiny_whisper: Whisper, tight: DialectWhisper) -> None:
    num_samples = torch.tensor([16000, MAX_SAMPLES - 1, MAX_SAMPLES + 1])
    assert tight.window_samples(num_samples).tolist() == [20000, MAX_SAMPLES, MAX_SAMPLES]
    margin = torch.tensor([100, 0, 0])
    assert tight.window_samples(num_samples, margin).tolist() == [16100, MAX_SAMPLES - 1, MAX_SAMPLES]
    padded = DialectWhisper(tiny_whisper)
    assert padded.window_samples(num_samples).tolist() == [MAX_SAMPLES] * 3
    audio, lengths = random(2, 16000), torch.tensor([16000, 8000])
    mel, frames = padded.features(audio, lengths)
    assert mel.shape == (2, 80, 3000) and frames.tolist() == [3000, 3000]
    mel, frames = tight.features(audio, tight.window_samples(lengths))
    assert mel.shape == (2, 80, 125) and frames.tolist() == [125, 75]


# ---------------------------------------------------------------------------------------------------------------- cache


@torch.no_grad()
@pytest.mark.parametrize("steps", [(4, 1, 1, 1, 1), (1,) * 8, (3, 2, 1, 2), (8,)])
def test_a_cache_changes_nothing(steps: tuple[int, ...], tight: DialectWhisper) -> None:
    mel, num_frames = mixed_batch()
    encoded = tight.encode(mel, num_frames)
    tokens = token_batch(len(FRAMES), 8)
    cache, parts = DecoderCache(), []
    for step in steps:
        assert cache.length == sum(part.shape[1] for part in parts)
        parts.append(tight.decode(tokens[:, cache.length : cache.length + step], encoded, cache))
    torch.testing.assert_close(torch.cat(parts, dim=1), tight.decode(tokens, encoded), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_cache_follows_the_beams_that_are_kept(tight: DialectWhisper) -> None:
    # Two beams of each of two fragments; they swap in the first, and one replaces the other in the second.
    mel, num_frames = mixed_batch()
    audio = tight.encode(mel[:2], num_frames[:2]).select([0, 0, 1, 1])
    tokens, kept = token_batch(4, 6), torch.tensor([1, 0, 3, 3])
    cache = DecoderCache()
    tight.decode(tokens[:, :5], audio, cache)
    cache.select_past(kept)
    step = tight.decode(tokens[:, 5:], audio, cache)
    expected = tight.decode(torch.cat([tokens[kept, :5], tokens[:, 5:]], dim=1), audio)
    torch.testing.assert_close(step, expected[:, 5:], rtol=0, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------- training


def test_gradient_checkpointing_changes_nothing(tight: DialectWhisper) -> None:
    mel, num_frames = mixed_batch()
    tokens = token_batch(len(FRAMES), 6)

    def step() -> tuple[Tensor, list[Tensor]]:
        tight.zero_grad()
        loss = hear(tight, mel, num_frames, tokens).square().mean()
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in tight.parameters() if p.grad is not None]

    runs: list[object] = []
    tight.whisper.encoder.blocks[0].mlp[0].register_forward_hook(lambda *_: runs.append(None))
    loss, gradients = step()
    passes = 2 if tight.tail else 1
    assert len(runs) == passes and len(gradients) == len(list(tight.parameters()))
    tight.gradient_checkpointing = True
    again, recomputed = step()
    assert len(runs) == 2 * passes + 1, "nothing was computed again, so nothing was saved"
    assert torch.equal(again, loss)
    for one, other in zip(gradients, recomputed, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-8)


def test_a_copy_while_training_goes_on(tight: DialectWhisper) -> None:
    mel, num_frames = mixed_batch()
    tokens = token_batch(len(FRAMES), 6)
    heads = torch.tensor([[False, True], [True, False]])
    tight.whisper.alignment_heads = heads.to_sparse()
    hear(tight, mel, num_frames, tokens).square().mean().backward()
    twin = copy.deepcopy(tight)
    assert (twin.window, twin.margin, twin.tail) == ("tight", 0.25, tight.tail)
    assert torch.equal(twin.whisper.alignment_heads.to_dense(), heads)
    before = hear(twin, mel, num_frames, tokens)
    torch.optim.SGD(tight.parameters(), lr=1.0).step()
    assert torch.equal(hear(twin, mel, num_frames, tokens), before)
    assert not torch.equal(hear(tight, mel, num_frames, tokens), before)


def test_no_buffer_is_sparse(tight: DialectWhisper) -> None:
    # DDP broadcasts every buffer, and gives up on a sparse one: "No support for sparse tensors".
    assert not any(buffer.is_sparse for buffer in tight.buffers())
    assert tight.whisper.alignment_heads.indices().T.tolist() == [[1, 0], [1, 1]]


def test_state_dicts_are_those_of_stock_whisper(tiny_whisper: Whisper) -> None:
    names = list(tiny_whisper.state_dict())
    model = DialectWhisper(tiny_whisper)
    assert list(model.whisper.state_dict()) == names
    Whisper(tiny_whisper.dims).load_state_dict(model.whisper.state_dict())


@torch.no_grad()
def test_half_precision_decodes_what_it_encoded(tight: DialectWhisper) -> None:
    mel, num_frames = mixed_batch()
    tokens = token_batch(len(FRAMES), 6)
    expected = hear(tight, mel, num_frames, tokens)
    with torch.autocast("cpu", torch.bfloat16):
        encoded = tight.encode(mel, num_frames)
        logits = tight.logits(tight.decode(tokens, encoded))
    assert encoded.states.dtype == torch.bfloat16 and logits.dtype == torch.float32
    assert functional.cosine_similarity(logits.flatten(), expected.flatten(), 0) > 0.99


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_attention_on_a_gpu_is_not_planned_for_every_length() -> None:
    query, key, value = (random(2, 8, 41, 64, seed=seed).cuda().bfloat16().requires_grad_() for seed in range(3))
    bias = torch.zeros(2, 1, 1, 41, dtype=torch.bfloat16).cuda()
    bias[1, ..., 30:] = -torch.inf
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        network._attend(query, key, value, bias).sum().backward()
        network._attend(query, key, value, causal=True).sum().backward()
    names = [event.key for event in seen.key_averages() if "attention" in event.key]
    assert names and not any("cudnn" in name for name in names)


def test_attention_as_matrices_is_attention() -> None:
    """What a CPU learns with in bf16, against torch's own, forward and backward; some frames count more or not."""
    torch.manual_seed(0)
    bias = torch.full((2, 1, 1, 7), 3.2)
    bias[0, ..., :4], bias[1, ..., 3:] = 0, -torch.inf
    pairs = []
    for attend in (network._multiplied, lambda q, k, v, m: functional.scaled_dot_product_attention(q, k, v, m)):
        generator = torch.Generator().manual_seed(1)
        inputs = [torch.randn(2, 4, size, 8, generator=generator).requires_grad_() for size in (5, 7, 7)]
        mixed = attend(*inputs, bias)
        mixed.square().sum().backward()
        pairs.append([mixed, *(tensor.grad for tensor in inputs)])
    for one, two in zip(*pairs, strict=True):
        torch.testing.assert_close(one, two)
    short = torch.zeros(1, 1, 4, 8, dtype=torch.bfloat16, requires_grad=True)
    assert network._multiplies_faster(short, short, causal=False)
    assert not network._multiplies_faster(short, short, causal=True)
    assert not network._multiplies_faster(short.detach(), short, causal=False)
    assert not network._multiplies_faster(short, short.expand(1, 1, 4, 8).repeat(1, 1, 200, 1), causal=False)


def test_bf16_gives_the_gradient_of_float32(tiny_whisper: Whisper) -> None:
    model = DialectWhisper(tiny_whisper, "tight")
    torch.manual_seed(0)
    mel, frames = torch.randn(2, 80, 60), torch.tensor([60, 41])
    gradients = []
    for bf16 in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            model.encode(mel, frames).states.float().square().mean().backward()
        gradients.append(model.whisper.encoder.blocks[0].attn.query.weight.grad.clone())
    assert torch.nn.functional.cosine_similarity(*(grad.flatten() for grad in gradients), dim=0) > 0.99
