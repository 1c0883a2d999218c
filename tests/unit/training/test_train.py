"""Training as a library: what is found out before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffcdr.errors import InputError
from training import fit


def test_two_onnx_runtimes_are_found_before_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise InputError("two of them")

    monkeypatch.setattr("training.train.check_one_onnx_runtime", refuse)
    with pytest.raises(InputError, match="two of them"):
        fit(tmp_path / "missing.csv", tmp_path / "missing.csv")
