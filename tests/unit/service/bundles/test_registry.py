from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcdr.errors import BundleError, DeviceError
from diffcdr.recommend.recommender import Recommendation
from service.bundles.registry import (
    MAX_FAILURES,
    MAX_K,
    MAX_MODELS,
    Model,
    ModelUnknown,
    NothingToRollBack,
    Registry,
    Traffic,
    load_model,
    warm_queries,
)
from tests.bundles import write_bundle


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """Six models, each loaded a minute after the one before."""
    root = tmp_path_factory.mktemp("bundles")
    loaded = []
    for seed in range(6):
        write_bundle(root / str(seed), seed=seed)
        model = load_model(root / str(seed), device="cpu", threads=1)
        loaded.append(replace(model, loaded_at=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=seed)))
    return loaded


def test_a_model_takes_over_and_gives_back(models: list[Model]) -> None:
    first, second = models[:2]
    registry = Registry(first)
    with pytest.raises(NothingToRollBack):
        registry.roll_back()
    assert registry.add(second) is second
    assert [registry.lineup.state(model) for model in registry.lineup.all()] == ["stable", "loaded"]
    held = registry.lineup
    registry.activate(second.id)
    assert (registry.lineup.stable, registry.lineup.state(first)) == (second, "previous")
    assert held.stable is first, "who holds a lineup keeps it"
    assert registry.roll_back() is first
    assert registry.roll_back() is second


def test_activating_the_stable_model_changes_nothing(models: list[Model]) -> None:
    registry = Registry(models[0])
    registry.activate(models[0].id)
    assert registry.lineup.previous is None


def test_a_model_is_found_by_its_id_and_the_stable_one_by_default(models: list[Model]) -> None:
    registry = Registry(models[0])
    registry.add(models[1])
    lineup = registry.lineup
    assert lineup.choose(None, "u") is models[0]
    assert lineup.choose(models[1].id, "u") is models[1]
    for unknown in (lineup.find, registry.activate):
        with pytest.raises(ModelUnknown, match="nobody"):
            unknown("nobody")
    with pytest.raises(ModelUnknown):
        registry.split(Traffic(canary="nobody", percent=1))


def test_the_same_bundle_is_held_once(models: list[Model]) -> None:
    registry = Registry(models[0])
    assert registry.add(replace(models[0], loaded_at=datetime.now(UTC))) is models[0]
    assert registry.lineup.all() == [models[0]]


def test_only_models_without_a_part_are_let_go(models: list[Model]) -> None:
    registry = Registry(models[0])
    registry.add(models[1])
    registry.activate(models[1].id)
    registry.add(models[2])
    registry.split(Traffic(canary=models[2].id, percent=50))
    for model in models[3:]:
        registry.add(model)
    assert registry.lineup.all() == [models[1], models[0], models[2], models[5]]
    assert len(registry.lineup.all()) == MAX_MODELS


def test_a_canary_that_is_activated_has_arrived(models: list[Model]) -> None:
    registry = Registry(models[0])
    registry.add(models[1])
    registry.split(Traffic(canary=models[1].id, percent=100))
    assert registry.lineup.choose(None, "u") is models[1]
    assert registry.lineup.choose(None, None) is models[0]
    registry.activate(models[1].id)
    assert registry.lineup.traffic == Traffic()


def test_a_shadow_is_held_until_it_is_activated(models: list[Model]) -> None:
    registry = Registry(models[0])
    registry.add(models[1])
    with pytest.raises(ModelUnknown):
        registry.split(Traffic(shadow="nobody", shadow_percent=1))
    canary = Traffic(canary=models[0].id, percent=10, salt="s")
    registry.split(replace(canary, shadow=models[1].id, shadow_percent=50))
    assert registry.lineup.state(models[1]) == "shadow"
    assert registry.lineup.choose(None, None) is models[0]
    for model in models[2:]:
        registry.add(model)
    assert models[1] in registry.lineup.all(), "what has a part is not let go"
    registry.activate(models[1].id)
    assert registry.lineup.traffic == canary


@settings(max_examples=50)
@given(percent=st.floats(0, 100), other=st.floats(0, 100), salt=st.text(max_size=64), user=st.text())
def test_a_larger_share_keeps_who_was_in_it(percent: float, other: float, salt: str, user: str) -> None:
    low, high = sorted((percent, other))
    assert Traffic("c", low, salt).takes(user) <= Traffic("c", high, salt).takes(user)
    assert not Traffic("c", 0.0, salt).takes(user)
    assert Traffic("c", 100.0, salt).takes(user)


def test_the_share_is_right_and_salts_draw_other_users() -> None:
    users = [f"u{number}" for number in range(20_000)]
    first = {user for user in users if Traffic("c", 20, "one").takes(user)}
    second = {user for user in users if Traffic("c", 20, "two").takes(user)}
    assert len(first) == pytest.approx(4000, abs=300)
    # Independent draws share a fifth of a fifth.
    assert len(first & second) == pytest.approx(800, abs=150)


def test_failures_are_kept_newest_first_and_bounded(models: list[Model]) -> None:
    registry = Registry(models[0])
    for number in range(MAX_FAILURES + 5):
        registry.fail(Path(str(number)), "broken")
    assert [failure.path for failure in registry.failures][:2] == ["14", "13"]
    assert len(registry.failures) == MAX_FAILURES


def test_popular_is_as_long_as_the_catalogue_allows(tmp_path: Path) -> None:
    for items, length in ((30, 30), (550, MAX_K)):
        write_bundle(tmp_path / str(items), items=items)
        popular = load_model(tmp_path / str(items), device="cpu", threads=1).popular
        assert len(popular.item_ids) == length
        assert popular.scores == sorted(popular.scores, reverse=True)


def test_warming_goes_through_every_path(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", users=[f"a{row}" for row in range(9)], warm_users=0)
    model = load_model(tmp_path / "b", device="cpu", threads=1)
    answers = model.recommender.answer(warm_queries(model))
    strategies = {answer.strategy for answer in answers if isinstance(answer, Recommendation)}
    assert strategies == {"popular", "transfer", "warm", "fold_in"}


def test_a_flipped_byte_or_a_missing_device_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", kind="onnx")
    with pytest.raises(DeviceError, match="cuda"):
        load_model(tmp_path / "b", device="cuda", threads=1)
    vectors = tmp_path / "b" / "target_items" / "vectors.npy"
    damaged = bytearray(vectors.read_bytes())
    damaged[-1] ^= 1
    vectors.write_bytes(damaged)
    with pytest.raises(BundleError, match=r"target_items/vectors\.npy"):
        load_model(tmp_path / "b", device="cpu", threads=1)
