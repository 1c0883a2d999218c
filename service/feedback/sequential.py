"""A test and an interval for a probability, valid at every look.

For a sequence of independent draws of probability q, of which x of n succeeded, the mixture of the likelihood over a
Beta(a, b) prior against the likelihood at q,

    M_n(q) = [B(a + x, b + n - x) / B(a, b)] / [q^x (1 - q)^(n - x)],

is a martingale that starts at 1 (Robbins, "Statistical methods related to the law of the iterated logarithm", 1970). By
Ville's inequality, the probability that it ever exceeds 1 / alpha is at most alpha. So min(1, 1 / M_n(q)) is an
always-valid p-value, and the q with M_n(q) < 1 / alpha form a confidence sequence (Howard, Ramdas, McAuliffe and
Sekhon 2021). No sample size is fixed in advance, and looks are free.

Two arms become one sequence of arm labels (Lindon and Malek, "Anytime-valid inference for multinomial count data",
NeurIPS 2022): under the null hypothesis, a user who arrives, or clicks for the first time, belongs to the canary with
the probability p of the split, whatever happened before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ALPHA = 0.05
"""Error rate of an interval and of a comparison, over all looks together."""
MISMATCH_ALPHA = 0.01
"""Error rate of the check of the sample ratio."""
PRIOR_WEIGHT = 100.0
"""Weight of the prior around the split, in draws. With it, relative effects of a few tenths are found soonest."""
RATE_PRIOR = (0.5, 0.5)
_STEPS = 60


@dataclass(frozen=True)
class Interval:
    """A confidence sequence as it stands now, from ``low`` to ``high``."""

    low: float
    high: float


def log_mixture(successes: int, draws: int, q: float, *, prior: tuple[float, float]) -> float:
    """ln M_n(q) of the module's docstring; infinite if ``q`` is 0 or 1 and a draw contradicts it."""
    a, b = prior
    failures = draws - successes
    if (q <= 0.0 and successes) or (q >= 1.0 and failures):
        return math.inf
    likelihood = (successes * math.log(q) if successes else 0.0) + (failures * math.log1p(-q) if failures else 0.0)
    return _log_beta(a + successes, b + failures) - _log_beta(a, b) - likelihood


def p_value(successes: int, draws: int, q: float, *, prior: tuple[float, float]) -> float:
    """Always valid: a bound on the probability that the evidence against a true ``q`` ever gets this strong."""
    return min(1.0, math.exp(-max(0.0, log_mixture(successes, draws, q, prior=prior))))


def interval(successes: int, draws: int, *, prior: tuple[float, float], alpha: float = ALPHA) -> Interval:
    """The probabilities not ruled out at ``alpha``; [0, 1] without draws."""
    if not draws:
        return Interval(0.0, 1.0)
    limit = -math.log(alpha)
    centre = successes / draws

    def bound(outside: float) -> float:
        # ln M is convex in q with its minimum at the centre, so it crosses the limit once on each side.
        inside = centre
        if log_mixture(successes, draws, outside, prior=prior) < limit:
            return outside
        for _ in range(_STEPS):
            middle = (inside + outside) / 2
            if log_mixture(successes, draws, middle, prior=prior) < limit:
                inside = middle
            else:
                outside = middle
        return outside

    return Interval(bound(0.0), bound(1.0))


def split_prior(share: float) -> tuple[float, float]:
    """The Beta prior around ``share`` in (0, 1), the share of users in the canary."""
    return PRIOR_WEIGHT * share, PRIOR_WEIGHT * (1.0 - share)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
