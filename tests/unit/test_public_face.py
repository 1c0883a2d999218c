"""What ``import diffcdr`` and ``import training`` promise: these names, and no heavy import before they are used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import diffcdr
import training
from diffcdr import InputError
from tests.bundles import write_bundle


def test_public_names() -> None:
    assert sorted(diffcdr.__all__) == [
        "BundleError",
        "DeviceError",
        "DiffCDRError",
        "Explanation",
        "InputError",
        "ListedItem",
        "MissingExtraError",
        "Query",
        "Recommendation",
        "Recommender",
        "SourceShare",
        "load",
    ]
    assert training.__all__ == ["Trained", "fit"]
    for module in (diffcdr, training):
        for name in module.__all__:
            assert getattr(module, name).__doc__, name


@pytest.mark.parametrize("module", [diffcdr, training])
def test_a_name_that_is_not_there_is_told(module: object) -> None:
    with pytest.raises(AttributeError, match="no attribute 'recomend'"):
        module.recomend  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(("module", "heavy"), [("diffcdr", "polars onnxruntime"), ("training", "torch")])
def test_importing_costs_nothing_heavy(module: str, heavy: str) -> None:
    code = f"import sys, {module}\nassert not set({heavy.split()!r}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_many_and_vectors_agree(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    recommender = diffcdr.load(tmp_path / "bundle")
    users = [*recommender.bundle.source_users.ids.take([0, 1]), "nobody"]
    table = recommender.recommend_many(users, k=5)
    for user in users:
        answer = recommender.recommend(user, k=5)
        mine = table.filter(table["user_id"] == user)
        assert [item.item_id for item in answer] == mine["item_id"].to_list()
        np.testing.assert_array_equal(np.float32(answer.scores), mine["score"].to_numpy())
        assert mine["strategy"].to_list() == [answer.strategy] * len(answer)
    vectors = recommender.embed(users)
    assert np.isfinite(vectors[:2]).all()
    assert np.isnan(vectors[2]).all()
    assert recommender.recommend_many([]).is_empty()
    with pytest.raises(InputError, match="nothing is known about 'nobody'"):
        recommender.recommend("nobody", allow_fallback=False)
