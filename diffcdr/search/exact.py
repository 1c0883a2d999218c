"""Matrix products without rounding, so that neither the processor nor the batch shows in them.

BLAS adds up a product's terms in an order of its own for each processor and shape, which float arithmetic shows. Of
vectors no longer than 1 whose values are whole multiples of ``STEP``, terms are multiples of 2^-52, and all sums of
terms lie within 1 (Cauchy and Schwarz), or a little above it after rounding: float64 holds each exactly.
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
