"""The manifest names what a module is, whichever distribution brings it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import onnxruntime
import pytest

import training.export.bundle
from training.export.bundle import library_version


def test_onnxruntime_gpu_stands_in_for_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    assert library_version("polars") == version("polars")

    def nowhere(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(training.export.bundle, "version", nowhere)
    assert library_version("onnxruntime") == onnxruntime.__version__
