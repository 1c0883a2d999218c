"""Matrix products without rounding, so that results do not depend on the processor or the batch.

BLAS sums a product's terms in an order that depends on processor and shape, and rounding makes the order visible. For
vectors of length at most 1 whose values are multiples of ``STEP``, terms are multiples of 2^-52, and sums of terms are
within 1 (Cauchy and Schwarz), or slightly above after rounding. So float64 represents each of them exactly.
"""

from __future__ import annotations

import numpy as np

from diffcdr.arrays import Float64Array

STEP = 2.0**-26
"""A quarter of the spacing of float32 below 1."""


def to_steps(vectors: Float64Array) -> Float64Array:
    """``vectors`` [..., dim], each no longer than 1, with every value rounded to a multiple of ``STEP``."""
    steps: Float64Array = np.rint(vectors * (1.0 / STEP)) * STEP
    return steps
