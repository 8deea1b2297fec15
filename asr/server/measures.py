"""What Prometheus is told: how much is asked, how fast it is answered; nothing of what was said or by whom."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Seconds.
_LATENCIES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0)


class Measures:
    """The server's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "asr_requests", "Requests answered; 499: the client went first.", ["path", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "asr_request_seconds",
            "Seconds from a request's first byte to its answer's last.",
            ["path"],
            buckets=_LATENCIES,
            registry=self.registry,
        )
        self.waiting = Gauge("asr_queue_length", "Recordings that wait to be heard.", registry=self.registry)
        self.batches = Histogram(
            "asr_batch_size",
            "Recordings that were heard at once.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.audio = Counter("asr_audio_seconds", "Seconds of audio heard.", registry=self.registry)
        self.busy = Counter("asr_hearing_seconds", "Seconds spent on hearing them.", registry=self.registry)
        self.factor = Histogram(
            "asr_real_time_factor",
            "Of each batch, seconds of work for a second of audio.",
            buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
            registry=self.registry,
        )
        self.live = Gauge("asr_live_sessions", "Live sessions that are open.", registry=self.registry)
        self.live_latency = Histogram(
            "asr_live_final_seconds",
            "Seconds from the end of speech to its final text.",
            buckets=_LATENCIES,
            registry=self.registry,
        )

    def heard(self, count: int, audio: float, seconds: float) -> None:
        """Count a batch of so many recordings with so many seconds of audio, and how long it took."""
        self.batches.observe(count)
        self.audio.inc(audio)
        self.busy.inc(seconds)
        if audio:
            self.factor.observe(seconds / audio)

    def page(self) -> bytes:
        """All of it, in Prometheus's text form."""
        return generate_latest(self.registry)
