"""The noise of stochastic samplers: a function of a seed and a user's id, independent of other users."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from diffcdr.bundle.ids import IdArray
from diffcdr.errors import InputError

LARGEST = 2**30
"""Most random numbers for all users together: 4 GiB."""


def user_draws(ids: IdArray, *, seed: int, width: int) -> Tensor:
    """Standard normal numbers float32 [len(ids), ``width``]; each row depends only on ``seed`` and its id.

    Raises:
        InputError: there would be more than ``LARGEST`` numbers.
    """
    if len(ids) * width > LARGEST:
        raise InputError(
            f"a stochastic sampler would keep {len(ids) * width * 4 / 2**30:,.1f} GiB of noise for {len(ids):,} users; "
            "lower diffcdr.nfe, or choose diffcdr.sampler=dpm-solver, which is deterministic"
        )
    out = np.empty((len(ids), width), dtype=np.float32)
    salt = seed.to_bytes(16, "little")
    for row, user in enumerate(ids.tolist()):
        key = np.frombuffer(blake2b(user, digest_size=16, salt=salt).digest(), dtype=np.uint64)
        np.random.Generator(np.random.Philox(key=key)).standard_normal(dtype=np.float32, out=out[row])
    return torch.from_numpy(out)
