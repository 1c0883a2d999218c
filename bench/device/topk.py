"""Exact top-k on a torch device, with the answers of :class:`diffcdr.search.topk.TopK` to the last bit.

The definition of a score and the argument are those of that module; the shape is a device's. A chunk of users is
multiplied with all items at once; maxima over blocks of items are taken in one pass, and a fixed number of blocks and
then of items is kept, a few more than k, so that nothing depends on values and the host never waits. Whether the few
more were enough is noted on the device and read once, at the end; users for whom they were not (large ties) are scored
exactly throughout. Products must be of full float32: torch uses TF32 only where told to.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffcdr.search.candidates import LOWEST, PADDING
from diffcdr.search.topk import MaskedRows

BLOCK = 32
SPARE_BLOCKS, SPARE_ITEMS = 12, 12
CHUNK_SCORES = 1 << 28
"""Approximate scores at a time: a GiB of float32."""
ROW_BITS = 0xFFFFFFFF
EMPTY = torch.iinfo(torch.int64).min
"""The key of no item: below that of any score."""


class DeviceTopK:
    """The k best items of many users, all on one device."""

    def __init__(self, vectors: Tensor, biases: Tensor, *, offset: float = 0.0) -> None:
        """``vectors`` float32 [n, dim], dim >= 1, and ``biases`` float32 [n], finite, on the device."""
        self.n_items, self.dim = vectors.shape
        self._vectors, self._biases, self._offset = vectors, biases, offset
        padding = -self.n_items % BLOCK
        self._transposed = torch.nn.functional.pad(vectors.T, (0, padding)).contiguous()
        self._levels = torch.nn.functional.pad(biases, (0, padding), value=PADDING)
        self._largest = vectors.abs().amax(dim=0).double()
        self._constant = biases.abs().max().double() + abs(offset)
        self._nothing = torch.full((), -torch.inf, device=vectors.device)
        self._in_block = torch.arange(BLOCK, device=vectors.device)

    def search(self, users: Tensor, k: int, *, masked: MaskedRows | None = None) -> tuple[Tensor, Tensor]:
        """The ``k`` best items of each user.

        Args:
            users: float32 [B, dim], finite, on the device.
            k: from 1 to the number of items.
            masked: item rows that each user must not get.

        Returns:
            (item rows int64 [B, k], scores float32 [B, k]), best first; -1 and -inf where fewer than ``k`` are left.
        """
        keys = users.new_empty((len(users), k), dtype=torch.int64)
        complete = users.new_empty(len(users), dtype=torch.bool)
        chunk = max(1, CHUNK_SCORES // len(self._levels))
        for start in range(0, len(users), chunk):
            part = slice(start, min(start + chunk, len(users)))
            keys[part], complete[part] = self._best_keys(users[part], k, self._pairs(masked, part))
        # The only wait: which users need more.
        for user in torch.nonzero(~complete).squeeze(1).tolist():
            one = slice(user, user + 1)
            keys[one] = self._exhaustive_keys(users[one], k, self._pairs(masked, one))
        rows, scores = ROW_BITS - (keys & ROW_BITS), _turned((keys >> 32).int()).view(torch.float32)
        nobody = keys == EMPTY
        return rows.masked_fill(nobody, -1), scores.masked_fill(nobody, -torch.inf)

    def _pairs(self, masked: MaskedRows | None, part: slice) -> tuple[Tensor, Tensor] | None:
        """(user within ``part``, item row) that must not be."""
        if masked is None:
            return None
        device = self._vectors.device
        owners, rows = (
            torch.from_numpy(np.asarray(each, dtype=np.int64)) for each in masked.part(part.start, part.stop)
        )
        return owners.to(device, non_blocking=True), rows.to(device, non_blocking=True)

    def _best_keys(self, users: Tensor, k: int, pairs: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Packed (score, row) of the ``k`` best, int64 [U, k], and whether nothing can be missing, bool [U]."""
        size = users.double().abs() @ self._largest + self._constant
        margin = (self.dim + 4) * 2.0**-24 * 1.01 * size + 1e-30
        trusted = size < 1e37
        scores = torch.addmm(self._levels, users.where(trusted[:, None], 0.0), self._transposed)
        if pairs is not None:
            scores.index_put_(pairs, self._nothing)
        # Block b holds the items b, b + blocks, b + 2 blocks, …: maxima over it read whole rows in order.
        blocks = scores.view(len(users), BLOCK, -1)
        chosen, enough = _near_best(blocks.amax(dim=1), k, margin, spare=SPARE_BLOCKS)
        near = blocks.gather(2, chosen[:, None, :].expand(-1, BLOCK, -1)).flatten(1)
        places = (chosen[:, None, :] + self._in_block[:, None] * blocks.shape[2]).flatten(1)
        finalists, still_enough = _near_best(near, k, margin, spare=SPARE_ITEMS)
        barred = near.gather(1, finalists) < LOWEST
        rows = places.gather(1, finalists).clamp(max=self.n_items - 1)
        keys = self._keys(users, rows).masked_fill(barred, EMPTY)
        return keys.sort(dim=1, descending=True).values[:, :k], enough & still_enough & trusted

    def _exhaustive_keys(self, user: Tensor, k: int, pairs: tuple[Tensor, Tensor] | None) -> Tensor:
        keys = self._keys(user, torch.arange(self.n_items, device=user.device)[None])
        if pairs is not None:
            keys[pairs] = EMPTY
        return keys.topk(k, dim=1).values

    def _keys(self, users: Tensor, rows: Tensor) -> Tensor:
        """Packed exact scores of item ``rows`` [U, W] for ``users`` [U, dim]: float64 sums, taken in order."""
        vectors = self._vectors[rows]
        total = vectors[:, :, 0].double() * users[:, :1].double()
        for d in range(1, self.dim):
            total += vectors[:, :, d].double() * users[:, d : d + 1].double()
        scores = (total + self._biases[rows].double() + self._offset).float()
        # As diffcdr.search.candidates.pack: the float's bits, turned to order as integers do, then the falling row.
        return (_turned((scores + 0.0).view(torch.int32)).long() << 32) | (ROW_BITS - rows)


def _near_best(values: Tensor, k: int, margin: Tensor, *, spare: int) -> tuple[Tensor, Tensor]:
    """The ``k + spare`` largest columns of ``values`` [U, N], and whether no other can be among the k best, bool [U].

    Three margins, as :func:`diffcdr.search.candidates.above`. Where there are no more columns than that, all are taken.
    """
    width = values.shape[1]
    if width <= k + spare:
        return torch.arange(width, device=values.device).expand(len(values), -1), margin < torch.inf
    best, columns = values.topk(k + spare, dim=1)
    bound = (best[:, k - 1].double() - 3 * margin).clamp(min=LOWEST)
    return columns, best[:, -1].double() < bound


def _turned(bits: Tensor) -> Tensor:
    """Swap the order of negative floats' bits; its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
