"""Measures of what was recognised, each over a whole corpus and with its uncertainty."""

from asr.metrics.bootstrap import (
    Change,
    Estimate,
    gap_estimate,
    paired_change,
    rate_estimate,
    rate_estimates,
    statistic_estimate,
)
from asr.metrics.labels import macro_f1
from asr.metrics.runaway import compression_ratio, is_runaway
from asr.metrics.wer import ErrorCounts, character_errors, nearest_errors, word_errors

__all__ = [
    "Change",
    "ErrorCounts",
    "Estimate",
    "character_errors",
    "compression_ratio",
    "gap_estimate",
    "is_runaway",
    "macro_f1",
    "nearest_errors",
    "paired_change",
    "rate_estimate",
    "rate_estimates",
    "statistic_estimate",
    "word_errors",
]
