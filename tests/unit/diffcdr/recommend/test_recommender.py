"""Who gets which list and why; the same answers alone, in a batch of 4,096, and in bulk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcdr.bundle.reader import Bundle, open_bundle
from diffcdr.errors import BundleError, InputError
from diffcdr.recommend.recommender import ROW_STRATEGIES, Query, Recommendation, Recommender, UserUnknown
from tests.bundles import write_bundle

HISTORY = (("s00003", 5.0), ("s00007", 1.0))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(path, users=300, items=900)
    return open_bundle(path)


@pytest.fixture(scope="module", params=["affine", "onnx"])
def recommender(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(path, users=300, items=900, kind=request.param)
    return Recommender(open_bundle(path), device="cpu")


def ask(recommender: Recommender, query: Query) -> Recommendation:
    (answer,) = recommender.answer([query])
    assert isinstance(answer, Recommendation)
    return answer


@pytest.mark.parametrize(
    ("query", "strategy", "reason"),
    [
        (Query("u00200"), "transfer", None),
        (Query("u00001"), "warm", None),
        (Query("v00001"), "warm", None),
        (Query(None, history=HISTORY), "fold_in", None),
        (Query("nobody", history=HISTORY), "fold_in", None),
        (Query("u00001", history=HISTORY), "fold_in", None),
        (Query("u00200", history=(("nothing", 5.0),)), "transfer", None),
        (Query("nobody"), "popular", "unknown_user"),
        (Query(None), "popular", "unknown_user"),
        (Query("", history=()), "popular", "unknown_user"),
        (Query("\0"), "popular", "unknown_user"),
        (Query("nobody", history=(("nothing", 5.0),)), "popular", "no_usable_history"),
        (Query("u00200", personalise=False), "popular", "opted_out"),
        (Query("u00200", personalise=False, history=HISTORY), "popular", "opted_out"),
        (Query("u00200", personalise=False, allow_fallback=False), "popular", "opted_out"),
    ],
)
def test_which_list_and_why(recommender: Recommender, query: Query, strategy: str, reason: str | None) -> None:
    answer = ask(recommender, query)
    assert (answer.strategy, answer.fallback_reason) == (strategy, reason)
    assert len(answer.item_ids) == len(set(answer.item_ids)) == len(answer.scores) == len(answer.titles) == 20
    assert answer.scores == sorted(answer.scores, reverse=True)


def test_scores_are_the_formula(bundle: Bundle) -> None:
    recommender, items = Recommender(bundle), bundle.target_items
    for user in ("u00200", "u00001"):
        answer = ask(recommender, Query(user, k=900, exclude_seen=False))
        vector = recommender.embed_users([user])[0][0].astype(np.float64)
        exact = items.vectors.astype(np.float64) @ vector + items.biases + bundle.manifest.scoring.offset
        rows = items.ids.rows(answer.item_ids)
        assert (exact < 1.0).any() and (exact > 5.0).any(), "the range has something to do"
        np.testing.assert_allclose(answer.scores, np.clip(exact[rows], 1.0, 5.0), rtol=1e-6)
        assert (np.diff(exact[rows]) <= 1e-6).all(), "in the order of what was predicted, the range or not"
        assert sorted(rows.tolist()) == list(range(900))


def test_vectors_are_those_of_the_tables(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    vectors, found = recommender.embed_users(["u00200", "nobody", "u00001", "v00000"])
    assert found.tolist() == [True, False, True, True]
    assert not vectors[1].any()
    source = bundle.source_users
    assert vectors[0].tobytes() == recommender.embed_vectors(source.vectors[[source.ids.row("u00200")]])[0].tobytes()
    warm = bundle.target_users
    assert vectors[2:].tolist() == warm.vectors[warm.ids.rows(["u00001", "v00000"])].tolist()


def test_fold_in_is_closed_form_then_transfer(bundle: Bundle) -> None:
    recommender, spec, items = Recommender(bundle), bundle.manifest.fold_in, bundle.source_items
    assert spec is not None
    rows = items.ids.rows([item for item, _ in HISTORY])
    v = items.vectors[rows].astype(np.float64)
    residual = np.array([rating for _, rating in HISTORY]) - spec.offset - items.biases[rows]
    source = np.linalg.solve(v.T @ v + np.diag(spec.regularisation), v.T @ residual)
    target = recommender.embed_vectors(source[None].astype(np.float32))[0].astype(np.float64)
    answer = ask(recommender, Query(None, history=HISTORY, k=900))
    chosen = bundle.target_items.ids.rows(answer.item_ids)
    exact = bundle.target_items.vectors[chosen] @ target + bundle.target_items.biases[chosen] + 3.5
    np.testing.assert_allclose(answer.scores, np.clip(exact, 1.0, 5.0), rtol=1e-5)


def test_scores_of_lists_have_no_range_and_bulk_scores_have_the_same(tmp_path: Path) -> None:
    for objective, limits in (("rating", (1.0, 5.0)), ("ranking", None)):
        write_bundle(tmp_path / objective, objective=objective)
        recommender = Recommender(open_bundle(tmp_path / objective))
        users = [f"u{number:05}" for number in range(50)]
        found = recommender.top_rows(users, 70)  # more than there are items
        answers = [ask(recommender, Query(user, k=70)) for user in users]
        for row, items, answer in zip(found.scores, found.items, answers, strict=True):
            assert row[items >= 0].tolist() == answer.scores
            assert (row[items < 0] == -np.inf).all()
        outside = [score for answer in answers for score in answer.scores if not 1.0 <= score <= 5.0]
        assert bool(outside) == (limits is None)


def test_the_popular_list_is_by_popularity_then_id(bundle: Bundle) -> None:
    tied = replace(bundle.target_items, popularity=bundle.target_items.popularity // 10)
    answer = Recommender(replace(bundle, target_items=tied)).popular(900)
    order = sorted(range(900), key=lambda row: (-tied.popularity[row], row))
    assert answer.item_ids == bundle.target_items.ids.take(np.array(order))
    assert answer.scores == [float(tied.popularity[row]) for row in order]
    assert (answer.strategy, answer.fallback_reason) == ("popular", None)


def test_titles_belong_to_their_items(bundle: Bundle) -> None:
    answer = ask(Recommender(bundle), Query("u00200", k=900))
    assert answer.titles == [f"Title {row}" if (row := int(item[1:])) % 7 else None for item in answer.item_ids]
    untitled = Recommender(replace(bundle, target_items=replace(bundle.target_items, titles=None)))
    assert ask(untitled, Query("u00200", k=2)).titles == [None, None]


def test_refusing_the_fallback(recommender: Recommender) -> None:
    queries = [Query("nobody", allow_fallback=False), Query("u00200", allow_fallback=False)]
    queries.append(Query(None, history=(("nothing", 1.0),), allow_fallback=False))
    unknown, known, unusable = recommender.answer(queries)
    assert unknown == UserUnknown("unknown_user")
    assert isinstance(known, Recommendation)
    assert unusable == UserUnknown("no_usable_history")


queries = st.builds(
    Query,
    user_id=st.sampled_from([None, "nobody", "u00001", "u00005", "u00200", "u00299", "v00002"]),
    k=st.sampled_from([1, 3, 20, 100, 1000]),
    exclude_items=st.lists(st.integers(0, 905).map(lambda row: f"t{row:05d}"), max_size=30).map(tuple),
    exclude_seen=st.booleans(),
    history=st.sampled_from([(), HISTORY, (("nothing", 2.0),)]),
    personalise=st.booleans(),
)
diverse = st.builds(
    replace, queries, diversity=st.sampled_from([0.0, 0.2, 0.2, 1.0]), k=st.sampled_from([1, 5, 20, 1000])
)


@settings(max_examples=50)
@given(batch=st.lists(queries, max_size=6))
def test_exclusions_hold_on_every_path_and_batches_do_not_matter(bundle: Bundle, batch: list[Query]) -> None:
    recommender = Recommender(bundle)
    warm, items = recommender.bundle.target_users, recommender.bundle.target_items
    answers = recommender.answer(batch)
    assert answers == [recommender.answer([query])[0] for query in batch]
    for query, answer in zip(batch, answers, strict=True):
        assert isinstance(answer, Recommendation)
        barred = set(query.exclude_items) & set(items.ids.take(np.arange(900)))
        row = warm.ids.row(query.user_id or "")
        if query.exclude_seen and query.personalise and row >= 0:
            barred |= set(items.ids.take(warm.seen(row)))
        assert not barred & set(answer.item_ids)
        assert len(answer.item_ids) == min(query.k, 900 - len(barred))
        unbarred = ask(recommender, replace(query, k=900, exclude_items=(), exclude_seen=False))
        kept = [pair for pair in zip(unbarred.item_ids, unbarred.scores, strict=True) if pair[0] not in barred]
        assert list(zip(answer.item_ids, answer.scores, strict=True)) == kept[: query.k]


@settings(max_examples=30)
@given(batch=st.lists(diverse, min_size=1, max_size=6))
def test_diverse_lists_are_of_the_best_five_times_k_and_batches_do_not_matter(
    bundle: Bundle, batch: list[Query]
) -> None:
    recommender = Recommender(bundle)
    answers = recommender.answer(batch)
    assert answers == [recommender.answer([query])[0] for query in batch]
    for query, answer in zip(batch, answers, strict=True):
        assert isinstance(answer, Recommendation)
        plain = ask(recommender, replace(query, diversity=0.0))
        if answer.strategy == "popular" or not query.diversity:
            assert answer == plain
            continue
        pool = ask(recommender, replace(query, diversity=0.0, k=min(5 * query.k, 900)))
        scores = dict(zip(pool.item_ids, pool.scores, strict=True))
        assert answer.item_ids[:1] == pool.item_ids[:1]
        assert answer.scores == [scores[item] for item in answer.item_ids]
        assert len(answer.item_ids) == len(set(answer.item_ids)) == len(plain.item_ids)


def test_batch_of_one_equals_batch_of_4096(recommender: Recommender) -> None:
    rng = np.random.default_rng(0)
    batch = [
        Query(
            f"u{rng.integers(0, 310):05d}",
            k=int(rng.integers(1, 30)),
            history=HISTORY if rng.random() < 0.1 else (),
            exclude_items=tuple(f"t{row:05d}" for row in rng.integers(0, 900, rng.integers(0, 5))),
        )
        for _ in range(4096)
    ]
    answers = recommender.answer(batch)
    for i in range(0, 4096, 111):
        assert recommender.answer([batch[i]]) == [answers[i]]


def test_top_rows_equals_recommend(recommender: Recommender) -> None:
    users = ["u00001", "nobody", "u00200", "v00003", "u00299", "u00001"]
    items = recommender.bundle.target_items
    for exclude_seen in (True, False):
        for k in (7, 950):
            top = recommender.top_rows(users, k, exclude_seen=exclude_seen)
            answers = recommender.answer([Query(user, k=k, exclude_seen=exclude_seen) for user in users])
            for rows, scores, code, answer in zip(top.items, top.scores, top.strategies, answers, strict=True):
                assert isinstance(answer, Recommendation)
                kept = rows >= 0
                assert items.ids.take(rows[kept]) == answer.item_ids
                assert scores[kept].tolist() == answer.scores
                assert ROW_STRATEGIES[code] == answer.strategy


def test_top_rows_are_diverse_as_recommend_is(recommender: Recommender) -> None:
    users = ["u00001", "nobody", "u00200", "v00003"]
    top = recommender.top_rows(users, 7, diversity=0.4)
    answers = recommender.answer([Query(user, k=7, diversity=0.4) for user in users])
    plain = recommender.answer([Query(user, k=7) for user in users])
    ids = recommender.bundle.target_items.ids
    lists = [answer.item_ids for answer in answers if isinstance(answer, Recommendation)]
    assert [ids.take(rows) for rows in top.items] == lists
    assert [one == other for one, other in zip(answers, plain, strict=True)] == [False, True, False, False]


def test_nothing_asked_nothing_answered(recommender: Recommender) -> None:
    assert recommender.answer([]) == []
    vectors, found = recommender.embed_users([])
    assert vectors.shape == (0, 6)
    assert found.shape == (0,)
    assert recommender.top_rows([], 3).items.shape == (0, 3)


def test_bad_requests(recommender: Recommender) -> None:
    with pytest.raises(InputError, match="k must be"):
        recommender.answer([Query("u00200", k=0)])
    for diversity in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="diversity must lie between 0 and 1"):
            recommender.answer([Query("u00200", diversity=diversity)])
    with pytest.raises(InputError, match="8 values each"):
        recommender.embed_vectors(np.zeros((2, 7), dtype=np.float32))
    with pytest.raises(InputError, match="finite"):
        recommender.embed_vectors(np.full((1, 8), np.nan, dtype=np.float32))


def test_a_user_whose_vector_overflows_gets_the_popular_list(bundle: Bundle) -> None:
    vectors = np.array(bundle.source_users.vectors)
    vectors[200] = 3e38
    huge = replace(
        bundle,
        source_users=replace(bundle.source_users, vectors=vectors),
        affine=(np.full((8, 6), 9.0, dtype=np.float32), np.zeros(6, dtype=np.float32)),
    )
    broken, whole = Recommender(huge).answer([Query("u00200"), Query("u00201")])
    assert isinstance(broken, Recommendation)
    assert isinstance(whole, Recommendation)
    assert (broken.strategy, broken.fallback_reason) == ("popular", "unknown_user")
    assert whole.strategy == "transfer"


@pytest.mark.parametrize(("value", "message"), [(np.nan, "not finite"), (None, "has shape")])
def test_tables_that_cannot_be_scored_are_refused(bundle: Bundle, value: float | None, message: str) -> None:
    biases = np.array(bundle.target_items.biases)
    if value is not None:
        biases[3] = value
    damaged = replace(bundle.target_items, biases=biases[:-1] if value is None else biases)
    with pytest.raises(BundleError, match=f"target_items/biases.*{message}"):
        Recommender(replace(bundle, target_items=damaged))


def test_a_bundle_without_fold_in_says_no_usable_history(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", fold_in=None)
    answer = ask(Recommender(open_bundle(tmp_path / "bundle")), Query(None, history=HISTORY))
    assert (answer.strategy, answer.fallback_reason) == ("popular", "no_usable_history")


def test_what_is_printed_is_for_people(bundle: Bundle) -> None:
    recommender = Recommender(bundle, device="cpu")
    answer = recommender.recommend("u00200", k=12, offset=95)
    head, *lines = str(answer).splitlines()
    assert head == "transfer: 12 items"
    assert [line.split()[0] for line in lines] == [str(place) for place in range(96, 108)]
    for line, item in zip(lines, answer, strict=True):
        assert line.split()[1:3] == [f"{item.score:.4f}", item.item_id] and line.endswith(item.title or item.item_id)
    assert len({line.index(item.item_id) for line, item in zip(lines, answer, strict=True)}) == 1
    assert str(recommender.recommend("nobody", k=1)).startswith("popular (unknown_user): 1 item\n")
    assert str(recommender.recommend("u00200", filter={"items": []})) == "transfer (no_item_allowed): 0 items"
    assert bundle.id[:12] in repr(recommender) and "300 source users, 900 target items" in repr(recommender)


def test_users_without_target_ratings_are_listed(bundle: Bundle) -> None:
    recommender = Recommender(bundle, device="cpu")
    every, new = recommender.user_ids(), recommender.user_ids(new=True)
    assert every == [f"u{number:05}" for number in range(300)] and new == every[10:]
    assert {answer for user in new[:3] for answer in [recommender.recommend(user).strategy]} == {"transfer"}
