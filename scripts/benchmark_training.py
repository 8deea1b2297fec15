"""Training against the Hugging Face recipe: python scripts/benchmark_training.py MANIFEST --model base.

Both train the same weights on the same fragments with as many fragments a step, in the same precision: this project
as `scripts/train.py` does it, and transformers' `Seq2SeqTrainer` with the usual collator, every fragment padded to 30
s. Each is a process of its own, and they take turns, a few steps each; who has no turn is stopped, its loaders too.

Ours reads and decodes audio and makes features during its steps. The recipe has its features in memory before the
first step, which favours it, and learns all weights; --adapters says what of ours learns. Prints how much arithmetic a
fragment takes, fragments per second, the median seconds of a step, their ratio, and the peak memory of the training
process: on a GPU what torch allocated there, else the resident memory. How long fragments are decides the ratio, and
the first batches of a pass may have short ones: --every samples the whole pass. With --epochs both train so many passes
over the manifest instead of --steps, and with --dev what each of them reaches is scored.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from tqdm import tqdm

from asr.fragment import read_manifest
from asr.model.adapt import AdaptMode

# The first steps make the optimiser's state and warm the allocators.
_WARM = 2
# Batches of which the arithmetic is counted.
_COUNTED = 8


@dataclass(frozen=True)
class Plan:
    """What both train.

    Attributes:
        manifest: The fragments.
        model: The weights that both start from.
        batch_seconds: Most seconds of audio in a batch of ours.
        every: Of the batches that training draws, every so many-th is taken.
        steps: Steps that are measured.
        precision: ``32-true`` or ``bf16-mixed``.
        adapter: What learns in ours, a mode of `asr.model.adapt.adapt`.
        lr: Our learning rate.
        cuda: Whether on a GPU.
        folder: Where each leaves its checkpoint, called ``hugging face.pt`` and, of ours, as what learns.
    """

    manifest: Path
    model: str
    batch_seconds: float
    every: int
    steps: int
    precision: str
    adapter: AdaptMode
    lr: float
    cuda: bool
    folder: str

    @property
    def warmup(self) -> int:
        """Steps over which both learning rates rise."""
        return (_WARM + self.steps) // 10


class Turn:
    """A process's end of the line: it asks before every step, and tells after it.

    Args:
        line: To the process that deals out turns.
        cuda: Whether there is a GPU to wait for.
    """

    def __init__(self, line: Connection, cuda: bool) -> None:
        self.line = line
        self.cuda = cuda

    def wait(self, fragments: int = 0) -> None:
        """Say that all before this is done, of how many fragments, and wait for the next turn."""
        if self.cuda:
            torch.cuda.synchronize()
        peak = (
            torch.cuda.max_memory_allocated()
            if self.cuda
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )
        self.line.send((peak, fragments))
        self.line.recv()


def train_ours(plan: Plan, line: Connection) -> None:
    """Train as `scripts/train.py` does."""
    os.setpgrp()
    from asr.data.batch import BatchOptions
    from asr.memory import take_large_pages
    from asr.model.adapt import adapt
    from asr.model.checkpoint import load_checkpoint
    from asr.training import run
    from asr.training.optim import OptimOptions
    from asr.training.task import TranscriptionTask

    take_large_pages()
    turn = Turn(line, plan.cuda)

    class TakesTurns(TranscriptionTask):
        def on_train_start(self) -> None:
            turn.wait()

        def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
            turn.wait(batch.heard)

    draws = run.BatchStream.__iter__
    run.BatchStream.__iter__ = lambda stream: islice(draws(stream), 0, None, plan.every)  # type: ignore[method-assign]
    run.TranscriptionTask = TakesTurns  # type: ignore[misc]
    loaded = load_checkpoint(plan.model)
    loaded.model.window = "tight"
    adapt(loaded.model, plan.adapter)
    with tempfile.TemporaryDirectory() as folder:
        trained = run.train(
            loaded.model,
            loaded.info,
            Path(folder),
            data=run.DataOptions((str(plan.manifest),), batch_seconds=plan.batch_seconds),
            batch=BatchOptions(speeds=(1.0,)),
            augment=None,
            optim=OptimOptions(lr=plan.lr, warmup_steps=plan.warmup),
            trainer=run.TrainerOptions(
                max_steps=_WARM + plan.steps,
                precision=plan.precision,  # type: ignore[arg-type]
                accelerator="gpu" if plan.cuda else "cpu",
                save_every=10**9,
            ),
            seed=0,
        )
        trained.replace(Path(plan.folder) / f"{plan.adapter}.pt")
    turn.wait()


def train_huggingface(plan: Plan, line: Connection) -> None:
    """Train as the usual recipe does (huggingface.co/blog/fine-tune-whisper), without gradient checkpointing."""
    os.setpgrp()
    import transformers

    from asr.audio import SAMPLE_RATE, load_audio
    from asr.data.labels import Labeller
    from asr.model.checkpoint import load_checkpoint, save_checkpoint

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    turn = Turn(line, plan.cuda)
    loaded = load_checkpoint(plan.model)
    loaded.model.window = "padded"
    whisper = loaded.model.whisper
    labeller = Labeller(whisper)
    extractor = transformers.WhisperFeatureExtractor(feature_size=whisper.dims.n_mels)
    examples = []
    for fragment in (fragment for batch in batches_of(plan) for fragment in batch):
        audio = np.asarray(load_audio(fragment.audio, fragment.start, fragment.duration))
        features = extractor(audio, sampling_rate=SAMPLE_RATE).input_features[0]
        label = labeller(fragment.text, fragment.language)
        # The recipe's labels are all tokens but the first, which the model puts before them.
        examples.append({"input_features": features, "labels": [*label.tokens[1:], label.targets[-1]]})

    rows: list[int] = []

    def collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        rows.append(len(batch))
        labels = [torch.tensor(row["labels"]) for row in batch]
        return {
            "input_features": torch.from_numpy(np.stack([row["input_features"] for row in batch])),
            "labels": torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100),
        }

    class TakesTurns(transformers.TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            turn.wait()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            # The last batch of a pass may be smaller.
            turn.wait(rows.pop(0))

    size = round(len(examples) / (_WARM + plan.steps))
    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Seq2SeqTrainer(
            model=as_huggingface(loaded),
            args=transformers.Seq2SeqTrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=size,
                max_steps=_WARM + plan.steps,
                learning_rate=1e-5,
                warmup_steps=plan.warmup,
                bf16=plan.precision == "bf16-mixed",
                use_cpu=not plan.cuda,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
            ),
            train_dataset=examples,
            data_collator=collate,
            callbacks=[TakesTurns()],
        )
        trainer.train()
    from asr.weights.huggingface import openai_name

    learnt = {
        openai_name(name): weight for name, weight in trainer.model.state_dict().items() if name != "proj_out.weight"
    }
    whisper.load_state_dict(learnt, strict=False)
    save_checkpoint(loaded.model, loaded.info, Path(plan.folder) / "hugging face.pt")
    turn.wait()


def as_huggingface(checkpoint: Any) -> Any:
    """The same model as transformers', by way of what `asr export` writes."""
    import transformers

    from asr.export.huggingface import write_huggingface

    with tempfile.TemporaryDirectory() as folder:
        write_huggingface(checkpoint, Path(folder))
        return transformers.WhisperForConditionalGeneration.from_pretrained(folder)


def batches_of(plan: Plan) -> list[Any]:
    """The fragments of the batches that our training draws first."""
    from asr.data.stream import BatchStream

    stream = BatchStream([plan.manifest], plan.batch_seconds)
    drawn = islice(stream, 0, (_WARM + plan.steps) * plan.every, plan.every)
    return [tuple(example.fragment for example in draw.examples) for draw in drawn]


def steps_of(manifest: Path, batch_seconds: float, epochs: int) -> int:
    """The steps of some passes over a manifest."""
    from asr.data.stream import BatchStream

    return sum(1 for draw in takewhile(lambda draw: draw.after.epoch < epochs, BatchStream([manifest], batch_seconds)))


def wer_of(checkpoint: Path, dev: Path) -> str:
    """WER of a checkpoint in percent, with its interval over speakers."""
    from asr import Transcriber
    from asr.evaluation import evaluate

    wer = evaluate(Transcriber(checkpoint), {"dev": dev}).targets[0].overall.system.wer
    assert wer.value is not None and wer.low is not None and wer.high is not None
    return f"{100 * wer.value:.2f} [{100 * wer.low:.1f}, {100 * wer.high:.1f}]"


def arithmetic(plan: Plan, batches: list[Any]) -> tuple[float, float]:
    """Floating-point operations a fragment of the recipe's and of ours, forward and back, over some of the batches."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from asr.data.batch import BatchLoader, BatchOptions
    from asr.data.examples import Example
    from asr.data.labels import IGNORED, Labeller
    from asr.data.stream import Draw
    from asr.model.adapt import adapt
    from asr.model.checkpoint import load_checkpoint

    loaded = load_checkpoint(plan.model)
    model, recipe = loaded.model, as_huggingface(loaded)
    model.window = "tight"
    adapt(model, plan.adapter)
    loader = BatchLoader(Labeller(model.whisper), BatchOptions(speeds=(1.0,)))
    fragments = 0
    # A CPU's own attention is unknown to the counter, plain products are not.
    with FlopCounterMode(display=False) as ours, sdpa_kernel(SDPBackend.MATH):
        for drawn in batches[:: max(1, len(batches) // _COUNTED)]:
            batch = loader[Draw(tuple(Example((fragment,)) for fragment in drawn), None, 0)]
            fragments += len(batch.fragments)
            window = model.window_samples(batch.num_samples, batch.margin)
            audio = torch.nn.functional.pad(batch.audio, (0, max(0, int(window.max()) - batch.audio.shape[1])))
            hidden = model.decode(batch.tokens, model.encode(*model.features(audio, window)))
            model.logits(hidden[batch.targets != IGNORED]).sum().backward()
    mels = torch.zeros(1, model.whisper.dims.n_mels, 2 * model.whisper.dims.n_audio_ctx)
    with FlopCounterMode(display=False) as padded, sdpa_kernel(SDPBackend.MATH):
        recipe(input_features=mels, labels=torch.zeros_like(batch.tokens[:1])).loss.backward()
    return float(padded.get_total_flops()), ours.get_total_flops() / fragments


class Side:
    """One of the two, and what it took.

    Args:
        target: What its process does.
        plan: What is trained.
    """

    def __init__(self, target: Callable[[Plan, Connection], None], plan: Plan) -> None:
        self.seconds: list[float] = []
        self.fragments: list[int] = []
        self.peak = 0
        self.line, other = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=target, args=(plan, other))
        self.process.start()
        other.close()
        self.line.recv()  # ready before the first step
        self._send(signal.SIGSTOP)

    def step(self) -> None:
        """Let it take one step."""
        began = time.perf_counter()
        self._send(signal.SIGCONT)
        self.line.send(None)
        self.peak, fragments = self.line.recv()
        self._send(signal.SIGSTOP)
        self.seconds.append(time.perf_counter() - began)
        self.fragments.append(fragments)

    def save(self) -> None:
        """Let it end its training, and save what it has learnt."""
        self._send(signal.SIGCONT)
        self.line.send(None)
        self.line.recv()

    def close(self) -> None:
        """End its processes."""
        self._send(signal.SIGKILL)
        self.process.join()

    def _send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.killpg(self.process.pid, number)


def measure(plan: Plan, rates: Mapping[AdaptMode, float], turn: int) -> dict[str, Side]:
    """Train the recipe and ours, each with its learning rate, ``turn`` steps each in turn."""
    sides: dict[str, Side] = {}
    try:
        sides["hugging face"] = Side(train_huggingface, plan)
        for adapter, lr in rates.items():
            sides[adapter] = Side(train_ours, replace(plan, adapter=adapter, lr=lr))
        for first in tqdm(range(0, _WARM + plan.steps, turn), desc=plan.precision):
            for side in sides.values():
                for _ in range(min(turn, _WARM + plan.steps - first)):
                    side.step()
        for side in sides.values():
            side.save()
    finally:
        for side in sides.values():
            side.close()
    return sides


def compare(given: argparse.Namespace, precision: str, folder: str) -> None:
    """Train both in one precision, and print what it took and what it reached."""
    cuda = given.device == "cuda"
    steps = steps_of(given.manifest, given.batch_seconds, given.epochs) - _WARM if given.epochs else given.steps
    plan = Plan(
        given.manifest, given.model, given.batch_seconds, given.every, steps, precision, given.adapters[0],
        given.lr[0], cuda, folder,
    )  # fmt: skip
    batches = batches_of(plan)[_WARM:]
    count = sum(map(len, batches))
    seconds = sum(fragment.duration for batch in batches for fragment in batch)
    # The first batches of a pass may be of short fragments, which favours the side that pads nothing.
    usual = statistics.mean(fragment.duration or 0.0 for fragment in read_manifest(given.manifest))
    device = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} CPU threads"
    print(
        f"{precision}: {steps} steps of {count / steps:.1f} fragments, {seconds / count:.1f} s on average (all of "
        f"{given.manifest.name}: {usual:.1f} s), on {device}"
    )
    for adapter in given.adapters:
        padded, tight = arithmetic(replace(plan, adapter=adapter), batches)
        print(
            f"{adapter:>14}: {tight / 1e9:.0f} GFLOP a fragment, the recipe {padded / 1e9:.0f}, ratio "
            f"{padded / tight:.1f}"
        )
    sides = measure(plan, dict(zip(given.adapters, given.lr, strict=True)), given.turn)
    rates = {}
    for name, side in sides.items():
        took = side.seconds[_WARM:]
        rates[name] = sum(side.fragments[_WARM:]) / sum(took)
        print(
            f"{name:>14}: {rates[name]:7.2f} fragments a second, {statistics.median(took):6.2f} s a step (median), "
            f"{side.peak / 2**30:5.2f} GiB at the most"
        )
    for adapter in given.adapters:
        print(f"{adapter:>14}: {rates[adapter] / rates['hugging face']:.1f} times the recipe")
    if given.dev:
        for name in sides:
            print(f"{name:>14}: WER {wer_of(Path(folder) / f'{name}.pt', given.dev)} % on {given.dev.name}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--batch-seconds", type=float, default=80.0)
    parser.add_argument("--steps", type=int, default=8, help="steps measured in each precision")
    parser.add_argument("--every", type=int, default=1, help="take every so many-th batch, to sample a whole pass")
    parser.add_argument("--epochs", type=int, help="train so many passes instead")
    parser.add_argument("--dev", type=Path, help="score what both have learnt on these fragments")
    parser.add_argument("--turn", type=int, default=2, help="steps of one before the other has its turn")
    parser.add_argument("--precisions", nargs="+", default=["32-true", "bf16-mixed"])
    parser.add_argument(
        "--adapters",
        choices=[mode for mode in get_args(AdaptMode) if mode != "heads_only"],
        nargs="+",
        default=["full"],
        help="what of ours learns, by turns",
    )
    parser.add_argument(
        "--lr", type=float, nargs="+", default=[1e-5], help="ours, one for each of --adapters; the recipe's is 1e-5"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    if len(given.lr) == 1:
        given.lr *= len(given.adapters)
    if len(given.lr) != len(given.adapters):
        parser.error(f"--lr has {len(given.lr)} rates for {len(given.adapters)} --adapters; give one, or one for each")
    if given.epochs and given.every > 1:
        parser.error("--every samples a pass, and --epochs takes all of it; give one of them")
    for precision in given.precisions:
        with tempfile.TemporaryDirectory() as folder:
            compare(given, precision, folder)


if __name__ == "__main__":
    main()
