"""Argument types of the compiled search loops, and the compiler settings (extra ``fast``: numba)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, cast

import numba

from diffcdr.arrays import Float32Array, Float64Array, Int32Array, Int64Array

Chords = tuple[Int64Array, Float64Array, Float64Array]
"""As :meth:`ItemLayout.chords` gives them."""
Bounds = tuple[tuple[Float64Array, Float64Array], Chords, Float64Array]
"""Reach and tail norms of :class:`ItemLayout`, the users' chords, and three margins of each user [U]."""
Masks = tuple[Int64Array, Int64Array, Int64Array]
"""Starts [U + 1], masked places, ascending per user, and the next unused one of each user [U]."""
Found = tuple[Int64Array, Float32Array, Int64Array]
"""Candidates: places (finally rows) and scores [U, C], and the number of valid ones per user [U], -1 if too many."""
History = tuple[Int64Array, Float32Array, Int64Array, Int64Array]
"""Starts of users [U + 1]; for each source item [R]: its weight, and the next entry and the end of its row of S."""
Entries = tuple[Int32Array, Float32Array]
"""Entries of S [E, 2]: place, ascending in each row, and value, as int32 and as float32."""
Added = tuple[History, Entries]
Best = tuple[Float32Array, Found, Float64Array]
"""The k best scores so far of each user [U, k], the smallest first; candidates; and their exact sparse parts [U, C]."""
Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(*, fused: bool) -> Callable[[Kernel], Kernel]:
    """A decorator: compile at the first call, and cache the result next to the code or in the user's cache if writable.

    ``fused``: products and sums may be fused. Infinities are preserved, since they mark excluded items.
    """

    def decorate(function: Kernel) -> Kernel:
        compile_it = numba.njit(
            nogil=True, error_model="numpy", fastmath={"contract", "nnan", "nsz"} if fused else False
        )
        dispatcher = compile_it(function)
        with suppress(RuntimeError):  # nowhere to write
            dispatcher.enable_caching()
        return cast(Kernel, dispatcher)

    return decorate
