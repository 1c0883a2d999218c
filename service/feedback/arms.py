"""Which arm of a comparison a list belongs to: the user split of canary against stable, and what stands outside it."""

from __future__ import annotations

import hashlib
import json
from enum import IntEnum

from service.bundles.registry import Lineup, Model

EXPERIMENT_BYTES = 6
NO_EXPERIMENT = bytes(EXPERIMENT_BYTES)


class Arm(IntEnum):
    """The part that a model had in the traffic split when it answered. The numbers stand in recommendation ids."""

    UNASSIGNED = 0
    """Nobody was assigned: no user id, a user who is not personalised, or no canary."""
    STABLE = 1
    CANARY = 2
    NAMED = 3
    """The request named the model, so no chance decided."""


def experiment_of(lineup: Lineup) -> bytes:
    """Names the comparison that runs in ``lineup``, on every replica alike; zeros where there is no canary.

    Another bundle, percentage or salt begins another comparison: it assigns other users.
    """
    traffic = lineup.traffic
    if traffic.canary is None:
        return NO_EXPERIMENT
    plan = json.dumps([lineup.stable.id, traffic.canary, traffic.percent, traffic.salt])
    return hashlib.blake2b(plan.encode("utf-8", "surrogatepass"), digest_size=EXPERIMENT_BYTES, person=b"plan").digest()


def arm_of(lineup: Lineup, model: Model, *, named: bool, user_id: str | None) -> Arm:
    """The arm of ``user_id``, whom ``model`` answers; ``named``: because the request says so."""
    if named:
        return Arm.NAMED
    if user_id is None or lineup.traffic.canary is None:
        return Arm.UNASSIGNED
    return Arm.CANARY if model.id == lineup.traffic.canary else Arm.STABLE
