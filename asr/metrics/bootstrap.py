"""95 % intervals by resampling speakers: fragments of one voice are no independent evidence.

Percentile bootstrap over clusters. Whole speakers are drawn with replacement, as many as there are; each draw
gives a corpus rate. Two systems on the same fragments are compared within the same draws. With few speakers the
intervals are too narrow (about ten is few), which is why every figure carries its number of clusters; with one
there is none: one voice says nothing about speakers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 2000

# Weights held at once: 32 MB.
_CHUNK = 4_000_000

Floats = NDArray[np.float64]
Counts = Sequence[int] | NDArray[np.int64] | NDArray[np.bool_]
Clusters = Sequence[str] | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of a corpus and its 95 % interval over speakers.

    Attributes:
        value: The figure itself, not the mean of the draws; None when it has no denominator.
        low: Lower end; None when the interval is not defined (fewer than two clusters, or a denominator that
            is zero in more than 5 % of the draws).
        high: Upper end, or None.
        clusters: Speakers, and fragments without a speaker, that were resampled.
    """

    value: float | None
    low: float | None
    high: float | None
    clusters: int

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and zero lies outside it."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, slots=True)
class Change:
    """A system against its baseline on the same fragments; negative is better.

    Attributes:
        absolute: Rate minus the baseline's rate.
        relative: That difference over the baseline's rate.
    """

    absolute: Estimate
    relative: Estimate


def rate_estimate(
    errors: Counts, words: Counts, clusters: Clusters, *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Estimate a corpus error rate.

    Args:
        errors: Errors per fragment.
        words: Reference words per fragment.
        clusters: Speaker per fragment.
        resamples: Number of draws.
        seed: The same seed gives the same interval, in any order of fragments.
    """
    (estimate,) = rate_estimates([errors], [words], clusters, resamples=resamples, seed=seed)
    return estimate


def rate_estimates(
    errors: Sequence[Counts] | NDArray[np.bool_],
    words: Sequence[Counts] | NDArray[np.bool_],
    clusters: Clusters,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Estimate, ...]:
    """Estimate several rates of the same fragments, within the same draws.

    Args:
        errors: Per rate, what is counted in each fragment.
        words: Per rate, out of how many.
        clusters: As in rate_estimate.
        resamples: Number of draws.
        seed: As in rate_estimate.
    """
    sums = _cluster_sums(clusters, *errors, *words)
    draws = _draws(sums, resamples, seed)
    totals, rates = sums.sum(axis=1), len(errors)
    values, drawn = _ratio(totals[:rates], totals[rates:]), _ratio(draws[:rates], draws[rates:])
    return tuple(_estimate(value, row, sums.shape[1]) for value, row in zip(values, drawn, strict=True))


def paired_change(
    errors: Counts,
    baseline: Counts,
    words: Counts,
    clusters: Clusters,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Change:
    """Estimate the change of a corpus error rate from a baseline on the same fragments.

    Args:
        errors: The system's errors per fragment.
        baseline: The baseline's errors per fragment.
        words: Reference words per fragment.
        clusters: Speaker per fragment.
        resamples: Number of draws.
        seed: As in rate_estimate.
    """
    sums = _cluster_sums(clusters, errors, baseline, words)
    new, old, total = sums.sum(axis=1)
    new_draws, old_draws, total_draws = _draws(sums, resamples, seed)
    count = sums.shape[1]
    return Change(
        absolute=_estimate(_ratio(new - old, total), _ratio(new_draws - old_draws, total_draws), count),
        # The reference words cancel out.
        relative=_estimate(_ratio(new - old, old), _ratio(new_draws - old_draws, old_draws), count),
    )


def statistic_estimate(
    statistic: Callable[[NDArray[np.intp]], float | None],
    clusters: Clusters,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Estimate a figure that is no ratio of sums, such as an F1.

    Args:
        statistic: The figure of some fragments, given by their numbers, which may repeat; None where it is not defined.
        clusters: Speaker per fragment.
        resamples: Number of draws; each one costs a call of ``statistic``.
        seed: As in rate_estimate.
    """
    value, draws, count = _drawn(statistic, clusters, resamples, seed)
    return _estimate(value, draws, count)


def gap_estimate(
    statistic: Callable[[NDArray[np.intp]], float | None],
    clusters: Clusters,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Estimate a figure to which noise only adds, such as a mean of absolute gaps.

    The draws lie above the figure by about as much as the figure lies above what many more speakers would give. So
    their interval is mirrored at the figure (the basic bootstrap: Davison and Hinkley 1997, 5.2), and its lower end
    lowered by that surplus once more: else a gap that is not there would lie outside too often.

    Args:
        statistic: As in statistic_estimate; never below zero.
        clusters: Speaker per fragment.
        resamples: Number of draws; each one costs a call of ``statistic``.
        seed: As in rate_estimate.
    """
    value, draws, count = _drawn(statistic, clusters, resamples, seed)
    plain = _estimate(value, draws, count)
    if plain.value is None or plain.low is None or plain.high is None:
        return plain
    surplus = max(0.0, float(np.nanmean(draws)) - plain.value)
    low, high = 2 * plain.value - plain.high - surplus, 2 * plain.value - plain.low
    return Estimate(plain.value, max(0.0, low), max(0.0, high), count)


def _drawn(
    statistic: Callable[[NDArray[np.intp]], float | None], clusters: Clusters, resamples: int, seed: int
) -> tuple[np.float64, Floats, int]:
    """A figure of all fragments, of those of each draw, and the number of clusters."""
    names, members = np.unique(np.asarray(clusters), return_inverse=True)
    rows = np.arange(len(members))
    drawn: list[float | None] = []
    if len(names) > 1:
        for weights in _weights(len(names), resamples, seed):
            drawn += [statistic(np.repeat(rows, times[members])) for times in weights]
    value = statistic(rows)
    draws = np.array([np.nan if figure is None else figure for figure in drawn])
    return np.float64(np.nan if value is None else value), draws, len(names)


def _cluster_sums(clusters: Clusters, *columns: Counts) -> Floats:
    """Add up each column per cluster: [columns, clusters], clusters in sorted order."""
    # Sorted and summed, so that the order of fragments changes nothing.
    names, members = np.unique(np.asarray(clusters), return_inverse=True)
    return np.stack([np.bincount(members, weights=column, minlength=len(names)) for column in columns])


def _draws(sums: Floats, resamples: int, seed: int) -> Floats:
    """Resample clusters: [columns, clusters] to [columns, resamples]."""
    count = sums.shape[1]
    if count < 2:
        return np.empty((len(sums), 0))
    return np.concatenate([sums @ weights.T for weights in _weights(count, resamples, seed)], axis=1)


def _weights(count: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each cluster is drawn: [some resamples, clusters] at a time."""
    random = np.random.default_rng(seed)
    step = max(1, _CHUNK // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        yield random.multinomial(count, np.full(count, 1 / count), size=rows)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, np.divide(numerator, denominator), np.nan)


def _estimate(value: Floats | np.float64, draws: Floats, clusters: int) -> Estimate:
    known = draws[~np.isnan(draws)]
    figure = None if np.isnan(value) else float(value)
    if figure is None or clusters < 2 or len(known) < LEVEL * len(draws):
        return Estimate(figure, None, None, clusters)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(figure, float(low), float(high), clusters)
