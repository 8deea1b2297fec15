"""Transcribes test sets with one or two systems and scores them."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from asr.errors import AsrError
from asr.evaluation.abilities import measure_abilities
from asr.evaluation.intents import IntentScores, score_understanding
from asr.evaluation.labels import score_labels, score_marks
from asr.evaluation.report import EvaluationReport
from asr.evaluation.score import score
from asr.fragment import Fragment, read_numbered
from asr.inference.speech import SpeechOptions
from asr.inference.transcriber import Transcriber
from asr.intent.model import IntentModel
from asr.metrics.bootstrap import RESAMPLES
from asr.privacy.consent import ConsentCheck, ask
from asr.transcript import Transcript

log = logging.getLogger(__name__)

FOR_EVALUATION = ConsentCheck("evaluation")


def evaluate(
    system: Transcriber,
    test_sets: Mapping[str, str | Path],
    baseline: Transcriber | None = None,
    *,
    system_name: str = "model",
    baseline_name: str = "base",
    resamples: int = RESAMPLES,
    seed: int = 0,
    consent: ConsentCheck | None = FOR_EVALUATION,
    intent_model: IntentModel | None = None,
    standard: str | None = None,
    abilities: bool = False,
    as_recordings: bool = False,
) -> EvaluationReport:
    """Transcribe every fragment of some manifests and score the outputs.

    Broken lines are named in the log and left out; a fragment that cannot be transcribed is counted as failed.

    Args:
        system: What is evaluated.
        test_sets: Manifests by the name of their test set.
        baseline: What it is compared with, on the same fragments.
        system_name: Stands in the report.
        baseline_name: Stands in the report.
        resamples: Draws behind each interval.
        seed: Of the draws.
        consent: What is asked of the fragments; None was told to ask nothing.
        intent_model: Tells what the outputs ask for, which is compared with the fragments' ``intent``.
        standard: The dialect, or the test set, that is standard speech, for the gap to it.
        abilities: Whether to measure long recordings, word times and silence too.
        as_recordings: Hear each fragment as `asr transcribe` hears a recording: speech is looked for, and a text that
            loops or is hardly believed is decoded again. Otherwise it is heard once, and all faults are the model's.

    Raises:
        AsrError: There is no test set, a manifest cannot be read, nothing in it can be used, or nothing in it has an
            intent that the intent model knows.
    """
    if not test_sets:
        raise AsrError("there is nothing to evaluate on; name a manifest, such as +test.dialect=dev.jsonl")
    if as_recordings:
        system = _searching(system)
        baseline = None if baseline is None else _searching(baseline)
    refused = ask(list(test_sets.values()), consent)
    fragments = [(name, fragment) for name, path in test_sets.items() for fragment in _fragments(path, consent)]
    outputs, seconds = _heard(system, [item for _, item in fragments], system_name)
    others, other_seconds = (
        (None, None) if baseline is None else _heard(baseline, [item for _, item in fragments], baseline_name)
    )
    report = score(
        _with_durations([fragment for _, fragment in fragments], outputs),
        [_text(output) for output in outputs],
        None if others is None else [_text(output) for output in others],
        test_sets=[name for name, _ in fragments] if len(test_sets) > 1 else None,
        system_name=system_name,
        baseline_name=baseline_name,
        decode_seconds=seconds,
        baseline_decode_seconds=other_seconds,
        resamples=resamples,
        seed=seed,
    )
    labelled = [fragment for _, fragment in fragments]
    intents: list[IntentScores] = []
    if intent_model is not None:
        intents = [
            score_understanding(
                labelled,
                heard,
                intent_model,
                system=name,
                test_sets=[name for name, _ in fragments],
                standard=standard,
                resamples=resamples,
                seed=seed,
            )
            for name, heard in ((system_name, outputs), (baseline_name, others))
            if heard is not None
        ]
    # What the system was given is no answer of it.
    asked = labelled if _is_asked(system) else [fragment.replace(dialect=None) for fragment in labelled]
    temperatures = {name: spec.temperature for name, spec in system.heads.items()}
    return replace(
        report,
        labels=score_labels(asked, outputs, resamples, seed, temperatures),
        marks=score_marks(labelled, outputs, resamples, seed),
        baseline_marks=None if others is None else score_marks(labelled, others, resamples, seed),
        refused=tuple(sorted(refused.items())),
        intents=tuple(intents),
        as_recordings=as_recordings,
        abilities=measure_abilities(system, labelled, seed) if abilities else None,
        baseline_abilities=measure_abilities(baseline, labelled, seed) if abilities and baseline is not None else None,
    )


def _fragments(path: str | Path, consent: ConsentCheck | None) -> Iterator[Fragment]:
    for _, item in read_numbered(path):
        if not isinstance(item, Fragment):
            log.warning("left out: %s", item)
        elif consent is None or consent.allows(item):
            yield item


def _is_asked(system: Transcriber) -> bool:
    """Whether dialects are kept from a system: a head that hears them is asked, unless it is to be given them."""
    return "dialect" in system.heads and system.options.tag != "given"


def _searching(system: Transcriber) -> Transcriber:
    """As it is, but for one thing: it looks for speech in fragments too."""
    other = copy.copy(system)
    other.speech = replace(system.speech or SpeechOptions(), fragments=True)
    return other


def _heard(system: Transcriber, fragments: list[Fragment], name: str) -> tuple[list[Transcript | None], float]:
    """Return one transcript per fragment, None where it failed, and the seconds that took."""
    began = time.perf_counter()
    outputs: list[Transcript | None] = []
    given = [fragment.replace(dialect=None) for fragment in fragments] if _is_asked(system) else fragments
    results = track(
        zip(fragments, system.transcribe_many(given), strict=True),
        description=name,
        total=len(fragments),
        console=Console(stderr=True),
    )
    for fragment, result in results:
        if isinstance(result, Transcript):
            outputs.append(result)
        else:
            outputs.append(None)
            log.warning("%s: fragment %r failed; run `asr validate` on its manifest", name, fragment.id)
    return outputs, time.perf_counter() - began


def _text(output: Transcript | None) -> str | None:
    return None if output is None else output.text


def _with_durations(fragments: list[Fragment], outputs: list[Transcript | None]) -> Iterator[Fragment]:
    for fragment, output in zip(fragments, outputs, strict=True):
        known = fragment.duration is not None or output is None
        yield fragment if known else fragment.replace(duration=output.duration)  # type: ignore[union-attr]
