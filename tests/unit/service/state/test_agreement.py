"""Both stores do what sets and dictionaries do, whatever happens in whatever order."""

from __future__ import annotations

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.state.store import Claim, Store
from tests.unit.service.state.stores import erased, event, run, suppressed

step = st.tuples(
    st.sampled_from(["out", "in", "erase", "rate", "rate again", "claim", "settle"]), st.sampled_from(["a", "b", "c"])
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(step, max_size=15), cut=st.integers(0, 15))
def test_both_stores_agree_with_a_set(
    steps: list[tuple[str, str]], cut: int, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    urls = [redis_url, f"sqlite:{tmp_path_factory.mktemp('state') / 'state.sqlite'}"]

    async def body(store: Store) -> None:
        out: set[str] = set()
        gone: set[str] = set()
        after = 0
        since: set[str] = set()
        rated: dict[str, list[tuple[str, float]]] = {}
        claims: dict[str, Claim] = {}
        for number, (action, user) in enumerate(steps):
            if number == cut:
                after, since = (await store.version()).sequence, set()
            before = (user in out, user in gone)
            if action == "erase":
                gone.add(user)
                rated.pop(user, None)
                await store.erase(user)
            elif action == "claim":
                claims.setdefault(user, Claim(str(number)))
                assert await store.claim(user, str(number), keep_seconds=60) == claims[user]
            elif action == "settle":
                if user in claims and claims[user].answer is None:
                    claims[user] = Claim(claims[user].asked, str(number))
                expected_answer = claims[user].answer if user in claims else str(number)
                assert await store.record_answer(user, str(number)) == expected_answer
            elif action.startswith("rate"):
                name = "same" if action == "rate again" else str(number)
                fresh = user not in out | gone and (name, 5.0) not in rated.get(user, [])
                expected = "suppressed" if user in out | gone else "accepted" if fresh else "duplicate"
                assert await store.add_events([event(name, user, item=name)], keep_seconds=60) == [expected]
                if fresh:
                    rated.setdefault(user, []).append((name, 5.0))
            else:
                (out.add if action == "out" else out.discard)(user)
                await store.set_opt_out(user, action == "out")
            if before != (user in out, user in gone):
                since.add(user)
        found = await store.changes(after)
        # A store may also mention users for whom a repetition changed nothing.
        assert since <= set(found.suppressed)
        assert all(value == (user in out | gone) for user, value in found.suppressed.items())
        assert {user for user, value in (await suppressed(store)).items() if value} == out | gone
        assert set(await erased(store)) == gone
        assert await store.histories(["a", "b", "c"]) == {user: tuple(ratings) for user, ratings in rated.items()}

    for url in urls:
        run(url, body)
