"""``diffcdr doctor`` where there is no GPU, and where there would be one."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from diffcdr.commands.doctor import examine
from diffcdr.device.driver import Driver, Gpu
from tests.command import run


def test_it_says_what_is_missing_and_fails_only_where_a_gpu_was_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor") == 0
    said = capsys.readouterr().out
    assert "used:     cpu" in said and "missing:  nothing (no NVIDIA driver" in said
    assert f"onnxruntime {version('onnxruntime')}" in said
    assert run("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["uses"], found["driver_cuda"], found["gpus"]) == ("cpu", None, [])
    assert run("doctor", "--device", "cuda:1") == 4
    assert "device cuda:1 cannot be used" in capsys.readouterr().err
    assert run("doctor", "--device", "tpu") == 2


def test_what_would_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffcdr.commands.doctor.find_obstacle", lambda index, driver: None)
    driver = Driver(present=True, cuda=(13, 0), gpus=(Gpu("NVIDIA H100", 80 << 30, (9, 0)),))
    found = examine("auto", driver)
    assert (found.uses, found.missing, found.driver_cuda) == ("cuda:0", None, "13.0")
    assert found.gpus == ["NVIDIA H100, 80 GiB, capability 9.0"]
    assert examine("cpu", driver).uses == "cpu"
