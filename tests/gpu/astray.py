"""Run as a program with a bundle: break the CUDA context of this process, and be answered all the same."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import triton
import triton.language as tl

from diffcdr.bundle.reader import open_bundle
from diffcdr.recommend.recommender import Recommender


@triton.jit
def write_astray(pointer, offset):  # type: ignore[no-untyped-def]
    """Store where nothing is."""
    tl.store(pointer + offset + tl.arange(0, 16), 1.0)


def main() -> None:
    """Answer, break, answer."""
    recommender = Recommender(open_bundle(Path(sys.argv[1])), device="cuda", search_device="cuda")
    users = recommender.bundle.source_users.vectors[:100]
    before = recommender.embed_vectors(users)
    try:
        write_astray[(1,)](torch.zeros(16, device="cuda"), 1 << 50)
        torch.cuda.synchronize()
    except Exception as error:  # what a broken context raises has many names
        print("broken:", str(error).splitlines()[0])
    after = recommender.embed_vectors(users)
    assert np.allclose(before, after, rtol=0, atol=1e-4)
    assert recommender.health.lost is not None
    assert (recommender.device, recommender.search_device) == ("cpu", "cpu")
    recommender.top_rows(["u0000001"], 20)
    print("survived", flush=True)
    # What is left on the device can only fail to be freed.
    sys.stdout.flush()


if __name__ == "__main__":
    main()
