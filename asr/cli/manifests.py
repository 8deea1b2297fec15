"""Commands on corpora: import, convert, validate, split, stats, schema."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from asr.corpus.split import SplitReport, split_as_tagged, split_manifest
from asr.corpus.stats import CorpusStats, DialectStats, corpus_stats
from asr.corpus.validate import CHECKS, ValidationReport, validate_manifest
from asr.errors import Faults, ManifestError
from asr.exporters import EXPORTERS
from asr.exporters.convert import convert_manifest
from asr.files import atomic_write
from asr.fragment import fragment_schema, read_manifest
from asr.importers import IMPORTERS
from asr.importers.intake import import_manifest, read_source
from asr.importers.recipe import find_recipe, parse_option, read_recipe
from asr.intent.event import event_schema
from asr.options import build_options
from asr.privacy.tombstones import Tombstones, tombstones_path, unburied

Manifests = Annotated[list[Path], typer.Argument(help="Manifests (.jsonl, .jsonl.gz) of one corpus.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out broken lines, name them, and end with exit code 1.")
]
Number = TypeVar("Number", int, float)
Entry = TypeVar("Entry")
Options = TypeVar("Options")

_SHOWN_UNMAPPED = 40


def import_corpus(
    source: Annotated[Path, typer.Argument(help="The file or folder in which the corpus lies.")],
    output: Annotated[Path, typer.Option(help="The manifest to write (.jsonl, .jsonl.gz).")],
    format: Annotated[
        str | None, typer.Option("--format", help=f"What made it: {', '.join(sorted(IMPORTERS))}.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A folder with a recipe.yaml, or its name under datasets/.")
    ] = None,
    option: Annotated[
        list[str], typer.Option(help="An option of the format, such as constants.language=fr; values as in a recipe.")
    ] = [],  # noqa: B006 (typer copies it)
    why: Annotated[str, typer.Option(help="Stands in the record of what was done (asr audit show).")] = "import",
) -> None:
    """Turn a corpus in another layout into a manifest; broken rows are named and left out (exit code 1)."""
    from asr.privacy.record import open_record

    if format is not None and recipe is None:
        rows = read_source(format, _options(_registered(IMPORTERS, format).options, option), source)
        how = {"importer": format}
    elif recipe is not None and format is None:
        if option:
            raise typer.BadParameter("a recipe has its options in its file; --option goes with --format")
        found = read_recipe(find_recipe(recipe))
        rows, how = found.fragments(source), {"recipe": found.name, "importer": found.importer}
    else:
        raise typer.BadParameter("give either --format or --recipe")
    refused: Counter[str] = Counter()
    with open_record().during("import", why=why, details=how) as outcome:
        try:
            with _status("importing"):
                report = import_manifest(unburied(rows, Tombstones(tombstones_path()), refused), output)
        finally:
            if refused:
                by = ", ".join(f"{count} by their {reason}" for reason, count in sorted(refused.items()))
                _say(f"{refused.total()} fragments refused, because they were erased ({by})")
        outcome.manifests.append(output)
    _say(f"{report.fragments} fragments written to {output}")
    if report.unmapped:
        table = Table("field", "value", "fragments", title="not translated (kept under 'unmapped')")
        for (field, value), number in report.unmapped.most_common(_SHOWN_UNMAPPED):
            table.add_row(field, Text(value), str(number))  # Text: their brackets are no markup
        Console().print(table)
        if len(report.unmapped) > _SHOWN_UNMAPPED:
            _say(f"… and {len(report.unmapped) - _SHOWN_UNMAPPED} other values")
    _end_with_skipped(report.faults)


def convert(
    manifest: Annotated[Path, typer.Argument(help="The manifest to write in another layout.")],
    output: Annotated[Path, typer.Argument(help="The file or folder to write.")],
    format: Annotated[str, typer.Option("--format", help=f"The layout: {', '.join(sorted(EXPORTERS))}.")],
    option: Annotated[
        list[str], typer.Option(help="An option of the format, such as table=train.tsv; values as in a recipe.")
    ] = [],  # noqa: B006
    why: Annotated[str, typer.Option(help="What it is for; it goes into the record.")] = "convert",
) -> None:
    """Write a manifest in another tool's layout; lines that it cannot hold are named and left out (exit code 1)."""
    from asr.privacy.record import open_record

    options: Any = _options(_registered(EXPORTERS, format).options, option)
    with open_record().during("export", why=why, manifests=[manifest], details={"exporter": format}) as outcome:
        with _status("converting"):
            report = convert_manifest(manifest, output, format, options)
        outcome.details["fragments"] = report.fragments
    _say(f"{report.fragments} fragments written to {output}")
    _end_with_skipped(report.faults)


def validate(
    manifests: Manifests,
    ignore: Annotated[
        list[str], typer.Option(help=f"Leave out a check; repeat for more. Checks: {', '.join(CHECKS)}.")
    ] = [],  # noqa: B006 (typer copies it)
    audio: Annotated[bool, typer.Option(help="Open the recordings.")] = True,
    limit: Annotated[int, typer.Option(min=0, help="Issues shown of each kind.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Check manifests: fields, recordings, labels, dialects, and splits when there are any."""
    with _status("checking"):
        report = validate_manifest(*manifests, ignore=ignore, audio=audio)
    if as_json:
        _say(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        _show_issues(report, limit)
    raise typer.Exit(0 if report.ok else 1)


def split(
    manifest: Annotated[Path, typer.Argument(help="The manifest to split.")],
    output_dir: Annotated[Path, typer.Option(help="Folder of the new manifests, one per share.")],
    share: Annotated[
        list[str], typer.Option(help="A share of the speakers, such as train=0.8; they add up to 1.")
    ] = [],  # noqa: B006
    speakers: Annotated[
        list[str], typer.Option(help="A number of speakers, such as dev=13; the others go to train.")
    ] = [],  # noqa: B006
    as_tagged: Annotated[
        bool, typer.Option("--as-tagged", help="Take the sides that the fragments carry as 'split'.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Another seed gives another split.")] = 0,
    skip_broken: SkipBroken = False,
    as_json: AsJson = False,
) -> None:
    """Split a manifest so that no speaker is on two sides and every dialect is spread."""
    if bool(share) + bool(speakers) + as_tagged != 1:
        raise typer.BadParameter("give either --share NAME=PART, --speakers NAME=NUMBER or --as-tagged")
    shares = {name: _number(float, value, "--share") for name, value in _pairs(share, "--share").items()}
    numbers = {name: _number(int, value, "--speakers") for name, value in _pairs(speakers, "--speakers").items()}
    errors: list[ManifestError] = []
    with _status("splitting"):
        on_error: Literal["raise", "skip"] = "skip" if skip_broken else "raise"
        if as_tagged:
            report = split_as_tagged(manifest, output_dir, on_error, errors)
        else:
            report = split_manifest(manifest, output_dir, shares or None, numbers or None, seed, on_error, errors)
    if as_json:
        _say(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        _show_split(report)
    _end_with_skipped(Faults(errors))


def stats(manifests: Manifests, skip_broken: SkipBroken = False, as_json: AsJson = False) -> None:
    """Count hours, fragments and speakers per dialect."""
    errors: list[ManifestError] = []
    fragments = (
        fragment for path in manifests for fragment in read_manifest(path, "skip" if skip_broken else "raise", errors)
    )
    with _status("counting"):
        counted = corpus_stats(fragments)
    if as_json:
        _say(json.dumps(counted.to_dict(), indent=2, ensure_ascii=False))
    else:
        _show_stats(counted)
    _end_with_skipped(Faults(errors))


def schema(
    output: Annotated[Path | None, typer.Option(help="Write it to a file instead of printing it.")] = None,
    event: Annotated[bool, typer.Option("--event", help="Of an utterance event instead of a manifest line.")] = False,
) -> None:
    """Print the JSON Schema of a manifest line, or of an utterance event."""
    text = json.dumps(event_schema() if event else fragment_schema(), indent=2) + "\n"
    if output is None:
        typer.echo(text, nl=False)
        return
    with atomic_write(output) as handle:
        handle.write(text)


def _say(text: str) -> None:
    typer.echo(text)


def _status(doing: str) -> Status:
    return Console(stderr=True).status(doing)


def _end_with_skipped(faults: Faults) -> None:
    if faults.count:
        for error in faults.first:
            typer.echo(f"skipped: {error}", err=True)
        if faults.count > len(faults.first):
            typer.echo(f"… and {faults.count - len(faults.first)} more", err=True)
        raise typer.Exit(1)


def _registered(table: Mapping[str, Entry], name: str) -> Entry:
    if name not in table:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(sorted(table))}", param_hint="--format")
    return table[name]


def _options(kind: type[Options], given: list[str]) -> Options:
    table: dict[str, Any] = {}
    for name, value in _pairs(given, "--option").items():
        *parents, last = name.split(".")
        place = table
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"{parent!r} is given as a whole and in part", param_hint="--option")
        place[last] = parse_option(value)
    return build_options(kind, table, "--option")


def _pairs(options: list[str], flag: str) -> dict[str, str]:
    pairs = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name or not value:
            raise typer.BadParameter(f"{option!r} is not NAME=VALUE", param_hint=flag)
        if name in pairs:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=flag)
        pairs[name] = value
    return pairs


def _number(kind: type[Number], value: str, flag: str) -> Number:
    try:
        return kind(value)
    except ValueError:
        word = "a whole number" if kind is int else "a number"
        raise typer.BadParameter(f"{value!r} is not {word}", param_hint=flag) from None


def _show_issues(report: ValidationReport, limit: int) -> None:
    shown: Counter[str] = Counter()
    for issue in report.issues:
        shown[issue.code] += 1
        if shown[issue.code] <= limit:
            _say(str(issue))
    for code, count in report.counts.items():
        if count > limit:
            _say(f"… and {count - limit} more [{code}]")
    _say(f"{report.fragments} fragments, {report.errors} errors, {report.warnings} warnings")


def _show_split(report: SplitReport) -> None:
    dialects = sorted({dialect for share in report.shares for dialect in share.dialects})
    table = Table("share", title="speakers by dialect in the last columns")
    for column in ("fragments", "hours", "speakers", *(dialect or "no dialect" for dialect in dialects)):
        table.add_column(column, justify="right")
    for share in report.shares:
        counts = [str(share.dialects.get(dialect, 0)) for dialect in dialects]
        table.add_row(share.name, str(share.fragments), f"{share.hours:.2f}", str(share.speakers), *counts)
    Console().print(table)
    for share in report.shares:
        _say(f"{share.name}: {share.path}")
    if report.without_speaker:
        _say(
            f"{report.without_speaker} fragments name no speaker; they were kept together by conversation or "
            "recording, but a voice may be on two sides"
        )


def _show_stats(counted: CorpusStats) -> None:
    table = Table("language", "dialect")
    for column in ("fragments", "hours", "speakers"):
        table.add_column(column, justify="right")

    def add(row: DialectStats, language: str, dialect: str) -> None:
        table.add_row(language, dialect, str(row.fragments), f"{row.hours:.2f}", str(row.speakers))

    for row in counted.dialects:
        add(row, row.language or "", row.dialect or "-")
    table.add_section()
    add(counted.total, "all", "")
    Console().print(table)
    if counted.total.without_speaker:
        _say(f"{counted.total.without_speaker} fragments name no speaker")
    if counted.total.without_duration:
        _say(f"{counted.total.without_duration} fragments have no duration and no readable recording: not in the hours")
