"""`Transcriber`: recordings, fragments or samples in, transcripts out, in batches and in order.

Shapes: B batch, N samples.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor
from whisper.tokenizer import get_tokenizer

from asr.audio import SAMPLE_RATE, Samples
from asr.corpus.dialects import goes_with, implied_language, tag_fault
from asr.errors import AsrError, ConfigError
from asr.expressions import Lexicon, read_lexicon
from asr.fragment import Fragment
from asr.inference.adapters import Adapters, Router
from asr.inference.alternatives import with_alternatives
from asr.inference.batches import BATCH_SECONDS, WORKERS, Overlap, Pool, in_order, read_ahead
from asr.inference.bias import ExpressionBias
from asr.inference.clips import Audio, Clip, End, read_clips
from asr.inference.decoding import DecodeOptions
from asr.inference.engine import Decoded, Engine
from asr.inference.engines import open_engine
from asr.inference.fallback import decode_again
from asr.inference.heads import NOTHING, Answer, answers
from asr.inference.languages import in_one_language
from asr.inference.punctuation import has_words
from asr.inference.speech import SpeechOptions
from asr.inference.stitch import Assembly, clip_transcript
from asr.inference.understanding import Understanding, understand
from asr.inference.windows import WindowOptions, options_for
from asr.intent.model import IntentModel, reference_intent_model
from asr.memory import give_back
from asr.model.checkpoint import Checkpoint
from asr.model.features import MAX_SAMPLES
from asr.model.heads import HEAD_NAMES, Fusion, HeadName, HeadSpec
from asr.model.network import Encoded
from asr.prosody import FRAME_RATE, final_contour, prominence, track
from asr.transcript import UNKNOWN, Punctuation, Transcript, Word

log = logging.getLogger(__name__)

# All else that `DecodeOptions.tag` can be is a tag.
_TAG_MODES = ("auto", "given", "never")
# Batches that are read ahead, to choose those of like length from.
_POOLED_BATCHES = 8
# Batches after which memory that is free goes back to the system.
_KEPT_BATCHES = 50


class Transcriber:
    """Turns fragments, and recordings of any length, into transcripts.

    A fragment of at most 30 s is heard as it was cut, once. In everything else speech is looked for and heard in
    windows, and one whose text loops or is hardly believed is decoded again.

    Args:
        checkpoint: A loaded checkpoint, or what `asr.inference.engines.open_engine` takes: a ``.pt`` file, the folder
            of an export, or a base model's name. Weights of a loaded one must not change while it is in use here.
        engine: What runs it: ``torch``, ``ctranslate2`` (the folder of such an export), or ``auto``: the latter for its
            exports, the former for all else.
        device: ``cpu``, ``cuda``, ``cuda:1`` …; ``auto`` is the first GPU if there is one, and where its weights
            already are for a loaded checkpoint. Another device moves a loaded checkpoint's model.
        batch_seconds: Most seconds of encoder window decoded at once: 30 per item in a padded window, the item's own
            length and the margin in a tight one.
        options: How text is searched for; greedily when None.
        workers: Threads that load audio.
        adapters: The file of each dialect's adapter (`asr adapter`), or the folder of them. All are in memory beside
            the one base. A fragment takes that of its dialect where it is given; for the rest, see ``routing``.
        routing: Which adapters a fragment takes whose dialect is not given: ``hard``, that of the dialect which a head
            hears and is sure of; ``soft``, a mixture by the head's probabilities; ``given``, none.
        lexicon: A dialect's expressions, or the file of them: the search is led to them (``options.bias``), and the
            transcripts of that dialect, or of its language where no dialect is known, are annotated with them.
        words: Whether to tell when each word was said, and which ones the voice lifts: one more pass of the decoder.
        speech: What counts as speech in a recording. None looks for none: a recording is heard like a fragment, and
            refused if it is longer than 30 s.
        replicas: Batches that are heard at a time; chosen from the cores when None.
        threads: Processor threads of each of these; chosen from the cores when None.

    Attributes:
        checkpoint: The loaded checkpoint; of an engine other than torch its model has no decoder.
        engine: What runs it.
        languages: The codes of the languages that the model knows.
        lexicon: The loaded lexicon, or None.
        heads: What is told beside the text, and how each of these is.

    Raises:
        CheckpointError: The checkpoint cannot be loaded, or an adapter, or that is one of another base.
        MissingExtraError: The engine is not installed.
        WeightsError: The base model is found nowhere.
        ManifestError: The lexicon cannot be read; a broken line is named.
        ConfigError: The engine, the device, ``batch_seconds`` or a number of threads cannot work, the model does not
            know the lexicon's language, or was not taught the tag that is to be told of everything, the engine
            cannot search like that or take adapters, or one of them is for no dialect that the model can know.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | str | Path,
        *,
        engine: str = "auto",
        device: str = "auto",
        batch_seconds: float = BATCH_SECONDS,
        options: DecodeOptions | None = None,
        workers: int = WORKERS,
        adapters: Adapters | None = None,
        routing: str = "hard",
        lexicon: Lexicon | str | Path | None = None,
        words: bool = False,
        speech: SpeechOptions | None = SpeechOptions(),  # noqa: B008  it is frozen
        replicas: int | None = None,
        threads: int | None = None,
    ) -> None:
        if not 0 < batch_seconds < float("inf"):
            raise ConfigError(f"batch_seconds must be a number of seconds above 0, found {batch_seconds}")
        if workers < 1:
            raise ConfigError(f"workers must be 1 or more, found {workers}")
        self.batch_seconds = batch_seconds
        self.options = options or DecodeOptions()
        self.workers = workers
        self.words = words
        self.speech = speech
        # Before the model, which takes longer.
        self.lexicon = lexicon if lexicon is None or isinstance(lexicon, Lexicon) else read_lexicon(lexicon)
        self.engine: Engine = open_engine(checkpoint, engine, device, replicas=replicas, threads=threads)
        self.checkpoint = Checkpoint(self.engine.model, self.engine.info)
        self._model = self.engine.model
        # The same behind all that will be heard.
        with torch.inference_mode(), self.engine.hearing():
            self._silence = self._model.silence()
        self._batches = count(1)
        if not self.engine.steered and (self.options.temperature or (self.lexicon is not None and self.options.bias)):
            raise ConfigError(
                f"the engine {self.engine.name} can neither be led to a lexicon's expressions nor draw tokens at "
                "random; choose the engine torch, or a bias and a temperature of 0"
            )
        # BCP 47 tags are the same in any case.
        self._tags = {tag.lower(): tag for tag in self.engine.info.tags}
        if self.options.tag not in _TAG_MODES and self.options.tag.lower() not in self._tags:
            taught = f"it was taught {', '.join(self.engine.info.tags)}" if self._tags else "it was taught none"
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
        if raw := [name for name, spec in self.heads.items() if not spec.calibrated]:
            log.warning(
                "%s: never calibrated, so probabilities may be far off, and no answer is too unsure to be told; "
                "`asr calibrate CHECKPOINT DEV.jsonl --output NEW.pt` mends that",
                ", ".join(raw),
            )
        self._router: Router | None = None
        if adapters is not None:
            if self.engine.name != "torch":
                raise ConfigError(
                    f"the engine {self.engine.name} writes with one set of weights and takes no adapters; choose the "
                    "engine torch, or export a checkpoint for each dialect"
                )
            self._router = Router(adapters, self._model, self.languages, routing)
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
            AudioError: The audio cannot be read, is no float32 [N], holds NaN or is empty.
            ManifestError: The fragment's language is none that the model knows.
            ConfigError: The language or the dialect is not known, or they do not go together.
        """
        (result,) = self.transcribe_many([audio], language=language, dialect=dialect)
        if isinstance(result, AsrError):
            raise result
        return result

    def understand(
        self,
        audio: Audio,
        intent_model: IntentModel | None = None,
        *,
        language: str | None = None,
        dialect: str | None = None,
    ) -> Understanding:
        """Transcribe one recording, fragment or array, and tell what all of it asks for.

        In a long recording many things may be asked: `asr.inference.understanding.understand` tells them apart, given
        each of its transcript's `utterances`.

        Args:
            audio: See `transcribe`.
            intent_model: What `asr.intent.model.load_intent_model` reads; by default the one that comes with this
                package.
            language: See `transcribe`.
            dialect: See `transcribe`.

        Raises:
            AsrError: As of `transcribe`; `MissingExtraError` where the package of the sentence vectors is missing.
        """
        intents = reference_intent_model() if intent_model is None else intent_model
        transcript = self.transcribe(audio, language=language, dialect=dialect)
        return understand(transcript, intents, audio if isinstance(audio, Fragment) else None)

    def transcribe_many(
        self, items: Iterable[Audio | AsrError], *, language: str | None = None, dialect: str | None = None
    ) -> Generator[Transcript | AsrError, None, None]:
        """Transcribe a stream; results come in its order, and memory does not grow with its length.

        Some batches are read ahead, so that clips of like length can be decoded together; closing the generator ends
        that. The transcript of a long recording comes when all of it is heard; meanwhile what follows goes on. Its
        language, where not given, is that of most of its first half a minute of speech.

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

        options = self.window_options

        def load(numbered: tuple[int, Audio | AsrError]) -> Iterator[tuple[int, Clip | End | AsrError]]:
            number, item = numbered
            try:
                for part in read_clips(
                    number, item, language, dialect, self.languages.__contains__, options, self.speech
                ):
                    if self.heads and isinstance(part, Clip):
                        # Here, in the thread that loads: it costs as much as a tenth of the encoder.
                        part = replace(part, contour=final_contour(part.samples))
                    yield number, part
            except AsrError as error:
                yield number, error

        batch = round(self.batch_seconds * SAMPLE_RATE)
        pool: Pool[Clip] = Pool(batch, _POOLED_BATCHES * batch, equal=not self.engine.masks)
        assembly = Assembly(self.heads["dialect"].threshold if "dialect" in self.heads else None)
        # Whatever their length, clips that are being read take no more memory than those in the pool may.
        depth = max(2 * self.workers, _POOLED_BATCHES * batch // MAX_SAMPLES)
        loaded = read_ahead(load, enumerate(items), workers=self.workers, depth=depth)
        parts = in_one_language(loaded, self._window_samples, self._detect)
        threads = self.engine.threads
        with (
            _torch_threads(),
            Overlap(self._hear, self.engine.replicas, lambda: torch.set_num_threads(threads)) as overlap,
        ):
            for number, part in parts:
                if not isinstance(part, Clip):
                    yield from assembly.end(number, part)
                    continue
                assembly.expect(part)
                pool.add(part, self._window_samples(part))
                if pool.full:
                    for heard in overlap.put(pool.draw()):
                        yield from assembly.add(heard)
            while pool:
                for heard in overlap.put(pool.draw()):
                    yield from assembly.add(heard)
            for heard in overlap.rest():
                yield from assembly.add(heard)

    @property
    def window_options(self) -> WindowOptions:
        """How recordings are cut for the model."""
        return options_for(self._model.window, self.checkpoint.info.joined)

    def _window_samples(self, clip: Clip) -> int:
        """Samples that the encoder sees for a clip."""
        return self.engine.window_samples(len(clip.samples))

    def _detect(self, clips: list[Clip]) -> list[str]:
        """The language of each clip."""
        batches = [clips] if self.engine.masks else [[clip] for clip in clips]
        with torch.inference_mode(), self.engine.hearing():
            return [one for batch in batches for one in self.engine.detect_language(self._encode(batch))]

    def _hear(self, clips: list[Clip]) -> list[tuple[Clip, Transcript]]:
        """Transcribe a batch: one encoder pass, one search per language, dialect told, and lexicon or none.

        Heads hear the base. Where adapters change what is heard, the encoder runs once more.
        """
        heard = []
        try:
            with torch.inference_mode(), self.engine.hearing():
                features = self._features(clips)
                encoded = self._model.encode(*features, silence=self._silence)
                languages = self._languages(clips, encoded)
                told = self._ask_heads(clips, encoded, languages)
                taken = self._adapters(clips, told)
                encoded = self._adapted(features, encoded, taken)
                kinds = [
                    (language, self._serves(language, clip, answered), self._tag(clip, answered))
                    for language, clip, answered in zip(languages, clips, told, strict=True)
                ]
                for kind in sorted(set(kinds)):
                    language, serves, tag = kind
                    rows = [row for row, found in enumerate(kinds) if found == kind]
                    bias, lexicon = (self._bias, self.lexicon) if serves else (None, None)
                    part, chosen = encoded.select(rows), [clips[row] for row in rows]
                    results, steps = self._decode(chosen, part, language, bias, tag)
                    answered = [
                        told[row] if has_words(result.text) else dict.fromkeys(told[row], NOTHING)
                        for row, result in zip(rows, results, strict=True)
                    ]
                    marks = [self._punctuate(*of) for of in zip(results, answered, strict=True)]
                    words = self._words(chosen, part, language, results)
                    own = [taken[row] for row in rows]
                    heard += [
                        (
                            clip,
                            clip_transcript(
                                clip, text, steps[row], answered[row], marks[row], words[row], own[row], lexicon
                            ),
                        )
                        for row, (clip, text) in enumerate(zip(chosen, results, strict=True))
                    ]
        except torch.OutOfMemoryError as error:
            raise AsrError(
                f"{self._model.device} has too little memory to decode {self.batch_seconds:g} s at once; choose a "
                "smaller batch_seconds or beam"
            ) from error
        if next(self._batches) % _KEPT_BATCHES == 0:
            give_back()
        return heard

    def _decode(
        self, clips: list[Clip], encoded: Encoded, language: str, bias: ExpressionBias | None, tag: str
    ) -> tuple[list[Decoded], list[tuple[str, ...]]]:
        """The text of each clip, and in what other ways it was decoded again; what is dropped has none."""
        marks = self._fusion is not None

        def again(rows: list[int], step: str) -> list[Decoded]:
            options = self.options.step(step)
            # What is drawn at random must not depend on what else is in the batch.
            groups = [[row] for row in rows] if options.temperature else [rows]
            return [
                result
                for group in groups
                for result in self.engine.decode(
                    encoded.select([windows[row] for row in group]), language, options, bias, tag, marks
                )
            ]

        results = self.engine.decode(encoded, language, self.options, bias, tag, marks)
        # A person has cut a fragment, and somebody may count what a model makes of it.
        windows = [row for row, clip in enumerate(clips) if not clip.whole]
        fallback = self.options.fallback
        if not self.engine.steered:
            fallback = replace(fallback, steps=tuple(step for step in fallback.steps if step != "temperature"))
        chosen, taken = decode_again([results[row] for row in windows], fallback, again)
        steps: list[tuple[str, ...]] = [() for _ in clips]
        for row, result, names in zip(windows, chosen, taken, strict=True):
            results[row], steps[row] = (
                replace(result, text="", tokens=(), hypotheses=()) if "drop" in names else result,
                names,
            )
        return results, steps

    def _words(
        self, clips: list[Clip], encoded: Encoded, language: str, results: list[Decoded]
    ) -> list[tuple[Word, ...]]:
        """The words of each clip, with what the voice does on them; none where they are not wanted."""
        if not self.words:
            return [()] * len(clips)
        # Whole frames: what follows the last one may be the margin.
        frames = [max(1, len(clip.samples) * FRAME_RATE // SAMPLE_RATE) for clip in clips]
        found = self.engine.word_times(encoded, frames, results, language)
        return [
            _weighed(with_alternatives(self._confident(words), result.hypotheses), clip.samples)
            for words, result, clip in zip(found, results, clips, strict=True)
        ]

    def _confident(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        """The words with probabilities that hold, where it was learnt what they are worth."""
        worth = self.engine.info.words
        if worth is None:
            return words
        return tuple(replace(word, probability=worth.of(word.probability)) for word in words)

    def _ask_heads(self, clips: list[Clip], encoded: Encoded, languages: list[str]) -> list[dict[HeadName, Answer]]:
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

    @property
    def _fusion(self) -> Fusion | None:
        """How a text's final mark is chosen, if the voice has a say in it."""
        return self._model.head("intonation").spec.fusion if "intonation" in self.heads else None

    def _punctuate(self, result: Decoded, answered: dict[HeadName, Answer]) -> Punctuation | None:
        """The final mark of a text, where the voice has a say in it."""
        words, fusion = result.question_log_odds, self._fusion
        if fusion is None or words is None or not answered["intonation"].scores:
            return None
        voice = answered["intonation"].scores.get("question", 0.0)
        chance = fusion.p_question(words, voice)
        return Punctuation("?" if chance >= fusion.threshold else ".", chance, float(expit(words)), voice)

    def _serves(self, language: str, clip: Clip, answered: dict[HeadName, Answer]) -> bool:
        """Whether there is a lexicon, and it serves the clip: the dialect that is given, or else surely heard.

        What a head hears that does not know the lexicon's dialect says nothing.
        """
        lexicon, dialect = self.lexicon, clip.dialect
        if lexicon is None:
            return False
        if dialect is None and "dialect" in self.heads:
            heard = _heard_dialect(answered)
            if heard != UNKNOWN and any(lexicon.serves(language, label) for label in self.heads["dialect"].labels):
                dialect = heard
        return lexicon.serves(language, dialect)

    def _tag(self, clip: Clip, answered: dict[HeadName, Answer]) -> str:
        """The dialect that the decoder is told of a clip, as it was taught it; empty for none."""
        given = clip.dialect
        # Where the head is not sure, it says "unknown", which is no tag.
        heard = _heard_dialect(answered)
        mode = self.options.tag
        tag = {"auto": given or heard, "given": given, "never": None}.get(mode, mode)
        return self._tags.get((tag or "").lower(), "")

    def _adapters(self, clips: list[Clip], told: list[dict[HeadName, Answer]]) -> list[dict[str, float]]:
        """How much of which adapter each clip takes."""
        if self._router is None:
            return [{} for _ in clips]
        return [
            self._router.choose(clip.dialect, answered.get("dialect"))
            for clip, answered in zip(clips, told, strict=True)
        ]

    def _adapted(self, features: tuple[Tensor, Tensor], encoded: Encoded, taken: list[dict[str, float]]) -> Encoded:
        """The batch with its adapters: heard once more by those that change what is heard."""
        router = self._router
        mixture = None if router is None else router.mixture(taken)
        if router is None or mixture is None:
            return encoded
        states, tail = encoded.states, encoded.tail
        if rows := router.heard_anew(taken):
            mel, num_frames = features
            again = self._model.encode(mel[rows], num_frames[rows], mixture.select(rows))
            states = states.clone()
            states[rows, : again.states.shape[1]] = again.states
            if tail is not None and again.tail is not None:
                tail = tail.repeat(len(states), 1, 1)
                tail[rows] = again.tail
        return replace(encoded, states=states, tail=tail, mixture=mixture)

    def _encode(self, clips: list[Clip]) -> Encoded:
        return self._model.encode(*self._features(clips), silence=self._silence)

    def _features(self, clips: list[Clip]) -> tuple[Tensor, Tensor]:
        lengths = [len(clip.samples) for clip in clips]
        audio = torch.zeros(len(clips), max(lengths))
        for row, clip in zip(audio.numpy(), clips, strict=True):
            row[: len(clip.samples)] = clip.samples
        device = self._model.device
        num_samples = torch.tensor([self._window_samples(clip) for clip in clips], device=device)
        return self._model.features(audio.to(device), num_samples)

    def _languages(self, clips: list[Clip], encoded: Encoded) -> list[str]:
        """The language of each clip, detected where it is not given."""
        unknown = [row for row, clip in enumerate(clips) if clip.language is None]
        detected = iter(self.engine.detect_language(encoded.select(unknown)) if unknown else ())
        return [clip.language or next(detected) for clip in clips]


@contextmanager
def _torch_threads() -> Iterator[None]:
    """Leave the caller as many threads of torch as there were."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _weighed(words: tuple[Word, ...], samples: Samples) -> tuple[Word, ...]:
    """The words with their prominence, where it can be told."""
    scores = prominence(track(samples), words) if words else None
    if scores is None:
        return words
    return tuple(replace(word, prominence=score) for word, score in zip(words, scores, strict=True))


def _heard_dialect(answered: dict[HeadName, Answer]) -> str | None:
    """What the head says, which may be "unknown"; None without a head."""
    return answered["dialect"].label if "dialect" in answered else None
