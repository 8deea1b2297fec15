"""Our engines against other runtimes, same weights, search and cores: benchmark_inference.py CHECKPOINT MANIFEST.

On the fragments of a manifest and, with --long-minutes, on one recording that is made of them, joined by silences of
their own rooms; or on a recording of yours (--long, its text beside it as .txt). Every system is run in a process of
its own, by turns, so that what else the machine does slows all. Prints a table in Markdown, and writes it, a plot and
all outputs' figures into --output. A system that fails stands in the table with its reason, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.progress import track

from asr import Fragment, Transcriber, Transcript, load_checkpoint, read_manifest
from asr.audio import SAMPLE_RATE, load_audio
from asr.errors import AsrError
from asr.export import runtimes
from asr.export.ggml import GGML_MODEL
from asr.export.run import OPENAI_MODEL, export
from asr.fragment import write_manifest
from asr.inference.decoding import DecodeOptions
from asr.metrics import ErrorCounts, is_runaway, nearest_errors
from asr.model.checkpoint import Checkpoint
from asr.text import get_normalizer

WINDOW_SECONDS = 30
GAP_SECONDS = (0.3, 3.0)  # between the fragments of a long recording
PACKED_GAP_SECONDS = 0.3
FASTER_WHISPER_BATCH = 16


@dataclass(frozen=True)
class Job:
    """What a worker is told: a system, the folder with the models, what to hear, and how."""

    system: str
    models: str
    manifest: str
    long: bool
    beam: int
    threads: int
    result: str

    @property
    def folder(self) -> Path:
        """Where the models lie."""
        return Path(self.models)


# Groups of fragments with one text each: a system that packs fragments has one text of several.
Heard = list[tuple[list[Fragment], str]]
Run = Callable[[list[Fragment]], Heard]


def each(hear: runtimes.Hear) -> Run:
    """Hear fragments one by one."""
    return lambda fragments: [([one], hear(samples_of(one), one.language)) for one in fragments]


def samples_of(fragment: Fragment) -> runtimes.Samples:
    """Load a fragment; that is part of what is measured."""
    return load_audio(fragment.audio, fragment.start, fragment.duration)


def ours(model: str) -> Callable[[Job], Run]:
    """This project's transcriber on a model of the folder."""

    def start(job: Job) -> Run:
        options = DecodeOptions(beam_size=job.beam if job.beam > 1 else None)
        transcriber = Transcriber(str(job.folder / model), device="cpu", options=options)

        def run(fragments: list[Fragment]) -> Heard:
            found = []
            for fragment, told in zip(fragments, transcriber.transcribe_many(fragments), strict=True):
                if not isinstance(told, Transcript):
                    raise told
                found.append(([fragment], told.text))
            return found

        return run

    return start


def faster_whisper(job: Job) -> Run:
    """File by file; a long recording with its own voice detection."""
    folder = job.folder / "ctranslate2-padded"
    if not job.long:
        return each(runtimes.faster_whisper(folder, threads=job.threads, beam_size=job.beam))
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", cpu_threads=job.threads)

    def hear(samples: runtimes.Samples, language: str) -> str:
        segments, _ = model.transcribe(samples, language=language, beam_size=job.beam, vad_filter=True)
        return "".join(segment.text for segment in segments)

    return each(hear)


def faster_whisper_batched(job: Job) -> Run:
    """Its batched pipeline: fragments packed into windows, a long recording cut by its own voice detection."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model = WhisperModel(str(job.folder / "ctranslate2-padded"), device="cpu", cpu_threads=job.threads)
    pipeline = BatchedInferencePipeline(model)

    def segments_of(samples: runtimes.Samples, language: str, **options: Any) -> list[Any]:
        segments, _ = pipeline.transcribe(
            samples, language=language, beam_size=job.beam, batch_size=FASTER_WHISPER_BATCH, **options
        )
        return list(segments)

    def packed(fragments: list[Fragment]) -> Heard:
        found: Heard = []
        for language in sorted({fragment.language for fragment in fragments}):
            packs = list(windows([one for one in fragments if one.language == language]))
            samples = np.zeros(len(packs) * WINDOW_SECONDS * SAMPLE_RATE, np.float32)
            for number, (_, joined) in enumerate(packs):
                start = number * WINDOW_SECONDS * SAMPLE_RATE
                samples[start : start + len(joined)] = joined
            clips = [
                {"start": number * WINDOW_SECONDS, "end": number * WINDOW_SECONDS + len(joined) / SAMPLE_RATE}
                for number, (_, joined) in enumerate(packs)
            ]
            texts = [""] * len(packs)
            for segment in segments_of(samples, language, vad_filter=False, clip_timestamps=clips):
                texts[int(segment.start // WINDOW_SECONDS)] += segment.text
            found += [(group, text) for (group, _), text in zip(packs, texts, strict=True)]
        return found

    if job.long:
        return each(lambda samples, language: "".join(one.text for one in segments_of(samples, language)))
    return packed


def windows(fragments: list[Fragment]) -> Iterator[tuple[list[Fragment], runtimes.Samples]]:
    """Pack fragments, in their order, into windows."""
    group: list[Fragment] = []
    parts: list[runtimes.Samples] = []
    gap, room = np.zeros(round(PACKED_GAP_SECONDS * SAMPLE_RATE), np.float32), WINDOW_SECONDS * SAMPLE_RATE
    for fragment in fragments:
        samples = samples_of(fragment)
        if group and sum(map(len, parts)) + len(samples) > room:
            yield group, np.concatenate(parts)[:room]
            group, parts = [], []
        group.append(fragment)
        parts += [samples, gap]
    if group:
        yield group, np.concatenate(parts)[:room]


def openai_whisper(job: Job) -> Run:
    """The original."""
    file = job.folder / "openai" / OPENAI_MODEL
    if not job.long:
        return each(runtimes.openai_whisper(file, beam_size=job.beam))
    import whisper

    model = whisper.load_model(str(file), device="cpu")
    beam = job.beam if job.beam > 1 else None
    return each(
        lambda samples, language: whisper.transcribe(model, samples, language=language, beam_size=beam, fp16=False)[
            "text"
        ]
    )


def whisper_cpp(job: Job) -> Run:
    """By pywhispercpp."""
    file = job.folder / "ggml" / GGML_MODEL
    if not job.long:
        return each(runtimes.whisper_cpp(file, threads=job.threads, beam_size=job.beam))
    from pywhispercpp.model import Model

    model = Model(
        str(file),
        params_sampling_strategy=int(job.beam > 1),
        redirect_whispercpp_logs_to=None,
        n_threads=job.threads,
        print_progress=False,
        beam_search={"beam_size": job.beam, "patience": -1.0},
    )
    return each(lambda samples, language: " ".join(one.text for one in model.transcribe(samples, language=language)))


def transformers(job: Job) -> Run:
    """By its own long-form search where the recording is long."""
    folder = job.folder / "huggingface"
    if not job.long:
        return each(runtimes.transformers(folder, beam_size=job.beam))
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    processor = WhisperProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder)

    @torch.inference_mode()
    def hear(samples: runtimes.Samples, language: str) -> str:
        features = processor(
            samples, sampling_rate=SAMPLE_RATE, return_tensors="pt", truncation=False, padding="longest",
            return_attention_mask=True,
        )  # fmt: skip
        spoken = {"language": language, "task": "transcribe"} if model.generation_config.is_multilingual else {}
        tokens = model.generate(**features, num_beams=job.beam, return_timestamps=True, **spoken)
        return str(processor.batch_decode(tokens, skip_special_tokens=True)[0])

    return each(hear)


SYSTEMS: dict[str, Callable[[Job], Run]] = {
    "ours, ctranslate2": ours("ctranslate2"),
    "ours, ctranslate2, padded": ours("ctranslate2-padded"),
    "ours, torch": ours("ours.pt"),
    "ours, torch, padded": ours("ours-padded.pt"),
    "faster-whisper": faster_whisper,
    "faster-whisper, batched": faster_whisper_batched,
    "whisper.cpp": whisper_cpp,
    "openai-whisper": openai_whisper,
    "transformers": transformers,
}
BASELINE = "faster-whisper"


def work(job: Job) -> None:
    """In a process of its own: load, warm up on the first fragment, hear everything, and write down what it took."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    torch.set_num_threads(job.threads)
    fragments = list(read_manifest(job.manifest))
    try:
        run = SYSTEMS[job.system](job)
        if not job.long:
            run(fragments[:1])
        began = time.perf_counter()
        heard = run(fragments)
        seconds = time.perf_counter() - began
    except (AsrError, RuntimeError, ImportError, ValueError) as error:
        Path(job.result).write_text(json.dumps({"failed": str(error).splitlines()[0]}))
        return
    counts, runaway = score(heard)
    Path(job.result).write_text(
        json.dumps(
            {
                "seconds": seconds,
                "peak_mib": peak_mib(),
                "errors": [counts.insertions, counts.deletions, counts.substitutions, counts.hits],
                # A long text has enough of itself to be compressed like a loop.
                "runaway": None if job.long else runaway,
            }
        )
    )


def peak_mib() -> float:
    """The most memory that this process ever held; getrusage counts that of the process that started it too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def score(heard: Heard) -> tuple[ErrorCounts, int]:
    """Count word errors, and texts that compress like loops."""
    counts = ErrorCounts()
    for fragments, text in heard:
        normalize = get_normalizer(fragments[0].language, fragments[0].dialect)
        expected = normalize(" ".join(fragment.text for fragment in fragments))
        counts += nearest_errors(expected, normalize.renderings(text))[0]
    return counts, sum(is_runaway(text) for _, text in heard)


def write_models(checkpoint: Checkpoint, folder: Path, quantization: Any) -> None:
    """Write the weights for every system; a padded window is a checkpoint of its own."""
    window = checkpoint.model.window
    for name, own in (("", window), ("-padded", "padded")):
        checkpoint.model.window = own
        export(checkpoint, "ctranslate2", folder / f"ctranslate2{name}", None, quantization=quantization)
        export(checkpoint, "openai", folder / f"openai{name}", None)
        (folder / f"ours{name}.pt").symlink_to(folder / f"openai{name}" / OPENAI_MODEL)
    for target in ("huggingface", "ggml"):
        export(checkpoint, target, folder / target, None)
    checkpoint.model.window = window


def join(fragments: list[Fragment], minutes: float, path: Path) -> Fragment:
    """Make a long recording of fragments of one language, in their order and as often as it takes.

    Between them is what their own room sounds like: the quietest tenth of a second of the one before, again and again,
    mirrored, so that it has no clicks.
    """
    random = np.random.default_rng(0)
    language = fragments[0].language
    own = [fragment for fragment in fragments if fragment.language == language]
    texts: list[str] = []
    length, wanted = 0, round(minutes * 60 * SAMPLE_RATE)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        while length < wanted:
            fragment = own[len(texts) % len(own)]
            samples = samples_of(fragment)
            silence = quiet(samples, round(random.uniform(*GAP_SECONDS) * SAMPLE_RATE))
            for part in (samples, silence):
                file.write(part)
                length += len(part)
            texts.append(fragment.text)
    return Fragment(id="long", audio=str(path), text=" ".join(texts), language=language, duration=length / SAMPLE_RATE)


def quiet(samples: runtimes.Samples, length: int) -> runtimes.Samples:
    """Return so many samples of the quietest tenth of a second."""
    size = min(SAMPLE_RATE // 10, len(samples))
    power = np.convolve(samples.astype(np.float64) ** 2, np.ones(size), "valid")
    start = int(power.argmin())
    tile = samples[start : start + size]
    both = np.concatenate([tile, tile[::-1]])
    return np.resize(both, length).astype(np.float32)


def measure(
    systems: list[str], models: Path, fragments: list[Fragment], given: argparse.Namespace, long: bool
) -> dict[str, dict[str, Any]]:
    """Run every system in a process of its own, by turns, and return the medians of each."""
    manifest, result = models / f"heard-{long}.jsonl", models / "result.json"
    write_manifest(fragments, manifest)
    seconds = sum(len(samples_of(fragment)) for fragment in fragments) / SAMPLE_RATE
    results: dict[str, list[dict[str, Any]]] = {system: [] for system in systems}
    turns = [system for _ in range(given.runs) for system in systems]
    for system in track(turns, "long recording" if long else "fragments", console=Console(stderr=True)):
        if any("failed" in one for one in results[system]):
            continue
        job = Job(system, str(models), str(manifest), long, given.beam, given.threads, str(result))
        result.unlink(missing_ok=True)
        environment = os.environ | {"OMP_NUM_THREADS": str(given.threads), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, __file__, "--job", json.dumps(vars(job))],
            env=environment,
            capture_output=True,
            check=False,
        )
        died = {"failed": f"its process ended with {done.returncode}"}
        results[system].append(json.loads(result.read_text()) if result.is_file() else died)
    return {system: summary(found, seconds) for system, found in results.items()}


def summary(found: list[dict[str, Any]], audio: float) -> dict[str, Any]:
    """Medians over the runs of one system."""
    failed = next((one["failed"] for one in found if "failed" in one), None)
    if failed is not None:
        return {"failed": failed}
    seconds = median(one["seconds"] for one in found)
    return {
        "seconds": seconds,
        "all_seconds": [one["seconds"] for one in found],
        "real_time_factor": seconds / audio,
        "peak_mib": median(one["peak_mib"] for one in found),
        "errors": found[0]["errors"],
        "wer": ErrorCounts(*found[0]["errors"]).rate,
        "runaway": found[0]["runaway"],
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return Markdown; the ratio says how many times faster than faster-whisper file by file a system is."""
    base = results.get(BASELINE, {}).get("seconds")
    lines = [
        f"| system | seconds | real-time factor | times {BASELINE} | peak MiB | WER % (ins / del / sub) | runaway |",
        "|---|---:|---:|---:|---:|---|---:|",
    ]
    for system, found in results.items():
        if "failed" in found:
            lines.append(f"| {system} | failed: {found['failed']} | | | | | |")
            continue
        ratio = f"{base / found['seconds']:.2f}" if base else ""
        insertions, deletions, substitutions, _ = found["errors"]
        wer = "" if found["wer"] is None else f"{100 * found['wer']:.2f} "
        lines.append(
            f"| {system} | {found['seconds']:.2f} | {found['real_time_factor']:.4f} | {ratio} | "
            f"{found['peak_mib']:.0f} | {wer}({insertions} / {deletions} / {substitutions}) | "
            f"{'' if found['runaway'] is None else found['runaway']} |"
        )
    return "\n".join(lines)


def plot(results: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """Draw word errors over seconds: the nearer to the corner, the better."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(results), figsize=(8 * len(results), 5), squeeze=False)
    for axis, (title, found) in zip(axes[0], results.items(), strict=True):
        for system, one in found.items():
            if one.get("wer") is not None:
                axis.plot(one["seconds"], 100 * one["wer"], "o")
                axis.annotate(system, (one["seconds"], 100 * one["wer"]), xytext=(5, 4), textcoords="offset points")
        axis.set(title=title, xlabel="seconds", ylabel="WER, %", xscale="log")
        axis.set_ylim(bottom=0)
    figure.savefig(path, bbox_inches="tight", dpi=120)


def main() -> None:
    """Measure, print and write."""
    if sys.argv[1:2] == ["--job"]:
        work(Job(**json.loads(sys.argv[2])))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--output", type=Path, default=Path("benchmark_inference"))
    parser.add_argument("--fragments", type=int, default=240, help="from the first one on")
    parser.add_argument("--long", type=Path, help="a recording, its text beside it as .txt")
    parser.add_argument("--long-minutes", type=float, default=0.0, help="make a recording of the fragments")
    parser.add_argument("--language", default="en", help="of --long")
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="cores of every system")
    parser.add_argument("--quantization", default="int8", help="of the CTranslate2 models")
    parser.add_argument("--system", action="append", choices=SYSTEMS, help="only this one; repeat for more")
    given = parser.parse_args()
    systems = given.system or list(SYSTEMS)
    fragments = list(islice(read_manifest(given.manifest), given.fragments))
    if not fragments:
        parser.error(f"there is no fragment in {given.manifest}")
    if given.long and not given.long.with_suffix(".txt").is_file():
        parser.error(f"there is no {given.long.with_suffix('.txt')} with what is said in {given.long}")
    results = {}
    with tempfile.TemporaryDirectory() as name:
        models = Path(name)
        write_models(load_checkpoint(given.checkpoint), models, given.quantization)
        results["fragments"] = measure(systems, models, fragments, given, long=False)
        long = None
        if given.long:
            text = given.long.with_suffix(".txt").read_text("utf-8")
            long = Fragment(id="long", audio=str(given.long.resolve()), text=text, language=given.language)
        elif given.long_minutes:
            long = join(fragments, given.long_minutes, models / "long.wav")
        if long is not None:
            results["one long recording"] = measure(systems, models, [long], given, long=True)
    given.output.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(f"{title}:\n\n{table(found)}" for title, found in results.items())
    (given.output / "table.md").write_text(text + "\n", "utf-8")
    (given.output / "results.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    plot(results, given.output / "plot.png")
    print(text)
    sys.exit(1 if any("failed" in one for found in results.values() for one in found.values()) else 0)


if __name__ == "__main__":
    main()
