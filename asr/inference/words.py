"""When each word was said: openai-whisper's alignment by cross-attention, on fragments of any length.

A second pass of the decoder over a text reads the attention of the heads that follow time. As in `whisper.timing`,
dynamic time warping finds the way through it; what differs is that every fragment ends where it ends, in a batch too.

Shapes: B batch, H alignment heads, S tokens, E encoder frames of 20 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from whisper.audio import TOKENS_PER_SECOND
from whisper.timing import WordTiming, dtw, median_filter, merge_punctuations
from whisper.tokenizer import Tokenizer, get_tokenizer

from asr.model.mixture import project
from asr.model.network import DialectWhisper, Encoded
from asr.text.normalizer import UNSEGMENTED
from asr.transcript import Word

# Frames of the median that takes out what one frame alone attends to, and the marks that belong to the word after
# and before them: the defaults of `whisper.timing`.
_MEDIAN = 7
_OPENING, _CLOSING = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"


@torch.inference_mode()
def word_times(
    model: DialectWhisper, encoded: Encoded, num_frames: Sequence[int], texts: Sequence[Sequence[int]], language: str
) -> list[tuple[Word, ...]]:
    """Find when the words of known texts were said; the texts may be decoded or given.

    Words are those of ``str.split``, punctuation included; in a language that is written without spaces, they are what
    the model's tokens cut it into. As Whisper has it, a word begins where the one before it ends, so that a pause
    belongs to a word.

    Args:
        model: The model that made ``encoded``.
        encoded: The encoder's output, batch of B.
        num_frames: Encoder frames of each fragment itself, at least 1; no word lies in the margin after them.
        texts: Tokens of each fragment, as the model writes them: with a space before the first word. What is no text
            among them is passed over.
        language: Whisper's language code; ignored by English-only models.
    """
    whisper = model.whisper
    tokenizer = get_tokenizer(whisper.is_multilingual, num_languages=whisper.num_languages, language=language)
    start = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
    spoken = [[token for token in text if token < tokenizer.eot] for text in texts]
    # What pads shorter texts comes after them, where no token of theirs looks.
    rows = [torch.tensor([*start, *text, tokenizer.eot]) for text in spoken]
    tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.eot).to(model.device)
    with _queries_and_keys(model, encoded) as heard:
        hidden = model.decode(tokens, encoded)
    # Where a text token is said to come next; only text counts, as in Whisper.
    first = len(tokenizer.sot_sequence)
    found: list[tuple[Word, ...]] = []
    for row, (text, frames) in enumerate(zip(spoken, num_frames, strict=True)):
        if not text:
            found.append(())
            continue
        scores = torch.stack([query[row, : len(rows[row])] @ key[row, :frames].T for query, key in heard])
        jumps = _jumps(scores.float().cpu(), first)
        logits = model.logits(hidden[row, first : first + len(text)])[:, : tokenizer.eot]
        chances = logits.softmax(dim=-1)[range(len(text)), text].cpu().numpy()
        found.append(tuple(words_of(tokenizer, text, jumps, chances)))
    return found


@contextmanager
def _queries_and_keys(model: DialectWhisper, encoded: Encoded) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect the queries [B, S, D / heads], scaled, and the keys [B, E, D / heads] of every alignment head.

    The fused attention shows no weights, but its queries come from layers that can be watched.
    """
    heard: list[tuple[Tensor, Tensor]] = []
    seen: dict[int, Tensor] = {}
    mixture = encoded.mixture
    pairs = model.whisper.alignment_heads.indices().T.tolist()
    attentions = [block.cross_attn for block in model.whisper.decoder.blocks]

    def see(number: int, layer: nn.Module, given: tuple[Tensor], output: Tensor) -> None:
        seen[number] = output if mixture is None else mixture.added(layer, *given, output)

    with ExitStack() as stack:
        for number in {number for number, _ in pairs}:
            stack.callback(attentions[number].query.register_forward_hook(partial(see, number)).remove)
        yield heard
    for number, head in pairs:
        attention = attentions[number]
        key = project(attention.key, encoded.states, mixture)
        query, key = (one.chunk(attention.n_head, dim=-1)[head] for one in (seen[number], key))
        heard.append((query * query.shape[-1] ** -0.5, key))


def _jumps(scores: Tensor, first: int) -> np.ndarray:
    """Seconds at which each text token begins, and the end token after them, from attention scores [H, S, E]."""
    weights = scores.softmax(dim=-1)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    # A frame that all tokens hear alike (there may be only one frame) says nothing.
    weights = median_filter(((weights - mean) / std).nan_to_num(0.0, 0.0, 0.0), _MEDIAN)
    text, times = dtw(-weights.mean(dim=0)[first:-1])
    begins = np.diff(text, prepend=-1) > 0
    return np.asarray(times[begins] / TOKENS_PER_SECOND)


def words_of(tokenizer: Tokenizer, text: Sequence[int], jumps: np.ndarray, chances: np.ndarray) -> Iterator[Word]:
    """Put tokens together to words; see `word_times`.

    Args:
        tokenizer: Of the text.
        text: Its tokens, none but text.
        jumps: Seconds at which each token begins, and the end token after them.
        chances: The probability of each token.
    """
    pieces, tokens = tokenizer.split_to_word_tokens([*text, tokenizer.eot])
    parts = [WordTiming(piece, list(ids), 0.0, 0.0, 0.0) for piece, ids in zip(pieces[:-1], tokens[:-1], strict=True)]
    if tokenizer.language in UNSEGMENTED:
        merge_punctuations(parts, _OPENING, _CLOSING)
    else:
        parts = _joined(parts)
    begin = 0
    for part in parts:
        end = begin + len(part.tokens)
        if word := part.word.strip():
            yield Word(word, float(jumps[begin]), float(jumps[end]), float(chances[begin:end].mean()))
        begin = end


def _joined(parts: list[WordTiming]) -> list[WordTiming]:
    """Join what no space parts: Whisper's own words leave ``l'homme`` in two, and its marks by themselves."""
    joined: list[WordTiming] = []
    for part in parts:
        if joined and not (part.word[:1].isspace() and joined[-1].word.strip()):
            joined[-1].word += part.word
            joined[-1].tokens += part.tokens
        else:
            joined.append(part)
    return joined
