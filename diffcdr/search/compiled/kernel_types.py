"""What the compiled loops of the search are given, and how they are compiled (extra ``fast``: numba)."""

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
"""Starts [U + 1], rising places that must not be, and how far each user's are used up [U]."""
Found = tuple[Int64Array, Float32Array, Int64Array]
"""Candidates of each user: places (at the end rows) and scores [U, C], of which ``counts[u]``; -1 if too many."""
History = tuple[Int64Array, Float32Array, Int64Array, Int64Array]
"""Starts of users [U + 1]; of each of their source items [R]: weight, next entry of its row of S, end of that row."""
Entries = tuple[Int32Array, Float32Array]
"""Entries of S [E, 2]: place, rising in a row, and value, as int32 and as float32."""
Added = tuple[History, Entries]
Best = tuple[Float32Array, Found, Float64Array]
"""The k best scores so far of each user [U, k], the smallest first; candidates; and their exact sparse parts [U, C]."""
Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(*, fused: bool) -> Callable[[Kernel], Kernel]:
    """A decorator: compile at the first call, and keep the result beside the code or in the user's cache if writable.

    ``fused``: products and sums may be one operation. Infinities stay what they are: they mark what does not count.
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
