"""Every method of ``diffcdr.client`` against the real service, by both clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffcdr.client import AsyncClient, Client, Event, ServiceError, ShadowShare, User
from tests.bundles import write_bundle
from tests.contract.client.conftest import SECRET
from tests.serving import gated_model, serving

USERS = [f"u{number:05}" for number in range(20, 50)]


def test_a_list_is_the_same_by_body_by_address_and_in_a_batch(client: Client) -> None:
    first = client.recommend(USERS[0], k=5, exclude_items=["t00001"], diversity=0.5, timeout_ms=10_000)
    second = client.recommend_user(USERS[0], k=5, exclude_items=["t00001"], diversity=0.5, timeout_ms=10_000)
    (line,) = client.recommend_batch([User(USERS[0], k=5, exclude_items=["t00001"], diversity=0.5)])
    assert first.items == second.items == line.items
    assert (first.strategy, [item.rank for item in first.items]) == ("transfer", [1, 2, 3, 4, 5])
    assert client.recommend(history=[("s00003", 5.0)]).strategy == "fold_in"


def test_items_are_filtered_changed_and_looked_at(client: Client) -> None:
    sale = {"where": {"tags": {"any": ["sale"]}}}
    assert client.recommend(USERS[0], filter=sale).empty_reason == "no_item_allowed"
    client.change_item("t00007", tags=["sale"])
    assert client.change_items({"t00008": {"tags": ["sale"]}, "t00009": {"available": False}}).changed == 2
    by_body = client.recommend(USERS[0], filter=sale)
    assert {item.item_id for item in by_body.items} == {"t00007", "t00008"}
    assert client.recommend_user(USERS[0], filter=sale).items == by_body.items
    (line,) = client.recommend_batch([User(USERS[0], filter=sale)])
    assert line.items == by_body.items
    assert {item.item_id for item in client.popular(filter=sale).items} == {"t00007", "t00008"}
    assert [item.item_id for item in client.similar_items("t00007", filter=sale).items] == ["t00008"]
    known = client.item("t00007"), client.item("t00009")
    assert ([each.available for each in known], known[0].attributes) == ([True, False], {"tags": ["sale"]})
    client.change_items({item: {"tags": None, "available": None} for item in ("t00007", "t00008", "t00009")})
    assert client.popular(filter=sale).empty_reason == "no_item_allowed"
    client.put_list("some", ["t00007", "t00008", "t00007", "no such item"])
    assert client.uploaded_lists().lists == ["some"]
    assert client.uploaded_list("some").items == ["t00007", "t00008", "no such item"]
    assert {item.item_id for item in client.popular(filter={"list": "some"}).items} == {"t00007", "t00008"}
    client.delete_list("some")
    assert client.similar_items("t00007", to="source", k=3).to == "source"
    one = client.recommend(USERS[0], caps={"tags": 1}).items
    assert client.recommend_user(USERS[0], caps={"tags": 1}).items == one


def test_vectors_cross_the_wire_bit_by_bit(client: Client, folder: Path) -> None:
    found = client.embed_users([USERS[0], "nobody"])
    assert (found.found.tolist(), found.vectors.dtype) == ([True, False], np.float32)
    assert not found.vectors[1].any()
    recommender = gated_model(folder / "current")[0].recommender
    np.testing.assert_array_equal(found.vectors[0], recommender.embed_users([USERS[0]])[0][0])
    source = np.asarray(recommender.bundle.source_users.vectors[:2])
    np.testing.assert_array_equal(client.embed_vectors(source).vectors, recommender.embed_vectors(source))


def test_people_are_remembered_and_forgotten(client: Client) -> None:
    sent = [Event(f"e{number}", "newcomer", f"s0000{number}", 5.0) for number in range(3)]
    assert (client.add_events(sent).accepted, client.add_events(sent).duplicates) == (3, 3)
    assert client.recommend("newcomer").strategy == "fold_in"
    client.opt_out("a/b ?")
    shown = client.recommend("newcomer", k=3)
    seen = [
        Event(
            f"i{item.rank}",
            "newcomer",
            item.item_id,
            type="impression",
            recommendation_id=shown.recommendation_id,
            position=item.rank,
        )
        for item in shown.items
    ]
    assert client.add_events(seen).accepted == 3
    assert client.add_events([Event("e", "a/b ?", "s00001", 1.0)]).rejected[0].code == "opted_out"
    client.opt_in("a/b ?")
    assert client.add_events([Event("e", "a/b ?", "s00001", 1.0)]).accepted == 1
    assert client.erase("newcomer") == client.erase("newcomer")
    assert client.recommend("newcomer").fallback_reason == "opted_out"


@pytest.mark.parametrize("user", [".", "..", "…/%2F", "ü;?#&=+ "])
def test_any_id_is_one_segment_of_an_address(client: Client, user: str) -> None:
    client.opt_out(user)
    assert client.recommend_user(user).fallback_reason == "opted_out"
    client.opt_in(user)
    assert client.recommend(user).fallback_reason == "unknown_user"


def test_models_are_loaded_split_and_rolled_back(client: Client) -> None:
    before = client.models().models[0].id
    loaded = client.load_model("candidate")
    shadow = ShadowShare(model=loaded.id, percent=50)
    traffic = client.set_traffic(canary=loaded.id, percent=5, salt="s", shadow=shadow).traffic
    assert (traffic.percent, traffic.shadow) == (5, shadow)
    assert client.set_traffic().traffic.shadow is None
    assert client.activate_model(loaded.id).state == client.model(loaded.id).state == "stable"
    assert client.roll_back().id == before
    assert client.popular(k=3).bundle == before
    assert len(client.popular(k=3).items) == 3


def test_what_a_bundle_knows_is_looked_up(client: Client) -> None:
    assert client.find_users("u0000", limit=2).users == ("u00000", "u00001")
    assert [item.item_id for item in client.find_items("s0001", domain="source", limit=1).items] == ["s00010"]
    alike = client.similar_items("s00010", domain="source", k=2)
    assert (alike.item.item_id, len(alike.items), alike.domain) == ("s00010", 2, "source")
    assert client.activity().samples[-1].requests >= 0
    with pytest.raises(ServiceError, match="not_in_bundle"):
        client.user_map()


def test_a_refusal_is_raised_with_its_problem(client: Client, address: str) -> None:
    with pytest.raises(ServiceError) as unknown:
        client.recommend("nobody", fallback="deny")
    assert (unknown.value.status, unknown.value.code) == (404, "user_unknown")
    assert unknown.value.problem.request_id
    with pytest.raises(ServiceError) as invalid:
        client.recommend("ann", k=1000)
    assert invalid.value.problem.errors[0].pointer == "/k"
    stranger = Client(address, api_key="another")  # pragma: allowlist secret
    with stranger, pytest.raises(ServiceError, match="unauthenticated"):
        stranger.models()
    assert SECRET not in repr(client.__dict__)


def test_the_asynchronous_client_answers_alike_and_at_once(address: str, client: Client) -> None:
    async def ask() -> tuple[list[Any], list[Any]]:
        async def users() -> AsyncIterator[str | User]:
            for user in USERS:
                await asyncio.sleep(0)
                yield user

        async with AsyncClient(address, api_key=SECRET) as own:
            lists = await asyncio.gather(*(own.recommend(user) for user in USERS))
            assert (await own.popular(k=2)).items == client.popular(k=2).items
            with pytest.raises(ServiceError, match="user_unknown"):
                await own.recommend("nobody", fallback="deny")
            lines = [line async for line in own.recommend_batch(users())]
            assert [line.items for line in lines] == [line.items async for line in own.recommend_batch(USERS)]
            return list(lists), lines

    lists, lines = asyncio.run(ask())
    expected = [client.recommend(user).items for user in USERS]
    assert [each.items for each in lists] == expected == [line.items for line in lines]


def test_a_batch_is_streamed_both_ways(client: Client) -> None:
    taken = 0

    def users() -> Iterator[str]:
        nonlocal taken
        for number in range(5_000):
            taken += 1
            yield f"u{number % 3000:05}"

    lines = client.recommend_batch(users())
    assert taken == 0
    first = next(lines)
    assert first.index == 0
    assert [line.index for line in lines] == list(range(1, 5_000))
    assert taken == 5_000


def test_a_batch_left_early_keeps_the_client_usable_and_errors_stay_in_their_line(client: Client) -> None:
    left = client.recommend_batch(USERS * 100)
    next(left)
    left.close()
    lines = list(client.recommend_batch([USERS[0], User("nobody", fallback="deny"), USERS[1]]))
    assert [line.error and line.error.code for line in lines] == [None, "user_unknown", None]


def test_titles_may_hold_what_looks_like_the_end_of_a_line(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", items=["a\u2028b", "c\x85d", "e"], titles=False)
    with serving(tmp_path / "bundle") as http_client, Client(str(http_client.base_url)) as own:
        (line,) = own.recommend_batch(["u00020"])
        assert {item.item_id for item in line.items} == {"a\u2028b", "c\x85d", "e"}
