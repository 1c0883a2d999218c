"""After an acknowledged opt-out or erasure no answer is personalised, on any path, whatever fails."""

from __future__ import annotations

import pytest

from tests.attack.promise import MACHINES, check


@pytest.mark.attack
@pytest.mark.parametrize("name", MACHINES)
def test_the_promise_is_kept_whatever_fails(name: str) -> None:
    check(MACHINES[name], examples=3, steps=30)


@pytest.mark.parametrize("name", ["sqlite, one process", "redis, two replicas"])
def test_the_promise_is_kept_for_a_short_while(name: str) -> None:
    check(MACHINES[name], examples=2, steps=15)
