"""Memory-maps ``.npy`` files; the shape in the header is only trusted if the file has that size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffcdr.bundle.format import open_regular

MAX_HEAD_BYTES = 4096
MAX_AXES = 2


def map_array(path: Path) -> npt.NDArray[Any]:
    """The array in ``path``, memory-mapped and read-only. An array without elements is created.

    Raises:
        ValueError: the file is no such array: a head that cannot be read, objects, Fortran order, more than two axes,
            or another size than its head says.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        try:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, dtype = read(file, max_header_size=MAX_HEAD_BYTES)
        except Exception as error:  # the parser of the head is Python's own: whatever it raises
            raise ValueError(f"{path.name} is not an array ({type(error).__name__}: {error})") from error
        if dtype.hasobject or dtype.itemsize == 0 or fortran or len(shape) > MAX_AXES or min(shape, default=0) < 0:
            raise ValueError(f"{path.name} holds {dtype} in shape {shape}, which no table of a bundle does")
        start = file.tell()
        wanted = start + math.prod(shape) * dtype.itemsize
        size = file.seek(0, 2)
        if size != wanted:
            raise ValueError(f"{path.name} has {size:,} bytes, and its header says {wanted:,}")
        if 0 in shape:
            return np.empty(shape, dtype=dtype)
        # As a plain array: indexing the memmap subclass runs Python code for every element taken.
        return np.asarray(np.memmap(file, dtype=dtype, mode="r", offset=start, shape=shape))
