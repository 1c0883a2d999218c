"""A folder that executors share: whole files, clear errors, copies made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffcdr.errors import InputError
from training.spark.storage import Storage


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_files_come_back_and_nothing_else_stays(tmp_path: Path, scheme: str) -> None:
    place = Storage.at(f"{scheme}{tmp_path}/new/out")
    assert place.names() == []
    place.write("b", b"second")
    place.write("a", b"first")
    place.write("a", b"first again")
    assert place.names() == ["a", "b"]
    assert place.read("a") == b"first again"
    with place.open("b") as file:
        assert file.read() == b"second"
    place.remove(["a"])
    assert [path.name for path in (tmp_path / "new" / "out").iterdir()] == ["b"]


def test_a_relative_path_means_the_same_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Storage.at("out").url == f"{tmp_path}/out"
    assert Storage.at("s3://bucket/out").local is None


def test_what_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot read"):
        Storage.at(str(tmp_path)).read("nothing")
    with pytest.raises(InputError, match="cannot write"):
        Storage.at(str(tmp_path / "file")).write("name", b"")
    with pytest.raises(InputError, match="cannot read nowhere://bucket"):
        Storage.at("nowhere://bucket/x").names()


def test_a_copy_is_made_once(tmp_path: Path) -> None:
    place = Storage.at(str(tmp_path / "from"))
    place.write("a", b"first")
    (tmp_path / "from" / "folder").mkdir()
    (tmp_path / "from" / "folder" / "deep").write_bytes(b"deep")
    copy = place.fetch(tmp_path / "copy")
    assert (copy / "folder" / "deep").read_bytes() == b"deep"
    place.write("a", b"second")
    assert (place.fetch(tmp_path / "copy") / "a").read_bytes() == b"first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "from"]
    with pytest.raises(InputError, match="cannot read"):
        Storage.at(str(tmp_path / "gone")).fetch(tmp_path / "other")
