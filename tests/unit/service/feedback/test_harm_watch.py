"""A canary that does harm is stopped once, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from service.bundles.registry import Registry
from service.feedback.arms import experiment_of
from service.feedback.harm_watch import HarmWatch
from service.state.events.kinds import ArmTotals, Trial
from service.state.store import StateUnavailable, Store
from tests.unit.service.feedback.lineups import lineup


class Counts:
    """Stands for a store."""

    def __init__(self, stable: int, canary: int, users: int = 8000) -> None:
        name = experiment_of(lineup(percent=50.0)).hex()
        self.answers = True
        self.totals = [
            ArmTotals(Trial(name, "stable", 50.0, "b"), 8000, 8000, stable, 0, stable, 0),
            ArmTotals(Trial(name, "canary", 50.0, "c"), users, users, canary, 0, canary, 0),
        ]

    async def trials(self) -> list[ArmTotals]:
        if not self.answers:
            raise StateUnavailable("away")
        return self.totals


def looked(counts: Counts, *, before_change: Callable[[Registry], None] = lambda registry: None) -> tuple[bool, bool]:
    """Whether the split was ended, and whether there is a canary afterwards."""
    plan = replace(lineup(percent=50.0))
    registry = Registry(plan.stable)
    registry.arrange(plan, ())

    async def change(apply: Callable[[Registry], bool]) -> bool:
        before_change(registry)
        return apply(registry)

    ended = asyncio.run(HarmWatch(registry, cast(Store, counts), change).look())
    return ended, registry.lineup.traffic.canary is not None


def test_harm_ends_the_split_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    assert looked(Counts(700, 400)) == (True, False)
    assert "is stopped: clicks at most 0." in caplog.text


def test_nothing_else_ends_it() -> None:
    assert looked(Counts(400, 700)) == (False, True)
    assert looked(Counts(400, 380)) == (False, True)
    # Where users are missing, that fewer click says nothing.
    assert looked(Counts(700, 400, users=5000)) == (False, True)

    def begin_another(registry: Registry) -> None:
        registry.split(replace(registry.lineup.traffic, salt="another"))

    assert looked(Counts(700, 400), before_change=begin_another) == (False, True)


def test_while_the_state_is_away_the_split_stays() -> None:
    counts = Counts(700, 400)
    counts.answers = False
    with pytest.raises(StateUnavailable):
        looked(counts)
