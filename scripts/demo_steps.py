"""The steps of scripts/demo, each a command that a user can type; printed, run, and timed."""

from __future__ import annotations

import resource
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from asr.fragment import read_manifest, write_manifest

DATA = Path("data/demo")
RUN = Path("runs/demo")
# Enough to see a difference in minutes; too few for a headline.
TEST_FRAGMENTS = 90


def step(title: str, command: str, *, may_fail: bool = False) -> bool:
    """Print and run one command; end the demo if it fails and may not."""
    print(f"\n\033[1m{title}\033[0m\n$ {command}", flush=True)
    began = time.monotonic()
    words = shlex.split(command)
    if words[0] == "python":
        words[0] = sys.executable
    code = subprocess.run(words, check=False).returncode
    print(f"({time.monotonic() - began:.0f} s)", flush=True)
    if code and not may_fail:
        sys.exit(code)
    return code == 0


def corpus() -> Path:
    """Real recordings where apt is there, synthetic ones otherwise."""
    real, synthetic = DATA / "asterisk_prompts.jsonl", DATA / "synthetic.jsonl"
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        command = f"asr import data/asterisk_prompts --recipe asterisk_prompts --output {real}"
        if step("Real recordings: prompts of voice actors, one voice per dialect", command, may_fail=True):
            return real
    command = f"asr import data/synthetic --recipe synthetic --output {synthetic}"
    step("No real recordings here: SYNTHETIC fragments, spoken by espeak-ng", command)
    return synthetic


def few(manifest: Path, output: Path) -> None:
    """Keep the first fragments of every dialect, as many of each."""
    counts: dict[str | None, int] = dict.fromkeys((fragment.dialect for fragment in read_manifest(manifest)), 0)
    kept = []
    for fragment in read_manifest(manifest):
        counts[fragment.dialect] += 1
        if counts[fragment.dialect] <= TEST_FRAGMENTS // len(counts):
            kept.append(fragment)
    write_manifest(kept, output)


def main() -> None:
    """Run all steps."""
    began = time.monotonic()
    manifest = corpus()
    step("Who speaks how", f"asr stats {manifest}")
    step("Its sides: no sentence on two of them", f"asr split {manifest} --output-dir {DATA} --as-tagged")
    # The prompts have one voice per dialect, which is on every side: their card says what that forbids to conclude.
    known = " --ignore speaker-across-splits" if manifest.stem == "asterisk_prompts" else ""
    step("Nothing is trained on before it is checked", f"asr validate {DATA}/train.jsonl {DATA}/dev.jsonl{known}")
    test = DATA / "few.jsonl"
    few(DATA / "test.jsonl", test)
    shutil.rmtree(RUN, ignore_errors=True)
    step("Fine-tuning whisper-base", f"python scripts/train.py experiment=demo data.train={DATA}/train.jsonl run={RUN}")
    last = RUN / "checkpoints" / "last.pt"
    step(
        "What it hears better, on sentences it has not heard",
        f"python scripts/evaluate.py checkpoint={last} baseline=base +test.prompts={test} output={RUN}/report.json",
    )
    files = " ".join(fragment.audio for fragment in list(read_manifest(test))[:: TEST_FRAGMENTS // 3])
    step("Files transcribed with the result", f"asr transcribe {files} --model {last} --output-dir {RUN}/transcripts")
    for transcript in sorted((RUN / "transcripts").glob("*.txt")):
        print(f"{transcript.name}: {transcript.read_text(encoding='utf-8').strip()}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"\nall of it: {(time.monotonic() - began) / 60:.1f} minutes, peak memory of a step {peak:.1f} GiB")
    print(f"corpus: {manifest.stem}; the checkpoint: {last}; the report: {RUN}/report.json")


if __name__ == "__main__":
    main()
