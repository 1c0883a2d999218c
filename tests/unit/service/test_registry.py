from __future__ import annotations

from pathlib import Path

import pytest

from diffcdr.errors import BundleError, DeviceError
from diffcdr.recommender import Recommendation
from service.registry import MAX_K, Registry, load_model, warm_queries
from tests.bundles import write_bundle


def test_a_model_is_found_by_its_id_and_the_stable_one_by_default(tmp_path: Path) -> None:
    bundle_id = write_bundle(tmp_path / "b")
    model = load_model(tmp_path / "b", device="cpu", threads=1)
    registry = Registry(model)
    assert registry.find(None) is registry.find(bundle_id) is registry.stable is model
    assert registry.find("another") is None
    assert registry.all() == [model]


def test_popular_is_as_long_as_the_catalogue_allows(tmp_path: Path) -> None:
    for items, length in ((30, 30), (150, MAX_K)):
        write_bundle(tmp_path / str(items), items=items)
        popular = load_model(tmp_path / str(items), device="cpu", threads=1).popular
        assert len(popular.item_ids) == length
        assert popular.scores == sorted(popular.scores, reverse=True)


def test_warming_goes_through_every_path(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", users=[f"a{row}" for row in range(9)], warm_users=0)
    model = load_model(tmp_path / "b", device="cpu", threads=1)
    answers = model.recommender.recommend(warm_queries(model))
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
