"""The wrapped network, against openai-whisper's own forward pass and against each fragment alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from whisper.model import Whisper

from asr.model import network
from asr.model.features import MAX_SAMPLES
from asr.model.network import DecoderCache, DialectWhisper

# Frames of fragments in one batch: odd and even numbers, for the encoder halves them.
FRAMES = (301, 40, 167, 1, 300)


@pytest.fixture
def tight(tiny_whisper: Whisper) -> DialectWhisper:
    return DialectWhisper(tiny_whisper, window="tight", margin=0.25)


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
    assert expected.std() > 0.5 and encoded.mask is None and encoded.num_frames.tolist() == [1500, 1500]
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
        assert alone.mask is None
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
    unmasked = tight.encode(mel[:2], torch.tensor([301, 301]))
    assert unmasked.select([1]).mask is None


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
    longer = DialectWhisper(copy.deepcopy(tiny_whisper), "tight", 0.25, shortest=1.5)
    assert longer.window_samples(torch.tensor([1, 19999, 20001])).tolist() == [24000, 24000, 24001]
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
    assert len(runs) == 1 and len(gradients) == len(list(tight.parameters()))
    tight.gradient_checkpointing = True
    again, recomputed = step()
    assert len(runs) == 3, "nothing was computed again, so nothing was saved"
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
    assert (twin.window, twin.margin, twin.shortest) == ("tight", 0.25, 0.0)
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
    mask = (torch.arange(41) < torch.tensor([[41], [30]]))[:, None, None].cuda()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        network._attend(query, key, value, mask).sum().backward()
        network._attend(query, key, value, causal=True).sum().backward()
    names = [event.key for event in seen.key_averages() if "attention" in event.key]
    assert names and not any("cudnn" in name for name in names)


def test_attention_as_matrices_is_attention() -> None:
    """What a CPU learns with in bf16, against torch's own, forward and backward, with frames that are not there."""
    torch.manual_seed(0)
    mask = (torch.arange(7)[None, :] < torch.tensor([7, 3])[:, None])[:, None, None, :]
    pairs = []
    for attend in (network._multiplied, lambda q, k, v, m: functional.scaled_dot_product_attention(q, k, v, m)):
        generator = torch.Generator().manual_seed(1)
        inputs = [torch.randn(2, 4, size, 8, generator=generator).requires_grad_() for size in (5, 7, 7)]
        mixed = attend(*inputs, mask)
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
