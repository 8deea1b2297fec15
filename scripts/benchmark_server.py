"""What a server bears: python scripts/benchmark_server.py URL-or-MODEL RECORDINGS.

RECORDINGS is a manifest or a folder. Prints requests per second and the 95th percentile of their latency at 1, 4 and 16
clients, the errors among them, how the server's memory grows over --total requests, and for live speech, played at the
speed at which it was spoken, the seconds from the end of speech to its final text. A MODEL is served by `asr serve` on
this machine, whose cores clients and server then share; of a server given by its URL the memory is not known. The exit
code is 1 if a request failed.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import httpx
import numpy as np
import soundfile
import websockets

from asr.audio import AUDIO_ENDINGS, SAMPLE_RATE, Samples, load_audio
from asr.fragment import read_manifest
from asr.inference.speech import SpeechDetector, SpeechOptions

CLIENTS = (1, 4, 16)
# Clients of the long run.
MANY = 4
# Its memory is told after so many parts, and looked at so often in each: what is free comes and goes.
PARTS = 10
WATCHED = 10
SPEECH = SpeechOptions(min_silence=0.5)
FRAME = SAMPLE_RATE // 10


@dataclass
class Round:
    """One round of requests: seconds of each, seconds of audio, and the answers that were no transcript."""

    latencies: list[float] = field(default_factory=list)
    audio: float = 0.0
    errors: list[str] = field(default_factory=list)


def clips(place: Path, count: int) -> list[Samples]:
    """The first recordings of a manifest or a folder that last at most 30 s."""
    if place.is_dir():
        files = (path for path in sorted(place.rglob("*")) if path.suffix.lower() in AUDIO_ENDINGS)
        loaded: Iterator[Samples] = map(load_audio, files)
    else:
        loaded = (load_audio(one.audio, one.start, one.duration) for one in read_manifest(place))
    return list(islice((samples for samples in loaded if len(samples) <= 30 * SAMPLE_RATE), count))


def flac(samples: Samples) -> bytes:
    """The content of a flac file."""
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC")
    return file.getvalue()


@contextmanager
def served(target: str, extra: list[str]) -> Iterator[tuple[str, int | None]]:
    """The address of a server, and its process if it is ours."""
    if target.startswith(("http://", "https://")):
        yield target.rstrip("/"), None
        return
    command = [sys.executable, "-m", "asr", "serve", target, "--port", "0", *extra]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "listens on" in line:
                break
        else:
            raise SystemExit("".join(lines))
        # A full pipe would stop the server.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield lines[-1].split()[-1], process.pid
        finally:
            process.terminate()


def resident(process: int) -> float:
    """Megabytes of memory that a process holds."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def ask(url: str, bodies: list[bytes], seconds: list[float], clients: int, count: int, first: int = 0) -> Round:
    """Send so many requests, from that number on, each client one after the other."""
    done, numbers = Round(), iter(range(first, first + count))
    key = os.environ.get("ASR_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def client(asking: httpx.AsyncClient) -> None:
        for number in numbers:
            chosen = number % len(bodies)
            began = time.perf_counter()
            try:
                answer = await asking.post(
                    f"{url}/v1/audio/transcriptions",
                    files={"file": ("a.flac", bodies[chosen])},
                    data={"language": "en"},
                )
                fault = None if answer.status_code == 200 else str(answer.status_code)
            except httpx.TransportError as error:
                fault = type(error).__name__
            if fault:
                done.errors.append(fault)
            else:
                done.latencies.append(time.perf_counter() - began)
                done.audio += seconds[chosen]

    async with httpx.AsyncClient(timeout=300, headers=headers) as asking:
        await asyncio.gather(*(client(asking) for _ in range(clients)))
    return done


async def speak(url: str, samples: Samples) -> float | None:
    """Seconds from the end of speech to its final text, played in real time; None where nobody speaks in it."""
    silence = np.zeros(3 * SAMPLE_RATE, np.float32)
    heard = np.concatenate((samples, silence))
    detector = SpeechDetector(SPEECH)
    ends = [edge.time for edge in [*detector.hear(heard), *detector.finish()] if edge.kind == "end"]
    if not ends:
        return None
    end = ends[-1] - SPEECH.padding
    data = (np.clip(heard, -1, 1) * 32767).astype("<i2")
    final = 0.0
    key = os.environ.get("ASR_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    address = f"{url.replace('http', 'ws', 1)}/v1/live?language=en"
    async with websockets.connect(address, additional_headers=headers) as connection:
        await connection.recv()
        began = time.perf_counter()

        async def listen() -> None:
            nonlocal final
            async for message in connection:
                if json.loads(message)["type"] == "final":
                    final = time.perf_counter() - began

        listening = asyncio.create_task(listen())
        for first in range(0, len(data), FRAME):
            # A microphone gives a frame when it is over.
            await asyncio.sleep(began + (first + FRAME) / SAMPLE_RATE - time.perf_counter())
            await connection.send(data[first : first + FRAME].tobytes())
        await connection.send(b"")
        await listening
    return final - end if final else None


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return float(np.percentile(values, 95)) if values else float("nan")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="a server's URL, or a model")
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--clips", type=int, default=100, help="of the recordings, sent in turn")
    parser.add_argument("--requests", type=int, default=200, help="for each number of clients")
    parser.add_argument("--total", type=int, default=5000, help="for the growth of memory; 0 leaves it out")
    parser.add_argument("--live", type=int, default=10, help="recordings spoken live; 0 leaves them out")
    parser.add_argument("--serve", default="", help="further options of asr serve, in one string")
    given = parser.parse_args()

    samples = clips(given.recordings, given.clips)
    if not samples:
        parser.error(f"{given.recordings} has no recording of at most 30 s")
    bodies, seconds = [flac(one) for one in samples], [len(one) / SAMPLE_RATE for one in samples]
    print(f"{len(samples)} recordings of {np.mean(seconds):.1f} s on average")
    errors = 0
    with served(given.target, given.serve.split()) as (url, process):
        asyncio.run(ask(url, bodies, seconds, 1, 10))  # the first ones load libraries
        print("| clients | requests a second | seconds of audio a second | 95th percentile, s | errors |")
        print("|---:|---:|---:|---:|---:|")
        for clients in CLIENTS:
            began = time.perf_counter()
            done = asyncio.run(ask(url, bodies, seconds, clients, given.requests))
            took = time.perf_counter() - began
            errors += len(done.errors)
            print(
                f"| {clients} | {len(done.latencies) / took:.2f} | {done.audio / took:.1f} | "
                f"{p95(done.latencies):.2f} | {len(done.errors)} |",
                flush=True,
            )
        if given.live:
            found = [asyncio.run(speak(url, one)) for one in samples[: given.live]]
            told = [one for one in found if one is not None]
            if told:
                print(
                    f"live, from the end of speech to the final text: median {np.median(told):.2f} s, 95th percentile "
                    f"{p95(told):.2f} s, worst {max(told):.2f} s, of {len(told)} recordings"
                )
        if given.total and process is not None:
            print(f"{MANY} clients, MB of memory after so many requests more, a median of {WATCHED} looks:", end="")
            sent = 0
            for part in range(1, PARTS + 1):
                held = []
                for look in range(1, WATCHED + 1):
                    until = given.total * ((part - 1) * WATCHED + look) // (PARTS * WATCHED)
                    done = asyncio.run(ask(url, bodies, seconds, MANY, until - sent, sent))
                    sent = until
                    errors += len(done.errors)
                    held.append(resident(process))
                print(f" {sent}: {np.median(held):.0f}", end="", flush=True)
            print(f"; {errors} errors in all")
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
