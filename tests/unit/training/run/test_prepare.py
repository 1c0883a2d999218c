import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError
from diffcdr.metric_names import TRAINED_BASELINES
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from tests.unit.training.tiny import RANGE, load, quick_run
from training.export.bundle import publish_bundle
from training.export.destination import check_destination
from training.export.run_manifest import RunFacts
from training.run.finish import finish
from training.run.fit import FittedModel, evaluate, evaluate_test, fit_model
from training.run.prepare import Prepared, prepare
from training.run.run import Run, clear_checkpoints, step_generator
from training.run.warm_start import stored_vectors


def publish(model: str, prepared: Prepared, run: Run, path: Path, *, beside: tuple[str, ...] = ()) -> FittedModel:
    """Train ``beside`` and then ``model``, evaluate them all, and publish ``model``."""
    fitted = {name: fit_model(name, prepared, run) for name in (*beside, model)}
    metrics = {
        "validation": {name: each.validation for name, each in fitted.items()},
        "test": {name: evaluate_test(each, prepared) for name, each in fitted.items()},
    }
    facts = RunFacts(preset="reference", config=run.config, seed=run.seed, rating_range=RANGE, metrics=metrics)
    publish_bundle(finish(fitted[model], prepared, seed=run.seed, held_out="cold"), facts, destination=path)
    return fitted[model]


def contents(bundle: Path) -> dict[str, bytes]:
    """Every file but the manifest and its hash."""
    files = (path for path in bundle.rglob("*") if path.is_file() and not path.name.startswith("manifest"))
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(load(tmp_path_factory.mktemp("data")), quick_run())


@pytest.fixture(scope="module")
def published(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> tuple[FittedModel, Path]:
    """DiffCDR beside the plain baselines, and the bundle it is in."""
    path = tmp_path_factory.mktemp("published") / "bundle"
    return publish("diffcdr", prepared, quick_run(), path, beside=TRAINED_BASELINES), path


def test_test_users_target_ratings_reach_nothing_but_the_metrics(tmp_path: Path) -> None:
    run, pair = quick_run(), load(tmp_path / "data")
    first = prepare(pair, run)
    test_rows = pair.overlap_target[first.split.test]
    theirs = np.isin(pair.target.user_rows, test_rows)
    changed = dataclasses.replace(pair.target, ratings=np.where(theirs, 6 - pair.target.ratings, pair.target.ratings))
    assert (changed.ratings != pair.target.ratings).any()
    second = prepare(dataclasses.replace(pair, target=changed), run)

    publish("diffcdr", first, run, tmp_path / "first", beside=TRAINED_BASELINES)
    publish("diffcdr", second, run, tmp_path / "second", beside=TRAINED_BASELINES)

    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    one, two = open_bundle(tmp_path / "first").manifest, open_bundle(tmp_path / "second").manifest
    assert one.metrics["validation"] == two.metrics["validation"]
    assert one.metrics["test"] != two.metrics["test"]


def test_results_depend_on_the_seed_alone(tmp_path: Path) -> None:
    """Not on the order of rows in the files, nor on the other models of the run."""
    run = quick_run()
    alone = prepare(load(tmp_path / "data"), run)
    publish("diffcdr", alone, run, tmp_path / "alone")
    shuffled = prepare(load(tmp_path / "shuffled", shuffle=5), run)
    publish("diffcdr", shuffled, run, tmp_path / "company", beside=("mean", "bias", "tgt", "emcdr"))
    assert contents(tmp_path / "alone") == contents(tmp_path / "company")

    other = quick_run(seed=1)
    publish("diffcdr", prepare(alone.pair, other), other, tmp_path / "other")
    assert contents(tmp_path / "alone") != contents(tmp_path / "other")


def test_streams_of_steps_are_independent_and_repeatable() -> None:
    draws = {step: torch.rand(4, generator=step_generator(7, step)).tolist() for step in ("emcdr", "diffcdr", "tgt")}
    assert len({tuple(values) for values in draws.values()}) == 3
    assert torch.rand(4, generator=step_generator(7, "tgt")).tolist() == draws["tgt"]
    assert torch.rand(4, generator=step_generator(8, "tgt")).tolist() != draws["tgt"]


def test_the_problem_holds_no_rating_of_held_out_users(prepared: Prepared) -> None:
    pair, split, problem = prepared.pair, prepared.split, prepared.problem
    held = pair.overlap_target[np.concatenate([split.validation, split.test])]
    assert not np.isin(problem.target.users, held).any()
    assert len(problem.target) + len(problem.validation.ratings) + len(prepared.test.ratings) == len(
        pair.target.ratings
    )
    assert len(problem.source) == len(pair.source.ratings)
    ids = set(pair.source.users.take(prepared.test.source_rows.numpy()))
    assert ids == set(np.array(pair.overlap_ids())[split.test])


def test_the_bundle_holds_what_was_trained(prepared: Prepared, published: tuple[FittedModel, Path]) -> None:
    pair = prepared.pair
    fitted, path = published
    bundle = open_bundle(path)

    train = prepared.problem.target
    warm = np.unique(train.users)
    assert bundle.target_users.ids.array.tolist() == pair.target.users.array[warm].tolist()
    for row in (0, len(warm) - 1):
        mine = train.items[train.users == warm[row]]
        assert bundle.target_users.seen(row).tolist() == sorted(mine.tolist())
    # Validation users decide whether training overlap users are stored with vectors of their own or blended ones.
    alone = ~np.isin(warm, prepared.problem.overlap_target.numpy())
    own = prepared.problem.target_base.user_vectors.numpy()[warm]
    assert np.array_equal(bundle.target_users.vectors[alone], own[alone])
    spec = bundle.manifest.warm
    assert spec is not None
    stored = stored_vectors(fitted.model, prepared.problem, warm, spec=spec)
    assert np.array_equal(bundle.target_users.vectors, stored)
    assert np.array_equal(stored, own) is (spec.stored == "own")
    assert bundle.target_items.popularity.tolist() == np.bincount(train.items, minlength=25).tolist()
    assert len(bundle.source_users.ids) == len(pair.source.users)
    assert bundle.target_items.titles is not None
    assert bundle.target_items.titles[3] == f"{pair.target.items[3]} (title)"
    assert bundle.source_items.titles is None

    manifest = bundle.manifest
    assert manifest.metrics.keys() == {"test", "validation"}
    assert manifest.metrics["test"].keys() == manifest.metrics["validation"].keys() == {"diffcdr", *TRAINED_BASELINES}
    assert manifest.metrics["test"]["diffcdr"]["ndcg@20"] == evaluate_test(fitted, prepared).ndcg
    assert manifest.transfer.parity.keys() == {"torch_onnx", "torch_fold", "onnx_fold"}
    assert manifest.provenance.split == {"train": 43, "validation": 5, "test": 12}
    assert manifest.provenance.config.keys() == {"split", "base", "mean", "bias", "popular", "diffcdr"}
    assert manifest.provenance.source.rows_read == len(pair.source.ratings)
    assert manifest.scoring.rating_range == RANGE


def test_served_vectors_are_the_models(prepared: Prepared, published: tuple[FittedModel, Path]) -> None:
    fitted, path = published
    recommender = Recommender(open_bundle(path))
    rows = prepared.test.source_rows
    ids = prepared.pair.source.users.take(rows.numpy())
    vectors, found = recommender.embed_users(ids)
    assert found.all()
    expected = fitted.model.transfer(fitted.model.source_vectors()[rows]).numpy()
    assert np.linalg.norm(vectors - expected, axis=1).max() <= 1e-4 * np.linalg.norm(expected, axis=1).min()
    answers = recommender.answer([Query(user, k=3) for user in ids])
    assert {answer.strategy for answer in answers if isinstance(answer, Recommendation)} == {"transfer"}


def test_history_folds_in_to_nearly_the_vector_of_a_well_trained_user(tmp_path: Path) -> None:
    run = quick_run("base.epochs=60", "base.weight_decay=0.02", "base.biases=true", "base.init_std=0.1")
    prepared = prepare(load(tmp_path / "data"), run)
    publish("emcdr", prepared, run, tmp_path / "bundle")
    recommender = Recommender(open_bundle(tmp_path / "bundle"))
    source = prepared.pair.source
    shared = 0
    rows = prepared.test.source_rows.tolist()
    for row in rows:
        mine = source.user_rows == row
        items = source.items.take(source.item_rows[mine])
        history = tuple(zip(items, source.ratings[mine].tolist(), strict=True))
        known, stranger = recommender.answer([Query(source.users[row], k=10), Query(None, k=10, history=history)])
        assert isinstance(known, Recommendation)
        assert isinstance(stranger, Recommendation)
        assert (known.strategy, stranger.strategy) == ("transfer", "fold_in")
        shared += len(set(known.item_ids) & set(stranger.item_ids))
    assert shared / (10 * len(rows)) >= 0.8


@pytest.mark.parametrize("name", ["mean", "bias", "popular", "tgt", "emcdr"])
def test_every_model_can_be_published_and_served(tmp_path: Path, prepared: Prepared, name: str) -> None:
    fitted = publish(name, prepared, quick_run(), tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.affine is not None
    test = evaluate(fitted.model, prepared.test, rating_range=RANGE)
    assert bundle.manifest.metrics["test"][name]["rmse"] == test.rmse
    user = prepared.pair.source.users[int(prepared.test.source_rows[0])]
    (answer,) = Recommender(bundle).answer([Query(user, k=25)])
    assert isinstance(answer, Recommendation)
    assert len(set(answer.item_ids)) == 25


def test_a_warm_user_of_the_bias_model_has_their_own_shrunk_target_bias(prepared: Prepared) -> None:
    model = fit_model("bias", prepared, quick_run()).model
    target, head = prepared.problem.target, model.head()
    rows = np.unique(target.users)
    vectors = stored_vectors(model, prepared.problem, rows, spec=None)[:, 0]
    residuals = target.ratings - head.offset - head.item_biases.numpy()[target.items]
    plain = np.array([residuals[target.users == row].mean() for row in rows.tolist()])
    assert np.corrcoef(vectors, plain)[0, 1] > 0.95
    assert np.abs(vectors).sum() < np.abs(plain).sum()


def test_a_finished_run_resumes_to_the_same_bundle_and_a_cleared_one_starts_anew(tmp_path: Path) -> None:
    run = quick_run(checkpoints=tmp_path / "state")
    pair = load(tmp_path / "data")
    publish("diffcdr", prepare(pair, run), run, tmp_path / "first")
    assert sorted(path.stem for path in (tmp_path / "state").iterdir()) == ["base-source", "base-target", "diffcdr"]
    publish("diffcdr", prepare(pair, run), run, tmp_path / "again")
    assert contents(tmp_path / "first") == contents(tmp_path / "again")

    other = quick_run(checkpoints=tmp_path / "state", seed=1)
    with pytest.raises(InputError, match="belongs to|of another run"):
        prepare(pair, other)
    (tmp_path / "state" / "notes.txt").write_text("mine")
    clear_checkpoints(tmp_path / "state")
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["notes.txt"]
    prepare(pair, other)


def test_places_that_cannot_be_written_are_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for check in (check_destination, clear_checkpoints):
        with pytest.raises(InputError, match="choose another|writable"):
            check(tmp_path / "file" / "inside")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("")
    with pytest.raises(InputError, match="not a bundle"):
        check_destination(tmp_path / "photos")
    check_destination(tmp_path / "new")
    assert not (tmp_path / "new").exists()
