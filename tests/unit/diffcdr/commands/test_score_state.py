"""``diffcdr score --state`` keeps to what the state says, and makes no list where the state cannot be read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import polars as pl
import pytest

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError
from diffcdr.filtering.item_filter import ItemFilter
from diffcdr.live_state import read_live_state
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from service.state.items.store import ItemWish
from service.state.opening import open_store
from tests.bundles import write_bundle
from tests.command import run, said

USERS = ("u00020", "u00021", "u00001", "nobody")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "bundle"
    write_bundle(path, items=70, attributes=True)
    return path


async def upload(url: str, items: list[str]) -> None:
    store = open_store(url, bundle=Path())
    await store.items.put_list("some", json.dumps(items))
    await store.close()


async def change(url: str, wishes: dict[str, ItemWish], *, opted_out: str | None = None) -> None:
    store = open_store(url, bundle=Path())
    await store.items.change(wishes)
    if opted_out is not None:
        await store.set_opt_out(opted_out, True)
    await store.close()


def command(bundle: Path, folder: Path, url: str) -> list[str]:
    (folder / "users.txt").write_text("\n".join(USERS))
    files = ["--bundle", str(bundle), "--users", str(folder / "users.txt"), "--out", str(folder / "out.parquet")]
    return ["score", *files, "--k", "9", "--state", url]


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_withdrawn_items_are_in_no_list_and_suppressed_users_get_the_popular_one(
    kind: str, bundle: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:{tmp_path / 'state'}" if kind == "sqlite" else str(request.getfixturevalue("redis_url"))
    recommender = Recommender(open_bundle(bundle), device="cpu")
    gone = {item for user in USERS for item in recommender.recommend(user, k=4).item_ids}
    wishes = {item: ItemWish(available=False, keep_tags=True) for item in gone}
    tagged = next(item for item in recommender.recommend("nobody", k=70).item_ids[::-1] if item not in gone)
    wishes[tagged] = ItemWish(tags=("only here",), keep_available=True)
    asyncio.run(change(url, wishes, opted_out="u00021"))
    shown = " ".join(said(*command(bundle, tmp_path, url)).split())
    assert f"--state: {len(gone)} withdrawn items; 1 user without personal lists" in shown
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert not gone & set(found["item_id"]) and found.height == 9 * len(USERS)
    changes = read_live_state(url).changes
    queries = [Query(user, k=9, changes=changes, personalise=user != "u00021") for user in USERS]
    for user, answer in zip(USERS, recommender.answer(queries), strict=True):
        assert isinstance(answer, Recommendation)
        mine = found.filter(pl.col("user_id") == user)
        assert (mine["item_id"].to_list(), mine["strategy"][0]) == (answer.item_ids, answer.strategy)
    assert run(*command(bundle, tmp_path, url), "--filter", '{"where": {"tags": {"any": ["only here"]}}}') == 0
    assert set(pl.read_parquet(tmp_path / "out.parquet")["item_id"]) == {tagged}


def test_a_state_that_cannot_be_read_makes_no_list(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "damaged").write_text("this is no database, and never was one")
    for url, why in (
        (f"sqlite:{tmp_path / 'typo'}", "there is no state file"),
        (f"sqlite:{tmp_path / 'damaged'}", "so no list is made"),
        (f"unix://{tmp_path / 'nothing.sock'}", "so no list is made"),
        ("mysql://x", "must begin with sqlite:"),
    ):
        assert run(*command(bundle, tmp_path, url)) == InputError.exit_code
        told = " ".join(capfd.readouterr().err.split())
        assert why in told and "Traceback" not in told
    assert not list(tmp_path.glob("*out.parquet*"))


def test_an_uploaded_list_can_be_named_and_an_unknown_one_is_said_before_the_work(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:{tmp_path / 'state'}"
    asyncio.run(upload(url, ["t00003", "t00009"]))
    assert run(*command(bundle, tmp_path, url), "--filter", '{"list": "some"}') == 0
    assert set(pl.read_parquet(tmp_path / "out.parquet")["item_id"]) <= {"t00003", "t00009"}
    before = read_live_state(url)
    asyncio.run(upload(url, []))
    after = read_live_state(url)
    named = ItemFilter.of({"list": "some"})
    assert before.digest() == after.digest() and before.digest(named) != after.digest(named)
    (tmp_path / "out.parquet").unlink()
    for state in (url, ""):
        assert run(*command(bundle, tmp_path, state), "--filter", '{"list": "other"}') == InputError.exit_code
        assert "filter/list: there is no list 'other'" in " ".join(capfd.readouterr().err.split())
    assert not list(tmp_path.glob("*out.parquet*"))


def test_a_run_is_not_gone_on_with_after_the_state_has_changed(bundle: Path, tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'state'}"
    asyncio.run(change(url, {"t00001": ItemWish(available=False, keep_tags=True)}))
    first = read_live_state(url)
    assert read_live_state(url).digest() == first.digest()
    asyncio.run(change(url, {"t00002": ItemWish(available=False, keep_tags=True)}))
    second = read_live_state(url)
    asyncio.run(change(url, {}, opted_out="ann"))
    assert len({first.digest(), second.digest(), read_live_state(url).digest()}) == 3
    assert read_live_state(url).away(pl.Series(["bob", "ann"])).to_list() == ["ann", "bob"]
