"""A bundle with an item index: made by the command, as good as it says, answered from, and refused where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import diffcdr.search.build_index
from diffcdr.bundle.format import INDEX_FILE
from diffcdr.bundle.reader import open_bundle
from diffcdr.cli import main
from diffcdr.commands.index import index_bundle
from diffcdr.errors import BundleError, InputError
from diffcdr.filtering.changes import ChangeLog, ItemChange
from diffcdr.filtering.item_filter import ItemFilter
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from diffcdr.search.build_index import recall_of
from diffcdr.stage_times import measured
from service.bundles.registry import load_model
from tests.bundles import write_bundle
from tests.serving import serving


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle of 3,000 items, and the same with an index."""
    folder = tmp_path_factory.mktemp("indexed")
    write_bundle(folder / "exact", items=3_000, users=400, target_dim=6)
    index_bundle(folder / "exact", folder / "indexed", floor=0.95)
    return folder / "exact", folder / "indexed"


def lists(recommender: Recommender, queries: list[Query]) -> list[Recommendation]:
    return [answer for answer in recommender.answer(queries) if isinstance(answer, Recommendation)]


def run(*arguments: str) -> object:
    """The exit code of ``diffcdr arguments``."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code


def test_everything_else_is_as_it_was(bundles: tuple[Path, Path]) -> None:
    exact, indexed = (open_bundle(path) for path in bundles)
    assert exact.manifest.search is None and exact.target_items.index is None
    assert indexed.manifest.files.keys() - exact.manifest.files.keys() == {INDEX_FILE}
    assert exact.manifest.files.items() <= indexed.manifest.files.items()
    assert indexed.manifest.search is not None
    assert 0.95 <= indexed.manifest.search.recall <= 1.0
    assert indexed.manifest.search.users == 400


def test_recall_is_that_of_the_manifest(bundles: tuple[Path, Path]) -> None:
    exact, indexed = (Recommender(open_bundle(path)) for path in bundles)
    users = exact.sampled_vectors(2_000)
    assert len(users) == 400
    best, found = (recommender._search._topk.search(users, 20)[0] for recommender in (exact, indexed))
    spec = indexed.bundle.manifest.search
    assert spec is not None and recall_of(found, best) == spec.recall


def test_filtered_lists_are_exact_and_none_holds_what_is_withheld(bundles: tuple[Path, Path]) -> None:
    exact, indexed = (Recommender(open_bundle(path)) for path in bundles)
    ids = exact.bundle.target_items.ids
    best = lists(exact, [Query("u00042", k=40)])[0].item_ids
    log = ChangeLog()
    log.take({item: ItemChange(available=False) for item in best[:30]})
    for share in (3, 2_000):
        wanted = ItemFilter(items=tuple(ids.take(np.arange(0, len(ids), max(1, len(ids) // share)))))
        queries = [Query("u00042", k=5, filter=wanted), Query("u00042", k=5, filter=wanted, changes=log.now)]
        assert lists(exact, queries) == lists(indexed, queries)
    (found,) = lists(indexed, [Query("u00042", k=20, changes=log.now)])
    assert len(found) == 20 and not set(found.item_ids) & set(best[:30])


def test_exclusions_seen_items_opt_outs_and_diversity_hold(bundles: tuple[Path, Path]) -> None:
    exact, indexed = (Recommender(open_bundle(path)) for path in bundles)
    bundle = exact.bundle
    warm = bundle.target_users.ids[0]
    best = lists(exact, [Query("u00042", k=40)])[0].item_ids
    queries = [
        Query("u00042", k=20, exclude_items=tuple(best[:20])),
        Query(warm, k=20),
        Query(warm, k=20, exclude_seen=False),
        Query("u00042", personalise=False),
        Query("u00042", k=10, diversity=0.4),
        Query("u00042", k=5),
        Query("nobody"),
    ]
    answers = lists(indexed, queries)
    shared: list[float] = []
    for query, mine, theirs in zip(queries, answers, lists(exact, queries), strict=True):
        assert (mine.strategy, mine.fallback_reason) == (theirs.strategy, theirs.fallback_reason)
        assert len(set(mine.item_ids)) == len(mine.item_ids) == query.k
        assert not set(mine.item_ids) & set(query.exclude_items)
        shared.append(len(set(mine.item_ids) & set(theirs.item_ids)) / query.k)
        if mine.strategy == "popular":
            assert mine == theirs
    assert np.mean(shared) > 0.85
    seen = bundle.target_items.ids.take(bundle.target_users.seen(0).astype(np.int64))
    assert not set(answers[1].item_ids) & set(seen)


def test_a_batch_of_any_company_gives_the_same_lists(bundles: tuple[Path, Path]) -> None:
    recommender = Recommender(open_bundle(bundles[1]))
    queries = [Query(f"u{row:05d}", k=1 + row % 60, diversity=0.3 * (row % 2)) for row in range(40)]
    together = recommender.answer(queries)
    assert together == [recommender.answer([query])[0] for query in queries]
    rows = recommender.top_rows([f"u{row:05d}" for row in range(40)], 20)
    plain = lists(recommender, [Query(f"u{row:05d}", k=20) for row in range(40)])
    assert [recommender.bundle.target_items.ids.take(row.astype(np.int64)) for row in rows.items] == [
        answer.item_ids for answer in plain
    ]


def test_who_spoke_is_told(bundles: tuple[Path, Path]) -> None:
    many = tuple(f"t{row:05d}" for row in range(2_900))
    recommender = Recommender(open_bundle(bundles[1]))
    spec = recommender.bundle.manifest.search
    assert spec is not None
    with measured() as spent:
        recommender.answer([Query("u00042")])
    assert "approximate" in spent and "topk" not in spent
    with measured() as spent:
        recommender.answer([Query("u00042", exclude_items=many)])
    assert "topk" in spent
    with serving(bundles[1]) as client:
        (model,) = client.get("/v1/models").json()["models"]
        assert (model["search"], model["recall"]) == ("approximate", spec.recall)
        answer = client.post("/v1/recommendations", json={"user_id": "u00042"})
        assert "approximate;dur=" in answer.headers["server-timing"]


def test_the_service_refuses_a_recall_below_its_floor(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    """The floor of the service is its own, whatever the index was made with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffcdr.search.build_index, "SHARES", (128,))
        spec, _ = index_bundle(bundles[0], tmp_path / "poor", floor=0.1)
    assert spec.recall < 1.0
    with pytest.raises(BundleError, match="below the floor of 1; publish it with a higher --recall-floor"):
        load_model(tmp_path / "poor", device="cpu", threads=1, recall_floor=1.0)
    load_model(tmp_path / "poor", device="cpu", threads=1, recall_floor=spec.recall)
    load_model(bundles[0], device="cpu", threads=1, recall_floor=1.0)


def test_a_flipped_byte_of_the_index_is_found(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundles[1], damaged)
    content = bytearray((damaged / INDEX_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / INDEX_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=r"index\.faiss is damaged"):
        open_bundle(damaged)


def test_the_command_says_what_it_made_and_writes_nothing_below_the_floor(
    bundles: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["index", str(bundles[0]), "--out", str(tmp_path / "out"), "--recall-floor"]
    monkeypatch.setattr(diffcdr.search.build_index, "SHARES", (128,))
    assert run(*command, "1.0") == 2
    assert "so nothing was published" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert run(*command, "0.5") == 0
    assert "of the exact best 20 for 400 users" in capsys.readouterr().err
    assert run("inspect", str(tmp_path / "out")) == 0
    assert "approximate (" in capsys.readouterr().out


def test_nobody_to_measure_for_is_said(tmp_path: Path) -> None:
    write_bundle(tmp_path / "nobody", users=0, items=30)
    with pytest.raises(InputError, match="has no source users"):
        index_bundle(tmp_path / "nobody", tmp_path / "out", floor=0.9)
    assert not (tmp_path / "out").exists()
