"""Whisper's vocabulary as other runtimes read it, made of openai-whisper's own: no hub, no second list of tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import whisper.tokenizer
from whisper.audio import CHUNK_LENGTH, HOP_LENGTH, N_FFT, SAMPLE_RATE
from whisper.model import Whisper

from asr.errors import CheckpointError, MissingExtraError

_SAMPLES = CHUNK_LENGTH * SAMPLE_RATE


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model, and which of them are what.

    Attributes:
        tokens: What each id of plain text means, as bytes.
        specials: The ids above those, by name; the times (``<|0.00|>`` …) among them.
        languages: Ids of the languages, by code.
        suppressed: Ids that are never written: Whisper's signs that are not speech, and what starts a transcript.
        suppressed_first: Ids that no transcript begins with: a space alone, and the end.
        tokenizer: openai-whisper's.
    """

    tokens: tuple[bytes, ...]
    specials: dict[str, int]
    languages: dict[str, int]
    suppressed: tuple[int, ...]
    suppressed_first: tuple[int, ...]
    tokenizer: whisper.tokenizer.Tokenizer

    @property
    def strings(self) -> list[str]:
        """Every token in the order of ids, as GPT-2 spells bytes: a letter for each."""
        spelt = _letters()
        return ["".join(spelt[byte] for byte in token) for token in self.tokens] + list(self.specials)


def vocabulary_of(model: Whisper) -> Vocabulary:
    """Return the vocabulary of a model.

    Raises:
        CheckpointError: It has another number of tokens than Whisper's vocabularies.
    """
    tokenizer = whisper.tokenizer.get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
    encoding = tokenizer.encoding
    if encoding.n_vocab != model.dims.n_vocab:
        raise CheckpointError(
            f"the model has {model.dims.n_vocab} tokens, and Whisper's vocabulary for it {encoding.n_vocab}; only "
            "models with the vocabulary of openai-whisper can be exported"
        )
    specials = dict(sorted(tokenizer.special_tokens.items(), key=lambda item: item[1]))
    starts = (
        tokenizer.transcribe,
        tokenizer.translate,
        tokenizer.sot,
        tokenizer.sot_prev,
        tokenizer.sot_lm,
        tokenizer.no_speech,
    )
    return Vocabulary(
        tokens=tuple(encoding.decode_single_token_bytes(number) for number in range(min(specials.values()))),
        specials=specials,
        languages={tokenizer.decode([number])[2:-2]: number for number in sorted(tokenizer.all_language_tokens)},
        suppressed=tuple(sorted({*tokenizer.non_speech_tokens, *starts})),
        suppressed_first=(*tokenizer.encode(" "), tokenizer.eot),
        tokenizer=tokenizer,
    )


def write_tokenizer(vocabulary: Vocabulary, folder: Path) -> None:
    """Write ``tokenizer.json``, which the ``tokenizers`` library reads.

    Raises:
        MissingExtraError: ``tokenizers`` is not installed.
    """
    try:
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    except ImportError as error:
        raise missing("tokenizers", "write the vocabulary for other runtimes") from error
    strings = vocabulary.strings
    ids = {token: number for number, token in enumerate(strings[: len(vocabulary.tokens)])}
    model = models.BPE(ids, _merges(vocabulary.tokens), fuse_unk=False)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    times = vocabulary.specials["<|notimestamps|>"]
    # Times are no special tokens: transformers finds the first of them behind the last special one.
    tokenizer.add_tokens(
        [AddedToken(name, normalized=False, special=number <= times) for name, number in vocabulary.specials.items()]
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)


def write_preprocessor(model: Whisper, folder: Path) -> None:
    """Write ``preprocessor_config.json``: how the features are made, for faster-whisper and transformers."""
    write_json(
        {
            "chunk_length": CHUNK_LENGTH,
            "dither": 0.0,
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": model.dims.n_mels,
            "hop_length": HOP_LENGTH,
            "n_fft": N_FFT,
            "n_samples": _SAMPLES,
            "nb_max_frames": _SAMPLES // HOP_LENGTH,
            "padding_side": "right",
            "padding_value": 0.0,
            "processor_class": "WhisperProcessor",
            "return_attention_mask": False,
            "sampling_rate": SAMPLE_RATE,
        },
        folder / "preprocessor_config.json",
    )


def write_json(content: dict[str, object], path: Path) -> None:
    """Write a file of settings."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", "utf-8")


def missing(package: str, what: str) -> MissingExtraError:
    """Return the error that says how a package comes."""
    return MissingExtraError(f"to {what}, {package} is needed: pip install 'dialect-asr[export]'")


def _merges(tokens: tuple[bytes, ...]) -> list[tuple[str, str]]:
    """Every way to make a token of two, in the order in which tiktoken makes tokens."""
    spelt, ranks = _letters(), {token: rank for rank, token in enumerate(tokens)}

    def spell(token: bytes) -> str:
        return "".join(spelt[byte] for byte in token)

    merges = []
    for token in tokens:
        pairs = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [pair for pair in pairs if pair[0] in ranks and pair[1] in ranks]
        merges += [
            (spell(left), spell(right))
            for left, right in sorted(known, key=lambda pair: [ranks[part] for part in pair])
        ]
    return merges


def _letters() -> list[str]:
    """The letter for every byte: itself where it can be seen, and else one from 256 on (GPT-2's rule)."""
    seen = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in seen else chr(next(others)) for byte in range(256)]
