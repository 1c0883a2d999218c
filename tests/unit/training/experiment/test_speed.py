"""How fast users are carried: every form that is served, and no fewer users than promised."""

import pytest
import torch

from tests.unit.training.models.planted import planted
from training.experiment import speed
from training.experiment.speed import served_rate, transfer_rate
from training.models.registry import MODELS

DATA = planted()


@pytest.mark.parametrize("name", ["emcdr", "ptupcdr"])
def test_a_fold_and_a_graph_are_timed_on_many_users(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "USERS", 100)
    model = MODELS[name].create(MODELS[name].config(epochs=1))
    model.fit(DATA.problem, generator=torch.Generator().manual_seed(0))
    counts: list[int] = []
    plain = model.transfer
    monkeypatch.setattr(model, "transfer", lambda vectors: (counts.append(len(vectors)), plain(vectors))[1])
    assert transfer_rate(model, torch.arange(30)) > 0
    assert set(counts) == {120}
    served = served_rate(model, torch.arange(30))
    assert served is not None and served > 0


def test_without_onnx_runtime_a_graph_has_no_served_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "has_onnx_runtime", lambda: False)
    model = MODELS["ptupcdr"].create(MODELS["ptupcdr"].config(epochs=1))
    model.fit(DATA.problem, generator=torch.Generator().manual_seed(0))
    assert served_rate(model, torch.arange(30)) is None
