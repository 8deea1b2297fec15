"""Lines per processor second and peak memory of what works on manifests, on made-up rows without recordings.

    python scripts/benchmark_manifests.py [--rows 100000] [--few 10000] [STEP ...]

Every step runs in a process of its own, on the rows and on few of them, a tenth by default: where memory does not grow
with the rows, both peaks are the same. It runs on a hundred rows before, so that loading libraries is not measured. A
further step is one more function in `STEPS`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from asr.corpus.validate import validate_manifest
from asr.exporters import EXPORTERS
from asr.exporters.convert import convert_manifest
from asr.fragment import Fragment, write_manifest
from asr.importers import IMPORTERS
from asr.importers.intake import import_manifest, read_source
from asr.privacy.release import ReleaseOptions, pseudonymise

# Rows of one speaker.
PER_SPEAKER = 50
ACCENTS = ("", "", "Français de Belgique", "Français de Suisse|du Jura", "Français du Canada")


def write_rows(folder: Path, rows: int, imported: bool) -> None:
    """Write the rows as a manifest and, where asked, in the layouts that are imported."""
    write_manifest((_fragment(folder, number) for number in range(rows)), folder / "manifest.jsonl")
    if not imported:
        return
    convert_manifest(folder / "manifest.jsonl", folder / "kaldi", "kaldi", EXPORTERS["kaldi"].options())
    (folder / "voice").mkdir()
    with (
        (folder / "voice" / "validated.tsv").open("w", encoding="utf-8") as table,
        (folder / "nemo.jsonl").open("w", encoding="utf-8") as nemo,
    ):
        table.write("client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tlocale\n")
        for number in range(rows):
            speaker, text = f"s{number // PER_SPEAKER:05d}", _text(number)
            accents = ACCENTS[number // PER_SPEAKER % len(ACCENTS)]
            table.write(f"{speaker}\t{number:07d}.mp3\t{text}\t2\t0\ttwenties\tfemale_feminine\t{accents}\tfr\n")
            row = {
                "audio_filepath": f"{number:07d}.wav",
                "text": text,
                "duration": 2.5,
                "lang": "fr",
                "speaker": speaker,
            }
            nemo.write(json.dumps(row) + "\n")


def _fragment(folder: Path, number: int) -> Fragment:
    return Fragment(
        id=f"s{number // PER_SPEAKER:05d}-{number:07d}",
        audio=str(folder / "audio" / f"{number // 10:06d}.wav"),
        text=_text(number),
        language="fr",
        start=float(number % 10 * 3),
        duration=2.5,
        dialect=("fr-FR", "fr-BE", "fr-CH", "fr-CA")[number // PER_SPEAKER % 4],
        speaker=f"s{number // PER_SPEAKER:05d}",
        gender=("female", "male")[number // PER_SPEAKER % 2],
        age_band="20-29",
    )


def _text(number: int) -> str:
    return f"Phrase numéro {number}, dite par une voix que personne n'a."


def _import(name: str, source: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        options = IMPORTERS[name].options(**({"audio_root": str(folder / "audio")} if name == "kaldi" else {}))
        report = import_manifest(read_source(name, options, folder / source), folder / f"{name}.out.jsonl")
        assert report.faults.count == 0, report.faults.first

    return run


def _validate(folder: Path) -> None:
    report = validate_manifest(folder / "manifest.jsonl", audio=False)
    assert report.ok, report.issues[0]


def _convert(folder: Path) -> None:
    options = EXPORTERS["kaldi"].options()
    report = convert_manifest(folder / "manifest.jsonl", folder / "kaldi.out", "kaldi", options)
    assert report.faults.count == 0, report.faults.first


def _pseudonymise(folder: Path) -> None:
    pseudonymise(folder / "manifest.jsonl", folder / "release", bytes(32), ReleaseOptions(k=1, audio=False))


def _draw(folder: Path) -> None:
    from asr.data.stream import BatchStream

    rows = 0
    for draw in BatchStream([folder / "manifest.jsonl"], 240.0, consent=None, joined=0.1):
        if draw.after is not None and draw.after.epoch:
            break
        rows += sum(len(example.parts) for example in draw.examples)
    assert rows, "a pass draws every row"


# By name: what is done with a folder that `write_rows` has filled.
STEPS: dict[str, Callable[[Path], None]] = {
    "import common_voice": _import("common_voice", "voice"),
    "import kaldi": _import("kaldi", "kaldi"),
    "import nemo": _import("nemo", "nemo.jsonl"),
    "validate --no-audio": _validate,
    "convert kaldi": _convert,
    "pseudonymise --no-audio": _pseudonymise,
    "draw training batches": _draw,
}


def _measure(step: str, folder: Path) -> None:
    """Run one step in this process and print its processor seconds and the process's peak memory in MiB."""
    with tempfile.TemporaryDirectory() as temporary:
        write_rows(Path(temporary), 100, step.startswith("import"))
        STEPS[step](Path(temporary))
    began = time.process_time()
    STEPS[step](folder)
    seconds = time.process_time() - began
    # Not ru_maxrss, which a process takes over from the one that starts it. In KiB.
    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    print(json.dumps([seconds, int(peak) / 1024]))


def main() -> None:
    """Write the rows, run all steps, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--few", type=int)
    parser.add_argument("steps", nargs="*", choices=[[], *STEPS], metavar="STEP")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        _measure(arguments.step, arguments.folder)
        return
    few, many = arguments.few or arguments.rows // 10, arguments.rows
    steps = arguments.steps or list(STEPS)
    print(f"| step | lines per CPU second, of {few} | of {many} | peak MiB of {few} | of {many} |")
    print("|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as temporary:
        for rows in (few, many):
            write_rows(Path(temporary) / str(rows), rows, any(step.startswith("import") for step in steps))
        for step in steps:
            found = []
            for rows in (few, many):
                words = [sys.executable, __file__, "--step", step, "--folder", str(Path(temporary) / str(rows))]
                found.append(json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
            (first, small), (seconds, large) = found
            print(f"| {step} | {few / first:.0f} | {many / seconds:.0f} | {small:.0f} | {large:.0f} |", flush=True)


if __name__ == "__main__":
    main()
