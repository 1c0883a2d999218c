"""The traffic split: which users a canary answers, and what a shadow gets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Traffic:
    """The traffic split: the canary answers ``percent`` of user ids, by a hash with ``salt``; and shadow traffic."""

    canary: str | None = None
    percent: float = 0.0
    salt: str = ""
    shadow: str | None = None
    """Gets queries of the active model again, after the answer was sent."""
    shadow_percent: float = 0.0
    """Percentage of the active model's queries that the shadow gets."""

    def without(self, model_id: str) -> Traffic:
        """The same split without ``model_id`` as canary or shadow."""
        kept = self
        if kept.canary == model_id:
            kept = replace(kept, canary=None, percent=0.0, salt="")
        if kept.shadow == model_id:
            kept = replace(kept, shadow=None, shadow_percent=0.0)
        return kept

    def takes(self, user_id: str) -> bool:
        """Whether the canary answers ``user_id``. The same user always gets the same answer, on every replica."""
        digest = hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), key=self.salt.encode()[:64], digest_size=8)
        return int.from_bytes(digest.digest()) < self.percent / 100 * 2**64
