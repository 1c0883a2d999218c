"""A test and an interval for a probability that may be looked at after every event.

For a sequence of independent draws of probability q, of which x of n succeeded, the mixture of the likelihood over a
Beta(a, b) prior against the likelihood at q,

    M_n(q) = [B(a + x, b + n - x) / B(a, b)] / [q^x (1 - q)^(n - x)],

is a martingale that begins at 1 (Robbins, "Statistical methods related to the law of the iterated logarithm", 1970). So
by Ville's inequality it ever exceeds 1 / alpha with probability alpha at most: min(1, 1 / M_n(q)) is an always-valid
p-value, and the q of which M_n(q) < 1 / alpha are a confidence sequence (Howard, Ramdas, McAuliffe and Sekhon 2021). No
sample size is fixed, and looking costs nothing.

Two arms become one sequence by whose turn it was (Lindon and Malek, "Anytime-valid inference for multinomial count
data", NeurIPS 2022): under the null hypothesis a user who comes, or clicks for the first time, is of the canary with
the probability p that the split says, whatever happened before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ALPHA = 0.05
"""Error rate of an interval and of a comparison, over all looks together."""
MISMATCH_ALPHA = 0.01
"""Error rate of the check of the sample ratio."""
PRIOR_WEIGHT = 100.0
"""How many draws the prior around the split weighs: effects of some tenths are found soonest."""
RATE_PRIOR = (0.5, 0.5)
_STEPS = 60


@dataclass(frozen=True)
class Interval:
    """A confidence sequence as it stands now, from ``low`` to ``high``."""

    low: float
    high: float


def log_mixture(successes: int, draws: int, q: float, *, prior: tuple[float, float]) -> float:
    """ln M_n(q) of the module's docstring; infinite where ``q`` is 0 or 1 and a draw says otherwise."""
    a, b = prior
    failures = draws - successes
    if (q <= 0.0 and successes) or (q >= 1.0 and failures):
        return math.inf
    likelihood = (successes * math.log(q) if successes else 0.0) + (failures * math.log1p(-q) if failures else 0.0)
    return _log_beta(a + successes, b + failures) - _log_beta(a, b) - likelihood


def p_value(successes: int, draws: int, q: float, *, prior: tuple[float, float]) -> float:
    """Always-valid: how probable it is at most that the evidence against ``q`` ever gets this strong, if it is true."""
    return min(1.0, math.exp(-max(0.0, log_mixture(successes, draws, q, prior=prior))))


def interval(successes: int, draws: int, *, prior: tuple[float, float], alpha: float = ALPHA) -> Interval:
    """The probabilities that are not ruled out at ``alpha``; all of [0, 1] without draws."""
    if not draws:
        return Interval(0.0, 1.0)
    limit = -math.log(alpha)
    centre = successes / draws

    def bound(outside: float) -> float:
        # ln M is convex in q and least at the centre: between there and the end it crosses the limit once.
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
    """The prior around ``share``, in (0, 1), of users who belong to the canary."""
    return PRIOR_WEIGHT * share, PRIOR_WEIGHT * (1.0 - share)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
