"""The kinds of processor that this machine can stand in for: its libraries' kernels, by environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "NPY_DISABLE_CPU_FEATURES", "ATEN_CPU_CAPABILITY", "MKL_CBWR")
AVX512 = "avx512f avx512bw avx512cd avx512dq avx512vl"
NEEDED = {
    "Prescott": "pni",
    "Nehalem": "sse4_2",
    "Sandybridge": "avx",
    "Haswell": "avx2 fma",
    "Zen": "avx2 fma",
    "SkylakeX": AVX512,
    "Cooperlake": f"{AVX512} avx512_bf16",
    "SapphireRapids": f"{AVX512} avx512_bf16 amx_bf16",
    "ARMV8": "asimd",
    "NeoverseN1": "asimd asimddp",
    "NeoverseV1": "asimd sve",
}
"""OpenBLAS' kernels, and the processor features (words of /proc/cpuinfo) that each is made of."""
SAME = {
    "Prescott": {"katmai"},
    "Zen": {"haswell"},
    "Cooperlake": {"skylakex"},
    "SapphireRapids": {"skylakex", "cooperlake"},
    "NeoverseN1": {"armv8"},
    "NeoverseV1": {"neoversen1", "armv8"},
}
"""What OpenBLAS may call them, or run in place of those that a wheel was built without."""


@dataclass(frozen=True)
class Kind:
    """A processor to stand in for: how, and what OpenBLAS should then say it is; None: whatever it chooses."""

    name: str
    variables: dict[str, str]
    architectures: frozenset[str] | None = None

    def environment(self) -> dict[str, str]:
        """This process's environment with this kind's variables in place of any other's."""
        return {name: value for name, value in os.environ.items() if name not in FORCED} | self.variables


def kinds() -> list[Kind]:
    """This machine as it is, with each OpenBLAS kernel, and with NumPy and faiss without vector extensions."""
    features = _features()
    blas = [
        Kind(name, {"OPENBLAS_CORETYPE": name}, frozenset({name.lower()} | SAME.get(name, set())))
        for name, needed in NEEDED.items()
        if features.issuperset(needed.split())
    ]
    extensions = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    plain = [Kind("no extensions", {"NPY_DISABLE_CPU_FEATURES": " ".join(extensions)})] if extensions else []
    return [Kind("as it is", {}), *blas, *plain]


def _features() -> set[str]:
    """The words of /proc/cpuinfo's lines "flags" (x86) or "Features" (ARM); none where there is no such file."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return {word for line in lines if line.startswith(("flags", "Features")) for word in line.split(":")[1].split()}
