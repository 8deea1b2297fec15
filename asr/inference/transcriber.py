"""`Transcriber`: recordings, fragments or samples in, transcripts out, in batches and in order.

Shapes: B batch, N samples.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit
from whisper.decoding import DecodingResult
from whisper.tokenizer import get_tokenizer

from asr.audio import SAMPLE_RATE, load_audio, probe
from asr.corpus.dialects import goes_with, implied_language, tag_fault
from asr.errors import AsrError, AudioError, ConfigError, ManifestError
from asr.expressions import Lexicon, read_lexicon
from asr.fragment import Fragment
from asr.inference.batches import BATCH_SECONDS, WORKERS, Pool, in_order, read_ahead
from asr.inference.bias import ExpressionBias
from asr.inference.decoding import DecodeOptions, decode, detect_language
from asr.inference.heads import NOTHING, Answer, answers
from asr.inference.punctuation import has_words, punctuated, question_log_odds
from asr.inference.understanding import Understanding, understand
from asr.inference.words import word_times
from asr.intent.model import IntentModel
from asr.model.checkpoint import Checkpoint, load_checkpoint
from asr.model.features import MAX_SAMPLES
from asr.model.heads import HEAD_NAMES, HeadName, HeadSpec
from asr.model.network import Encoded
from asr.prosody import CONTOUR, FRAME_RATE, emphasised, final_contour, prominence, track
from asr.transcript import Punctuation, Segment, Transcript, Word

Samples = npt.NDArray[np.float32]
# What can be transcribed: a recording's path, a fragment, or mono samples at 16 kHz.
Audio = str | Path | Fragment | Samples

# All else that `DecodeOptions.tag` can be is a tag.
_TAG_MODES = ("auto", "given", "never")
_MAX_SECONDS = MAX_SAMPLES // SAMPLE_RATE
# The contour of a clip that no head hears.
_UNHEARD = np.full(CONTOUR, np.nan, np.float32)
# Batches that are read ahead, to choose those of like length from.
_POOLED_BATCHES = 8


@dataclass(frozen=True, slots=True)
class _Clip:
    """One item, loaded: samples float32 [N], with the pitch at its end where heads ask; no language: to be detected."""

    number: int
    id: str
    samples: Samples
    language: str | None
    dialect: str | None
    contour: Samples = field(default_factory=lambda: _UNHEARD)


class Transcriber:
    """Turns recordings of at most 30 s into transcripts.

    Args:
        checkpoint: A loaded checkpoint, or what `load_checkpoint` takes: a ``.pt`` file, or a base model's name.
        device: ``cpu``, ``cuda``, ``cuda:1`` …; ``auto`` is the first GPU if there is one, and where its weights
            already are for a loaded checkpoint. Another device moves a loaded checkpoint's model.
        batch_seconds: Most seconds of encoder window decoded at once: 30 per item in a padded window, the item's own
            length and the margin in a tight one.
        options: How text is searched for; greedily when None.
        workers: Threads that load audio.
        lexicon: A dialect's expressions, or the file of them: the search is led to them (``options.bias``), and the
            transcripts of that dialect, or of its language where no dialect is known, are annotated with them.
        words: Whether to tell when each word was said, and which ones the voice lifts: one more pass of the decoder.

    Attributes:
        checkpoint: The loaded checkpoint.
        languages: The codes of the languages that the model knows.
        lexicon: The loaded lexicon, or None.
        heads: What is told beside the text, and how each of these is.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
        WeightsError: The base model is found nowhere.
        ManifestError: The lexicon cannot be read; a broken line is named.
        ConfigError: The device, ``batch_seconds`` or ``workers`` cannot work, the model does not know the lexicon's
            language, or was not taught the tag that is to be told of everything.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | str | Path,
        *,
        device: str = "auto",
        batch_seconds: float = BATCH_SECONDS,
        options: DecodeOptions | None = None,
        workers: int = WORKERS,
        lexicon: Lexicon | str | Path | None = None,
        words: bool = False,
    ) -> None:
        if not 0 < batch_seconds < float("inf"):
            raise ConfigError(f"batch_seconds must be a number of seconds above 0, found {batch_seconds}")
        if workers < 1:
            raise ConfigError(f"workers must be 1 or more, found {workers}")
        self.batch_seconds = batch_seconds
        self.options = options or DecodeOptions()
        self.workers = workers
        self.words = words
        # Before the model, which takes longer.
        self.lexicon = lexicon if lexicon is None or isinstance(lexicon, Lexicon) else read_lexicon(lexicon)
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = load_checkpoint(checkpoint, _find_device(device))
        elif device != "auto":
            checkpoint.model.to(_find_device(device))
        self.checkpoint = checkpoint
        self._model = checkpoint.model
        # BCP 47 tags are the same in any case.
        self._tags = {tag.lower(): tag for tag in checkpoint.info.tags}
        if self.options.tag not in _TAG_MODES and self.options.tag.lower() not in self._tags:
            taught = f"it was taught {', '.join(checkpoint.info.tags)}" if self._tags else "it was taught none"
            raise ConfigError(
                f"tag {self.options.tag!r} cannot be told: the checkpoint was not taught it ({taught}); choose "
                f"{', '.join(_TAG_MODES)} or one of those, or train with data.tags above 0"
            )
        whisper = self._model.whisper
        self.languages: tuple[str, ...] = ("en",)
        if whisper.is_multilingual:
            self.languages = get_tokenizer(True, num_languages=whisper.num_languages).all_language_codes
        self.heads: dict[HeadName, HeadSpec] = {
            name: self._model.head(name).spec for name in HEAD_NAMES if name in self._model.heads
        }
        self._bias: ExpressionBias | None = None
        if self.lexicon is not None:
            self._check(None, self.lexicon.dialect)
            if self.options.bias:
                tokenizer = get_tokenizer(whisper.is_multilingual, num_languages=whisper.num_languages)
                self._bias = ExpressionBias(self.lexicon.leads, tokenizer, self.options.bias)

    def transcribe(self, audio: Audio, *, language: str | None = None, dialect: str | None = None) -> Transcript:
        """Transcribe one recording, fragment or array.

        Args:
            audio: A recording's path, a fragment, or samples float32 [N] at 16 kHz.
            language: Whisper's code; by default the fragment's own, or else what the model detects.
            dialect: BCP 47 tag; by default the fragment's own. Without a language it implies its own language, if
                the model knows that.

        Raises:
            AudioError: The audio cannot be read, is no float32 [N], holds NaN, is empty or longer than 30 s.
            ManifestError: The fragment's language is none that the model knows.
            ConfigError: The language or the dialect is not known, or they do not go together.
        """
        (result,) = self.transcribe_many([audio], language=language, dialect=dialect)
        if isinstance(result, AsrError):
            raise result
        return result

    def understand(
        self, audio: Audio, intent_model: IntentModel, *, language: str | None = None, dialect: str | None = None
    ) -> Understanding:
        """Transcribe one recording, fragment or array, and tell what it asks for.

        Args:
            audio: See `transcribe`.
            intent_model: What `asr.intent.model.load_intent_model` reads.
            language: See `transcribe`.
            dialect: See `transcribe`.

        Raises:
            AsrError: As of `transcribe`.
        """
        transcript = self.transcribe(audio, language=language, dialect=dialect)
        return understand(transcript, intent_model, audio if isinstance(audio, Fragment) else None)

    def transcribe_many(
        self, items: Iterable[Audio | AsrError], *, language: str | None = None, dialect: str | None = None
    ) -> Generator[Transcript | AsrError, None, None]:
        """Transcribe a stream; results come in its order, and memory does not grow with its length.

        Some batches are read ahead, so that clips of like length can be decoded together; closing the generator ends
        that.

        Args:
            items: As for `transcribe`. An error among them is passed on in its place, so that the broken lines of
                `asr.fragment.read_numbered` need not be taken out.
            language: Of all items; see `transcribe`.
            dialect: Of all items; see `transcribe`.

        Returns:
            One transcript per item, or the error that says why there is none; the rest goes on.

        Raises:
            ConfigError: The language or the dialect is not known, or they do not go together.
            AsrError: While iterating: the device's memory is too small for a batch.
        """
        self._check(language, dialect)
        if language is None and dialect is not None:
            implied = implied_language(dialect)
            language = implied if implied in self.languages else None
        return in_order(self._results(items, language, dialect))

    def _check(self, language: str | None, dialect: str | None) -> None:
        if language is not None and language not in self.languages:
            raise ConfigError(
                f"language {language!r} is none that the model knows; it knows {', '.join(self.languages)}"
            )
        if dialect is None:
            return
        if fault := tag_fault(dialect):
            raise ConfigError(f"dialect {dialect!r} is no BCP 47 tag such as 'fr-CA' or 'en-GB-x-cumbria': {fault}")
        if language is not None and not goes_with(dialect, language):
            raise ConfigError(f"dialect {dialect!r} does not go with language {language!r}; leave one of them out")
        if not any(goes_with(dialect, known) for known in self.languages):
            raise ConfigError(f"dialect {dialect!r} goes with no language that the model knows; take another model")

    def _results(
        self, items: Iterable[Audio | AsrError], language: str | None, dialect: str | None
    ) -> Iterator[tuple[int, Transcript | AsrError]]:
        """Yield results with the number of their item, in the order in which they are ready."""

        def load(numbered: tuple[int, Audio | AsrError]) -> tuple[int, _Clip | AsrError]:
            number, item = numbered
            try:
                clip = self._load(number, item, language, dialect)
                # Here, in the thread that loads: it costs as much as a tenth of the encoder.
                return number, replace(clip, contour=final_contour(clip.samples)) if self.heads else clip
            except AsrError as error:
                return number, error

        batch = round(self.batch_seconds * SAMPLE_RATE)
        pool: Pool[_Clip] = Pool(batch, _POOLED_BATCHES * batch)
        # Whatever their length, clips that are being read take no more memory than those in the pool may.
        depth = max(2 * self.workers, _POOLED_BATCHES * batch // MAX_SAMPLES)
        for number, clip in read_ahead(load, enumerate(items), workers=self.workers, depth=depth):
            if isinstance(clip, AsrError):
                yield number, clip
                continue
            length = self._model.window_samples(torch.tensor(len(clip.samples)))
            pool.add(clip, int(length))
            if pool.full:
                yield from self._hear(pool.draw())
        while pool:
            yield from self._hear(pool.draw())

    def _load(self, number: int, item: Audio | AsrError, language: str | None, dialect: str | None) -> _Clip:
        if isinstance(item, AsrError):
            raise item
        if isinstance(item, np.ndarray):
            return _Clip(number, "", _checked(item), language, dialect)
        if not isinstance(item, Fragment):
            # A file's name may be bytes that are no UTF-8; a transcript must be writable.
            name = Path(item).name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            return _Clip(number, name, _read(item, 0.0, None), language, dialect)
        language = language or item.language
        if language not in self.languages:
            raise ManifestError(
                f"fragment {item.id!r} is in {language!r}, which the model does not know; give the language it is "
                "to be heard as, or take a model that knows it"
            )
        samples = _read(item.audio, item.start, item.duration)
        return _Clip(number, item.id, samples, language, dialect or item.dialect)

    def _hear(self, clips: list[_Clip]) -> list[tuple[int, Transcript]]:
        """Transcribe a batch: one encoder pass, one search per language, dialect told, and lexicon or none."""
        # Half precision is for the GPU; on a CPU it would be slower.
        precision = torch.autocast("cuda", torch.float16, enabled=self._model.device.type == "cuda")
        heard = []
        try:
            with torch.inference_mode(), precision:
                encoded = self._encode(clips)
                languages = self._languages(clips, encoded)
                told = self._ask_heads(clips, encoded, languages)
                kinds = [
                    (language, self._serves(language, clip), self._tag(clip, answered))
                    for language, clip, answered in zip(languages, clips, told, strict=True)
                ]
                for kind in sorted(set(kinds)):
                    language, serves, tag = kind
                    rows = [row for row, found in enumerate(kinds) if found == kind]
                    bias, lexicon = (self._bias, self.lexicon) if serves else (None, None)
                    part, chosen = encoded.select(rows), [clips[row] for row in rows]
                    results = decode(self._model, part, language, self.options, bias, tag)
                    answered = [
                        told[row] if has_words(result.text) else dict.fromkeys(told[row], NOTHING)
                        for row, result in zip(rows, results, strict=True)
                    ]
                    marks = self._punctuate(part, results, answered, language)
                    words = self._words(chosen, part, language, results)
                    heard += [
                        _transcript(*of, lexicon) for of in zip(chosen, results, answered, marks, words, strict=True)
                    ]
        except torch.OutOfMemoryError as error:
            raise AsrError(
                f"{self._model.device} has too little memory to decode {self.batch_seconds:g} s at once; choose a "
                "smaller batch_seconds or beam"
            ) from error
        return heard

    def _words(
        self, clips: list[_Clip], encoded: Encoded, language: str, results: list[DecodingResult]
    ) -> list[tuple[Word, ...]]:
        """The words of each clip, with what the voice does on them; none where they are not wanted."""
        if not self.words:
            return [()] * len(clips)
        # Whole frames: what follows the last one may be the margin.
        frames = [max(1, len(clip.samples) * FRAME_RATE // SAMPLE_RATE) for clip in clips]
        found = word_times(self._model, encoded, frames, [result.tokens for result in results], language)
        return [_weighed(words, clip.samples) for words, clip in zip(found, clips, strict=True)]

    def _ask_heads(self, clips: list[_Clip], encoded: Encoded, languages: list[str]) -> list[dict[HeadName, Answer]]:
        """What every head of the model says of each clip."""
        told: list[dict[HeadName, Answer]] = [{} for _ in clips]
        num_samples = torch.tensor([len(clip.samples) for clip in clips], device=self._model.device)
        contours = torch.from_numpy(np.stack([clip.contour for clip in clips])).to(self._model.device)
        dialects = [clip.dialect for clip in clips]
        # The dialect first: what a tune means is learnt per dialect.
        for name in self.heads:
            found = answers(self._model, name, encoded, num_samples, languages, dialects, contours)
            for answered, answer in zip(told, found, strict=True):
                answered[name] = answer
            if name == "dialect":
                dialects = [given or answer.label for given, answer in zip(dialects, found, strict=True)]
        return told

    def _punctuate(
        self, encoded: Encoded, results: list[DecodingResult], told: list[dict[HeadName, Answer]], language: str
    ) -> list[Punctuation | None]:
        """The final mark of each text, where the voice has a say in it."""
        found: list[Punctuation | None] = [None] * len(results)
        fusion = self._model.head("intonation").spec.fusion if "intonation" in self.heads else None
        rows = [row for row, answer in enumerate(told) if fusion is not None and answer["intonation"].scores]
        if fusion is None or not rows:
            return found
        texts = [results[row].text for row in rows]
        odds = question_log_odds(self._model, encoded.select(rows), texts, language)
        for row, words in zip(rows, odds, strict=True):
            voice = told[row]["intonation"].scores.get("question", 0.0)
            chance = fusion.p_question(words, voice)
            mark = "?" if chance >= fusion.threshold else "."
            found[row] = Punctuation(mark, chance, float(expit(words)), voice)
        return found

    def _serves(self, language: str, clip: _Clip) -> bool:
        """Whether there is a lexicon, and it serves the clip."""
        return self.lexicon is not None and self.lexicon.serves(language, clip.dialect)

    def _tag(self, clip: _Clip, answered: dict[HeadName, Answer]) -> str:
        """The dialect that the decoder is told of a clip, as it was taught it; empty for none."""
        given = clip.dialect
        # Where the head is not sure, it says "unknown", which is no tag.
        heard = answered["dialect"].label if "dialect" in answered else None
        mode = self.options.tag
        tag = {"auto": given or heard, "given": given, "never": None}.get(mode, mode)
        return self._tags.get((tag or "").lower(), "")

    def _encode(self, clips: list[_Clip]) -> Encoded:
        lengths = [len(clip.samples) for clip in clips]
        audio = torch.zeros(len(clips), max(lengths))
        for row, clip in zip(audio.numpy(), clips, strict=True):
            row[: len(clip.samples)] = clip.samples
        device = self._model.device
        num_samples = self._model.window_samples(torch.tensor(lengths)).to(device)
        return self._model.encode(*self._model.features(audio.to(device), num_samples))

    def _languages(self, clips: list[_Clip], encoded: Encoded) -> list[str]:
        """The language of each clip, detected where it is not given."""
        unknown = [row for row, clip in enumerate(clips) if clip.language is None]
        detected = iter(detect_language(self._model, encoded.select(unknown)) if unknown else ())
        return [clip.language or next(detected) for clip in clips]


def _find_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # Whether it is there, only a tensor tells.
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used ({reason}); choose auto, cpu, cuda or cuda:N") from None


def _read(path: str | Path, start: float, duration: float | None) -> Samples:
    """Load a recording or a span of it (seconds) as float32 [N], unless it is too long, which its header tells."""
    try:
        seconds = probe(path).duration - start if duration is None else duration
        if round(seconds * SAMPLE_RATE) > MAX_SAMPLES:
            raise _too_long(str(path), seconds)
        samples = load_audio(path, start, duration)
    except OSError as error:  # while it is being read: a share that went away, say
        raise AudioError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(samples) > MAX_SAMPLES:
        raise _too_long(str(path), len(samples) / SAMPLE_RATE)
    return samples


def _checked(samples: npt.NDArray[np.generic]) -> Samples:
    """Refuse samples that are no finite float32 [N] of at most 30 s."""
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise AudioError(
            f"samples must be a 1-D float32 array in -1 to 1 at 16 kHz, found {samples.dtype} of shape "
            f"{samples.shape}; average its channels, scale and convert it first"
        )
    if not len(samples):
        raise AudioError("the array of samples is empty; there is nothing to hear")
    if len(samples) > MAX_SAMPLES:
        raise _too_long("the array of samples", len(samples) / SAMPLE_RATE)
    finite = np.isfinite(samples)
    if not finite.all():
        raise AudioError(
            f"the array of samples holds NaN or an infinite value at {int(finite.argmin()) / SAMPLE_RATE:.3f} s; "
            "repair or leave it out"
        )
    return samples.astype(np.float32, copy=False)


def _weighed(words: tuple[Word, ...], samples: Samples) -> tuple[Word, ...]:
    """The words with their prominence, where it can be told."""
    scores = prominence(track(samples), words) if words else None
    if scores is None:
        return words
    return tuple(replace(word, prominence=score) for word, score in zip(words, scores, strict=True))


def _too_long(what: str, seconds: float) -> AudioError:
    return AudioError(
        f"{what} lasts {seconds:.2f} s, and Whisper hears {_MAX_SECONDS} s at once; cut it into fragments of at most "
        f"{_MAX_SECONDS} s"
    )


def _transcript(
    clip: _Clip,
    result: DecodingResult,
    told: dict[HeadName, Answer],
    punctuation: Punctuation | None,
    words: tuple[Word, ...],
    lexicon: Lexicon | None,
) -> tuple[int, Transcript]:
    duration = len(clip.samples) / SAMPLE_RATE
    text = result.text
    if punctuation is not None:
        question = punctuation.mark == "?"
        text = punctuated(text, result.language, question)
        if words:
            last = replace(words[-1], text=punctuated(words[-1].text, result.language, question))
            words = (*words[:-1], last)
    segment = Segment(
        start=0.0,
        end=duration,
        text=text,
        avg_logprob=result.avg_logprob,
        no_speech_prob=result.no_speech_prob,
        compression_ratio=result.compression_ratio,
    )
    dialect, intonation, tune = (told.get(name) for name in HEAD_NAMES)
    return clip.number, Transcript(
        id=clip.id,
        text=text,
        language=result.language,
        dialect=clip.dialect or (None if dialect is None else dialect.label),
        duration=duration,
        segments=(segment,) if text else (),
        expressions=() if lexicon is None else lexicon.find(text),
        text_standard=None if lexicon is None else lexicon.standardise(text),
        dialect_scores={} if dialect is None else dialect.scores,
        intonation=None if intonation is None else intonation.label,
        intonation_scores={} if intonation is None else intonation.scores,
        tune=None if tune is None else tune.label,
        tune_scores={} if tune is None else tune.scores,
        punctuation=punctuation,
        words=words,
        emphasis=emphasised(words),
    )
