"""The arm of an experiment that a list belongs to: stable, canary, or none."""

from __future__ import annotations

import hashlib
import json
from enum import IntEnum

from service.bundles.registry import Lineup, Model

EXPERIMENT_BYTES = 6
NO_EXPERIMENT = bytes(EXPERIMENT_BYTES)


class Arm(IntEnum):
    """The role of a model in the traffic split when it answered. Recommendation ids contain the numbers."""

    UNASSIGNED = 0
    """No assignment: no user id, a user who is not personalised, or no canary."""
    STABLE = 1
    CANARY = 2
    NAMED = 3
    """The request named the model, so it was not chosen at random."""


def experiment_of(lineup: Lineup) -> bytes:
    """Id of the experiment that runs in ``lineup``, the same on every replica; zeros if there is no canary.

    A new bundle, percentage or salt starts a new experiment, since it assigns users differently.
    """
    traffic = lineup.traffic
    if traffic.canary is None:
        return NO_EXPERIMENT
    plan = json.dumps([lineup.stable.id, traffic.canary, traffic.percent, traffic.salt])
    return hashlib.blake2b(plan.encode("utf-8", "surrogatepass"), digest_size=EXPERIMENT_BYTES, person=b"plan").digest()


def arm_of(lineup: Lineup, model: Model, *, named: bool, user_id: str | None) -> Arm:
    """The arm of ``user_id``, whom ``model`` answers. ``named``: whether the request named the model."""
    if named:
        return Arm.NAMED
    if user_id is None or lineup.traffic.canary is None:
        return Arm.UNASSIGNED
    return Arm.CANARY if model.id == lineup.traffic.canary else Arm.STABLE
