"""What a sample of n supports: quantiles, their bounds, and how likely a count is by chance. No shape is assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z_ONE_SIDED_975 = 1.96
_SUPPORT = ((0.99, 200), (0.95, 40), (0.90, 20))


def supported_quantile(n: int) -> float | None:
    """Return the highest quantile of interest that n samples support: two samples beyond it at least; None below 20.

    The 99th percentile of 60 samples is their maximum, and says more about luck than about the server.
    """
    return next((q for q, least in _SUPPORT if n >= least), None)


def quantile(ordered: Sequence[float], q: float) -> float:
    """Return the q-quantile (0 to 1, nearest rank) of values in ascending order; ValueError when there are none."""
    if not ordered:
        raise ValueError("no samples")
    return ordered[min(len(ordered) - 1, max(0, math.ceil(q * len(ordered)) - 1))]


def quantile_upper(ordered: Sequence[float], q: float) -> float:
    """Return an upper 97.5 % confidence bound of the q-quantile, by order statistics (binomial ranks, normal limit)."""
    n = len(ordered)
    rank = math.ceil(q * n + Z_ONE_SIDED_975 * math.sqrt(n * q * (1 - q)))
    return ordered[min(n - 1, max(0, rank - 1))] if n else math.nan


def binomial_tail(k: int, n: int, p: float) -> float:
    """Return P(X >= k) for X ~ Binomial(n, p), from logarithms, so that n of millions does not overflow."""
    if k <= 0:
        return 1.0
    if k > n or p <= 0:
        return 0.0
    if p >= 1:
        return 1.0
    if k <= n * p:
        return min(1.0, 1.0 - _sum(k - 1, n, p, -1))
    return _sum(k, n, p, 1)


def _sum(start: int, n: int, p: float, step: int) -> float:
    """Sum the probabilities from `start` away from the mean, until they no longer count."""
    log_term = (
        math.lgamma(n + 1)
        - math.lgamma(start + 1)
        - math.lgamma(n - start + 1)
        + start * math.log(p)
        + (n - start) * math.log1p(-p)
    )
    term = math.exp(log_term)
    total, i, odds = 0.0, start, p / (1 - p)
    while 0 <= i <= n:
        total += term
        if term < total * 1e-15 or term == 0.0:
            break
        term *= (n - i) / (i + 1) * odds if step > 0 else (i / (n - i + 1) / odds if i else 0.0)
        i += step
    return min(1.0, total)
