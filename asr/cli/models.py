"""Commands on models: label with what one hears, interpolate between two, take an adapter out, choose, calibrate."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.console import Console
from rich.progress import track

from asr.errors import AsrError, ConfigError, ManifestError

Why = Annotated[str, typer.Option(help="Stands in the record of what was done (asr audit show).")]
WithoutConsentCheck = Annotated[
    bool,
    typer.Option(
        "--without-consent-check",
        help="Hear fragments whatever was consented to. Written to the record; has no short form.",
    ),
]


def label(
    manifest: Annotated[Path, typer.Argument(help="The fragments; their transcripts are not used.")],
    output: Annotated[Path, typer.Option(help="The manifest to write: the same fragments, with what the model hears.")],
    model: Annotated[str, typer.Option(help="A base model's name, or a checkpoint.")] = "base",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    batch_seconds: Annotated[float, typer.Option(help="Most seconds of encoder window decoded at once.")] = 480.0,
    why: Why = "training",
    without_consent_check: WithoutConsentCheck = False,
) -> None:
    """Label fragments with what a model hears in them: targets for the tight window, and for replay.

    Loops are left out and counted; a fragment that cannot be transcribed is named, and the exit code is 1 then. Where
    nothing at all could be labelled, nothing is written. What comes of it is trained on, so it asks for that consent.
    """
    from asr.fragment import Fragment, read_numbered, write_manifest
    from asr.inference.label import LabelCounts, label_fragments
    from asr.inference.transcriber import Transcriber
    from asr.privacy.consent import ConsentCheck, ask
    from asr.privacy.record import open_record

    counts, failures = LabelCounts(), list[AsrError]()
    consent = None if without_consent_check else ConsentCheck("training")
    refused = ask([manifest], consent)
    total = sum(1 for _ in read_numbered(manifest)) - sum(refused.values())
    heard = (
        item
        for _, item in read_numbered(manifest)
        if consent is None or not isinstance(item, Fragment) or consent.allows(item)
    )
    details = {"command": "label", "model": Path(model).name, **consent_details(consent is None, refused)}

    def some() -> Iterator[Fragment]:
        yield from track(labelled, "labelling", total, console=Console(stderr=True))
        if not counts.labelled:
            left_out = f"{counts.runaway} loops and {counts.failed} failures"
            raise ManifestError(f"no fragment could be labelled ({left_out}); run `asr validate` on it", manifest)

    try:
        with open_record().during("train", why=why, manifests=[manifest], details=details) as outcome:
            transcriber = Transcriber(model, device=device, batch_seconds=batch_seconds)
            labelled = label_fragments(transcriber, heard, counts, failures)
            write_manifest(some(), output)
            outcome.manifests.append(output)
    finally:
        for failure in failures:
            typer.echo(f"failed: {failure}", err=True)
    typer.echo(
        f"{counts.labelled} fragments written to {output}; {counts.runaway} loops and {counts.failed} failures left out"
    )
    if counts.failed:
        raise typer.Exit(1)


def interpolate(
    base: Annotated[Path, typer.Argument(help="The tight base that training started from.")],
    adapted: Annotated[Path, typer.Argument(help="The checkpoint that came of it.")],
    output: Annotated[Path, typer.Option(help="The checkpoint to write (.pt).")],
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="0 is the base, 1 the adapted model.")] = 0.75,
) -> None:
    """Interpolate between a tight base and what was adapted from it: most of the dialect, all of the standard."""
    from asr.model.checkpoint import load_checkpoint, save_checkpoint
    from asr.model.interpolate import interpolate as between

    mixed = between(load_checkpoint(base), load_checkpoint(adapted), share)
    save_checkpoint(mixed.model, mixed.info, output)
    typer.echo(f"written to {output}")


def adapter(
    base: Annotated[Path, typer.Argument(help="The checkpoint that the training started from.")],
    adapted: Annotated[Path, typer.Argument(help="What came of it with adapter=lora, or of asr interpolate since.")],
    output: Annotated[Path, typer.Option(help="The file to write, named by its dialect: fr-CA.safetensors.")],
) -> None:
    """Take out of a checkpoint what low-rank training changed: some megabytes that are used beside the base."""
    from asr.model.adapter import take_out, write_adapter
    from asr.model.checkpoint import load_checkpoint

    loaded = load_checkpoint(adapted)
    found = take_out(load_checkpoint(base), loaded)
    write_adapter(found, loaded.model, output)
    typer.echo(
        f"written to {output}: {output.stat().st_size / 1e6:.1f} MB, {len(found.updates)} layers"
        + ("" if found.changes_encoder else " of the decoder alone")
    )


Limit = Annotated[
    float, typer.Option(min=0.0, help="By how many percent of its errors a protected group may get worse.")
]


def sweep(
    base: Annotated[Path, typer.Argument(help="The tight base that training started from.")],
    adapted: Annotated[Path, typer.Argument(help="The checkpoint that came of it.")],
    dialect: Annotated[Path, typer.Option(help="Development fragments of the dialect.")],
    standard: Annotated[Path, typer.Option(help="Development fragments of standard speech, which is protected.")],
    output: Annotated[Path, typer.Option(help="The checkpoint to write (.pt): the chosen share.")],
    protect: Annotated[
        list[str] | None, typer.Option(help="Further protected groups, such as dialect=en-US or gender=female.")
    ] = None,
    limit: Limit = 2.0,
    points: Annotated[int, typer.Option(min=2, help="Shares from 0 to 1 that are scored.")] = 11,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    why: Why = "training",
    without_consent_check: WithoutConsentCheck = False,
) -> None:
    """Interpolate at many shares, score each, and keep the one that is best for the worst dialect and harms no group.

    Beside the checkpoint go what was measured (.json) and a picture of it (.png). Where every share but the base itself
    harms a protected group, nothing was gained: the base is written, and the exit code is 1.
    """
    from asr.evaluation.sweep import sweep as score_shares
    from asr.evaluation.sweep import write_picture
    from asr.files import atomic_write
    from asr.inference.transcriber import Transcriber
    from asr.model.checkpoint import load_checkpoint, save_checkpoint
    from asr.model.interpolate import interpolate as between
    from asr.privacy.consent import ConsentCheck, ask
    from asr.privacy.record import open_record
    from asr.sums import sha256_of
    from asr.training.card import note_verdict

    consent = None if without_consent_check else ConsentCheck("training")
    refused = ask([dialect, standard], consent)
    tight, learnt = load_checkpoint(base), load_checkpoint(adapted)
    details: dict[str, JsonValue] = {"command": "sweep"}
    details |= {
        name: {"name": path.name, "sha256": sha256_of(path)} for name, path in (("base", base), ("model", adapted))
    }
    details |= consent_details(consent is None, refused)
    with open_record().during("train", why=why, manifests=[dialect, standard], details=details) as outcome:
        found = score_shares(
            tight,
            learnt,
            dialect,
            standard,
            [number / (points - 1) for number in range(points)],
            protected=["test_set=standard", *(protect or [])],
            limit=limit,
            consent=consent,
            transcriber=lambda checkpoint: Transcriber(checkpoint, device=device),
        )
        # The base harms nobody, so that there is always one.
        assert found.chosen is not None
        mixed = between(tight, learnt, found.chosen.share)
        save_checkpoint(mixed.model, mixed.info, output)
        outcome.details["checkpoints"] = {output.name: sha256_of(output)}
    with atomic_write(output.with_suffix(".json")) as handle:
        json.dump(found.to_dict(), handle, indent=2)
        handle.write("\n")
    write_picture(found, output.with_suffix(".png"))
    note_verdict(adapted, {"limit": limit, "share": found.chosen.share} | found.chosen.verdict.to_dict())
    typer.echo("share  dialect WER %  standard WER %")
    for point in found.points:
        typer.echo(
            f"{point.share:5.2f}  {point.dialect.wer:13.2f}  {point.standard.wer:14.2f}"
            + ("  chosen" if point is found.chosen else "")
            + "".join(f"  harms {harm}" for harm in point.verdict.harmed)
        )
    _tell_unmeasured(found.unmeasured)
    typer.echo(f"written to {output}, {output.with_suffix('.json').name} and {output.with_suffix('.png').name}")
    if not found.chosen.share:
        raise typer.Exit(1)


def gate(
    reports: Annotated[list[Path], typer.Argument(help="Of scripts/evaluate.py, with a baseline: one per model.")],
    protect: Annotated[
        list[str], typer.Option(help="Groups that must not get worse, such as dialect=en-US or test_set=standard.")
    ],
    limit: Limit = 2.0,
) -> None:
    """Say which models harm a protected group, and choose the best for its worst dialect of the others.

    What is said of a checkpoint goes to the card of its run, if it still stands there. The exit code is 1 if none
    passes.
    """
    from asr.evaluation.retention import counts_of, read_report, unmeasured
    from asr.metrics.retention import choose, judge
    from asr.training.card import note_verdict

    verdicts, missing = [], set[str]()
    for path in reports:
        report = read_report(path)
        after, before = (counts_of(report, side, str(path)) for side in ("system", "baseline"))
        verdicts.append(judge(str(path), after, before, protect, limit))
        missing |= {*unmeasured(before, after)}
        note_verdict(str(report.get("system", "")), {"limit": limit} | verdicts[-1].to_dict())
    best = choose(verdicts)
    for verdict in verdicts:
        said = "harms " + ", ".join(map(str, verdict.harmed)) if verdict.harmed else "harms no protected group"
        typer.echo(f"{verdict.name}: {verdict.worst} {verdict.wer:.2f} % WER, {said}")
    _tell_unmeasured(missing)
    typer.echo("no model passes" if best is None else f"best: {best.name}")
    if best is None:
        raise typer.Exit(1)


def _tell_unmeasured(abilities: Collection[str]) -> None:
    if abilities:
        typer.echo(f"not measured, so that the gate says nothing of it: {', '.join(sorted(abilities))}")


def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, with heads or without.")],
    manifests: Annotated[
        list[Path], typer.Argument(help="Fragments of speakers that were not learnt from, with labels and texts.")
    ],
    output: Annotated[Path, typer.Option(help="The checkpoint to write (.pt).")],
    risk: Annotated[
        float, typer.Option(min=0.0, max=1.0, help='Share of answers that may be wrong; the rest is "unknown".')
    ] = 0.1,
    why: Why = "training",
    without_consent_check: WithoutConsentCheck = False,
) -> None:
    """Make probabilities hold: those of a checkpoint's heads, and from which one on they can be trusted; of words."""
    from asr.evaluation.calibrate import calibrate as fit
    from asr.evaluation.words import calibrate_words
    from asr.inference.transcriber import Transcriber
    from asr.model.checkpoint import load_checkpoint, save_checkpoint
    from asr.privacy.consent import ConsentCheck, ask
    from asr.privacy.record import open_record
    from asr.sums import sha256_of

    consent = None if without_consent_check else ConsentCheck("training")
    refused = ask(manifests, consent)
    loaded = load_checkpoint(checkpoint)
    details: dict[str, JsonValue] = {
        "command": "calibrate",
        "model": {"name": checkpoint.name, "sha256": sha256_of(checkpoint)},
    }
    details |= consent_details(consent is None, refused)
    with open_record().during("train", why=why, manifests=manifests, details=details) as outcome:
        found = fit(loaded.model, manifests, risk, consent) if loaded.model.heads else []
        words = calibrate_words(Transcriber(loaded), manifests, consent)
        if not found and words is None:
            raise ConfigError(
                "there is nothing to calibrate: the checkpoint has no heads, and the fragments hold no 50 right and 50 "
                "wrong words of several speakers; give more fragments, with what is said in them"
            )
        info = replace(loaded.info, words=None if words is None else words.confidence)
        save_checkpoint(loaded.model, info, output)
        outcome.details["checkpoints"] = {output.name: sha256_of(output)}
    for head in found:
        typer.echo(
            f"{head.name}: {head.fragments} fragments, macro-F1 {head.f1:.3f}, temperature {head.temperature:.2f}, "
            f"calibration error {head.error_before:.3f} before and {head.error:.3f} now, answered from "
            f"{head.threshold:.2f} on: {100 * head.coverage:.0f} %"
        )
        if head.marks is not None:
            for source in ("words", "voice", "fused"):
                score = getattr(head.marks, source)
                typer.echo(
                    f"question marks by {'words and voice' if source == 'fused' else source} on {head.marks.fragments} "
                    f"fragments: F1 {score.f1:.3f}, false ones on {100 * score.false:.1f} % of what is no question"
                )
    typer.echo(
        "words: too few right and wrong ones to learn what their probabilities are worth"
        if words is None
        else f"words: {words.words}, {100 * words.right:.1f} % right, calibration error {words.error_before:.3f} "
        f"before and {words.error:.3f} now, on speakers held out"
    )
    typer.echo(f"written to {output}")


def consent_details(without_check: bool, refused: dict[str, int]) -> dict[str, JsonValue]:
    """What the record says of consent."""
    return {"without_consent_check": True} if without_check else {"refused": dict(refused)}
