"""Lists of bundles whose scores have a sparse term, against the definition, on every way to a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from diffcdr.bundle.check import check_tables
from diffcdr.bundle.reader import Bundle, open_bundle
from diffcdr.commands.index import index_bundle
from diffcdr.errors import BundleError, DeviceError, InputError
from diffcdr.recommend.query import Query, Recommendation
from diffcdr.recommend.recommender import Recommender
from tests.bundles import write_bundle

K = 25


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sparse") / "bundle"
    write_bundle(folder, objective="ranking", neighbours=True)
    return folder


@pytest.fixture(scope="module")
def bundle(path: Path) -> Bundle:
    return open_bundle(path)


def with_warm(bundle: Bundle, *, sparse: bool) -> Bundle:
    warm = bundle.manifest.warm
    assert warm is not None
    return replace(
        bundle, manifest=bundle.manifest.model_copy(update={"warm": warm.model_copy(update={"sparse": sparse})})
    )


def rated(bundle: Bundle, user: str) -> npt.NDArray[np.int32]:
    tables, row = bundle.neighbours, bundle.source_users.ids.row(user)
    assert tables is not None
    return tables.user_items[tables.user_indptr[row] : tables.user_indptr[row + 1]]


def raised(bundle: Bundle, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """What a history adds to the score of each target item, by the definition."""
    tables = bundle.neighbours
    assert tables is not None
    own = tables.item_weights[rows].astype(np.float64)
    added = np.zeros(len(bundle.target_items.ids))
    for row, weight in zip(rows.tolist(), own / np.sqrt((own**2).sum()) if len(own) else own, strict=True):
        for entry in range(int(tables.indptr[row]), int(tables.indptr[row + 1])):
            added[tables.items[entry]] += weight * float(tables.values[entry])
    return added


def expected(bundle: Bundle, vector: npt.NDArray[np.float32], rows: npt.NDArray[np.int32], *, seen: Any) -> list[str]:
    items = bundle.target_items
    scores = items.vectors.astype(np.float64) @ vector + items.biases + bundle.manifest.scoring.offset
    scores += raised(bundle, rows)
    scores[seen] = -np.inf
    return [items.ids[row] for row in np.argsort(-scores, kind="stable")[:K].tolist()]


def listed(recommender: Recommender, query: Query) -> Recommendation:
    (answer,) = recommender.answer([query])
    assert isinstance(answer, Recommendation)
    return answer


NOBODY: npt.NDArray[np.int32] = np.empty(0, dtype=np.int32)


def test_a_source_user_s_stored_history_counts(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    users = [bundle.source_users.ids[row] for row in range(10, 50)]
    vectors = recommender.embed(users)
    changed = 0
    for user, vector in zip(users, vectors, strict=True):
        answer = listed(recommender, Query(user, k=K))
        assert answer.item_ids == expected(bundle, vector, rated(bundle, user), seen=NOBODY)
        changed += answer.item_ids != expected(bundle, vector, NOBODY, seen=NOBODY)
    assert changed > 30


def test_no_list_depends_on_company_and_bulk_lists_are_the_same(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    users = [*bundle.source_users.ids, "v00001", "a stranger"]
    together = recommender.answer([Query(user, k=K) for user in users])
    for user, answer in zip(users, together, strict=True):
        assert listed(recommender, Query(user, k=K)) == answer
    bulk = recommender.top_rows(users, K)
    for row, answer in zip(bulk.items, together, strict=True):
        assert isinstance(answer, Recommendation)
        assert [bundle.target_items.ids[item] for item in row.tolist() if item >= 0] == answer.item_ids


def test_a_history_that_is_given_takes_the_place_of_the_stored_one(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    ids = bundle.source_items.ids
    given = tuple((ids[row], 4.0) for row in rated(bundle, "u00030")[::-1].tolist())
    stranger = listed(recommender, Query(None, history=(*given, ("no such item", 5.0)), k=K))
    assert stranger.strategy == "fold_in"
    assert listed(recommender, Query("u00020", history=given, k=K)).item_ids == stranger.item_ids
    assert listed(recommender, Query("u00020", k=K)).item_ids != stranger.item_ids


@pytest.mark.parametrize("sparse", [True, False])
def test_warm_users_keep_the_term_where_validation_users_preferred_it(bundle: Bundle, sparse: bool) -> None:
    bundle = with_warm(bundle, sparse=sparse)
    recommender = Recommender(bundle)
    for row in range(5):
        user = bundle.source_users.ids[row]
        answer, warm = listed(recommender, Query(user, k=K)), bundle.target_users.ids.row(user)
        assert answer.strategy == "warm"
        history = rated(bundle, user) if sparse else NOBODY
        vector = np.asarray(bundle.target_users.vectors[warm])
        assert answer.item_ids == expected(bundle, vector, history, seen=bundle.target_users.seen(warm))
    moved = Query("u00030", target_history=(("t00003", 5.0),), k=K)
    dense = replace(bundle, manifest=bundle.manifest.model_copy(update={"sparse": None}))
    assert (listed(recommender, moved) == listed(Recommender(dense), moved)) is not sparse


def test_a_vector_that_is_kept_elsewhere_goes_with_the_history_that_the_bundle_holds(bundle: Bundle) -> None:
    recommender, vector = Recommender(bundle), np.asarray(bundle.source_users.vectors[20])
    assert listed(recommender, Query("u00020", source_vector=vector, k=K)) == listed(recommender, Query("u00020", k=K))


def test_who_opted_out_has_no_history(bundle: Bundle) -> None:
    answer = listed(Recommender(bundle), Query("u00020", personalise=False, k=K))
    assert (answer.strategy, answer.fallback_reason) == ("popular", "opted_out")


def test_diverse_lists_are_of_the_raised_scores(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    plain = listed(recommender, Query("u00020", k=K))
    diverse = listed(recommender, Query("u00020", k=K, diversity=1e-9))
    assert diverse.item_ids == plain.item_ids


def test_neither_an_index_nor_a_gpu_that_must_be_used_leaves_the_term_out(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="sparse term"):
        Recommender(bundle, search_device="cuda")
    with pytest.raises(InputError, match="serve it exactly"):
        index_bundle(bundle.path, tmp_path / "indexed", floor=0.0)


DAMAGE: dict[str, tuple[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]]] = {
    "values": ("above 0", lambda table: np.where(np.arange(len(table)) == 3, 0, table).astype(np.float32)),
    "values ": ("not finite", lambda table: np.where(np.arange(len(table)) == 3, np.nan, table).astype(np.float32)),
    "values  ": ("not float32", lambda table: table.astype(np.float64)),
    "items": ("does not ascend", np.zeros_like),
    "items ": ("outside", lambda table: table + 60),
    "indptr": ("is not a table", lambda table: table[:-1]),
    "item_weights": ("neither 0 nor", lambda table: -table),
    "item_weights ": ("has shape", lambda table: table[:-1]),
    "user_items": ("does not ascend", np.zeros_like),
    "user_indptr": ("divide its entries", lambda table: table + 1),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_tables_that_cannot_be_served_are_refused(path: Path, name: str) -> None:
    says, damage = DAMAGE[name]
    bundle = open_bundle(path)
    assert bundle.neighbours is not None
    tables = replace(bundle.neighbours, **{name.strip(): damage(getattr(bundle.neighbours, name.strip()))})
    with pytest.raises(BundleError, match=says):
        check_tables(replace(bundle, neighbours=tables))
