"""Every altered byte is refused, and what was published stays until what replaces it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from diffcdr.bundle.format import hash_line
from diffcdr.bundle.reader import MANIFEST, MANIFEST_HASH, BundleWriter, open_bundle, read_manifest
from diffcdr.errors import BundleError, InputError
from tests.bundles import write_bundle

ROOT = Path(__file__).resolve().parents[4]


def files_of(path: Path) -> list[Path]:
    return sorted(found for found in path.rglob("*") if found.is_file())


def test_what_was_written_is_what_opens(tmp_path: Path) -> None:
    bundle_id = write_bundle(tmp_path / "bundle", kind="onnx", users=["ü", "b", "a"], warm_users=2)
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.id == bundle_id == read_manifest(tmp_path / "bundle")[1]
    assert bundle.source_users.ids.take(np.arange(3)) == ["a", "b", "ü"]
    assert bundle.target_users.seen(0).tolist() == sorted(bundle.target_users.seen(0).tolist())
    assert bundle.target_items.titles is not None
    assert bundle.target_items.titles[1] == "Title 1"
    assert bundle.graph is not None
    assert bundle.graph.tobytes() == (tmp_path / "bundle" / "transfer.onnx").read_bytes()
    assert bundle.affine is None
    assert not bundle.target_items.vectors.flags.writeable


def test_the_same_content_has_the_same_id(tmp_path: Path) -> None:
    assert write_bundle(tmp_path / "one", seed=4) == write_bundle(tmp_path / "two", seed=4)
    assert write_bundle(tmp_path / "three", seed=5) != write_bundle(tmp_path / "four", seed=4)


def test_seen_of_many_equals_seen_of_each(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    users = open_bundle(tmp_path / "bundle").target_users
    rows = np.array([3, -1, 0, 3, len(users.ids) - 1, -1])
    indptr, items = users.seen_of(rows)
    lists = [items[start:stop].tolist() for start, stop in zip(indptr[:-1], indptr[1:], strict=True)]
    assert lists == [users.seen(row).tolist() if row >= 0 else [] for row in rows.tolist()]


@pytest.mark.parametrize("kind", ["affine", "onnx"])
def test_any_flipped_byte_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bundle"
    write_bundle(path, kind=kind)
    rng = random.Random(3)
    for file in files_of(path):
        content = file.read_bytes()
        offsets = {0, len(content) // 2, len(content) - 1, *rng.sample(range(len(content)), min(8, len(content)))}
        for offset in offsets:
            damaged = bytearray(content)
            damaged[offset] ^= 1 << rng.randrange(8)
            file.write_bytes(damaged)
            with pytest.raises(BundleError, match=file.name.removesuffix(".sha256")):
                open_bundle(path)
        file.write_bytes(content)
    open_bundle(path)


@pytest.mark.parametrize("name", [MANIFEST, MANIFEST_HASH])
def test_every_single_byte_of_the_manifest_counts(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bundle"
    write_bundle(path)
    content = (path / name).read_bytes()
    for offset in range(len(content)):
        (path / name).write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        with pytest.raises(BundleError, match="damaged"):
            read_manifest(path)


def test_truncated_missing_and_extra_files_are_refused(tmp_path: Path) -> None:
    original = tmp_path / "original"
    write_bundle(original)
    for file in files_of(original):
        name = file.relative_to(original)
        for change in ("truncate", "remove", "grow"):
            path = tmp_path / "copy"
            shutil.copytree(original, path)
            if change == "truncate":
                (path / name).write_bytes(file.read_bytes()[:-1])
            elif change == "grow":
                (path / name).write_bytes(file.read_bytes() + b"\n")
            else:
                (path / name).unlink()
            with pytest.raises(BundleError):
                open_bundle(path, verify=False)
            shutil.rmtree(path)
    (original / "extra.npy").write_bytes(b"")
    with pytest.raises(BundleError, match=r"extra\.npy"):
        open_bundle(original)


def test_a_manifest_of_another_version_says_so(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    write_bundle(path)
    text = (path / MANIFEST).read_bytes().replace(b'"schema_version": 1', b'"schema_version": 9')
    (path / MANIFEST).write_bytes(text)
    (path / MANIFEST_HASH).write_bytes(hash_line(hashlib.sha256(text).hexdigest()))
    with pytest.raises(BundleError, match=r"another version \(schema_version"):
        open_bundle(path)


def test_a_manifest_without_standard_errors_still_opens(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    write_bundle(path)
    older = json.loads((path / MANIFEST).read_bytes())
    del older["standard_errors"]
    text = json.dumps(older).encode()
    (path / MANIFEST).write_bytes(text)
    (path / MANIFEST_HASH).write_bytes(hash_line(hashlib.sha256(text).hexdigest()))
    assert open_bundle(path).manifest.standard_errors == {}


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        open_bundle(tmp_path / "nowhere")


def test_leaving_without_publish_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), BundleWriter(tmp_path / "bundle") as writer:
        writer.data("transfer.onnx", b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_old_readers_keep_the_old_bundle(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    old_id = write_bundle(path, seed=1)
    old = open_bundle(path)
    before = np.array(old.source_users.vectors)
    new_id = write_bundle(path, seed=2)
    assert open_bundle(path).id == new_id != old_id
    assert np.array_equal(old.source_users.vectors, before)
    assert old.source_users.ids[0] == "u00000"
    assert [found.name for found in tmp_path.iterdir()] == ["bundle"]


def test_without_exchange_two_renames_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffcdr.bundle.writer._exchange", lambda first, second: False)
    write_bundle(tmp_path / "bundle", seed=1)
    new_id = write_bundle(tmp_path / "bundle", seed=2)
    assert open_bundle(tmp_path / "bundle").id == new_id
    assert [found.name for found in tmp_path.iterdir()] == ["bundle"]


def test_a_reader_never_sees_half_of_each(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    wanted = {write_bundle(path, seed=seed): seed for seed in (0, 1)}
    first_values = {}
    for bundle_id, seed in wanted.items():
        write_bundle(path, seed=seed)
        first_values[bundle_id] = float(open_bundle(path).source_users.vectors[0, 0])
    stop = threading.Event()

    def replace() -> None:
        seed = 0
        while not stop.is_set():
            write_bundle(path, seed=seed)
            seed = 1 - seed

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(60):
            bundle = open_bundle(path)
            assert float(bundle.source_users.vectors[0, 0]) == first_values[bundle.id]
    finally:
        stop.set()
        writer.join()


CRASH = """
import os, signal, sys
from pathlib import Path
import diffcdr.bundle.writer as publish
from tests.bundles import write_bundle

moment, path = sys.argv[1], Path(sys.argv[2])
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
def exchange_then_die(first, second, real=publish._exchange):
    real(first, second)
    die()
if moment == "before":
    publish._move_into_place = die
else:
    publish._exchange = exchange_then_die
write_bundle(path, seed=2)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_leaves_one_whole_bundle(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "bundle"
    ids = {"after": write_bundle(tmp_path / "other", seed=2), "before": write_bundle(path, seed=1)}
    done = subprocess.run([sys.executable, "-c", CRASH, moment, str(path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert open_bundle(path).id == ids[moment]
    left = list(tmp_path.glob(".bundle.*"))
    assert len(left) == 1
    write_bundle(path, seed=3)
    assert left[0].exists()  # too young to be called abandoned
    os.utime(left[0], (0, 0))
    write_bundle(path, seed=3)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["bundle", "other"]


def test_everything_is_on_disk_before_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr("diffcdr.bundle.writer.sync", lambda path: synced.append(path.name))
    monkeypatch.setattr("diffcdr.bundle.writer._move_into_place", lambda staging, path: synced.append("moved"))
    write_bundle(tmp_path / "bundle")
    before, after = synced[: synced.index("moved")], synced[synced.index("moved") + 1 :]
    assert {MANIFEST, MANIFEST_HASH, "ids.npy", "vectors.npy", "matrix.npy", "target_items"} <= set(before)
    assert after == [tmp_path.name]


def test_a_living_writers_directory_is_left_alone(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "bundle") as writer:
        writer.data("transfer.onnx", b"graph")
        staging = next(tmp_path.glob(".bundle.*"))
        os.utime(staging, (0, 0))
        write_bundle(tmp_path / "bundle")
        assert (staging / "transfer.onnx").read_bytes() == b"graph"


def test_disk_full_leaves_the_old_bundle(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    old_id = write_bundle(path, seed=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(InputError, match=r"free some space .*untouched"):
            write_bundle(path, seed=2, users=5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert open_bundle(path).id == old_id
    assert [found.name for found in tmp_path.iterdir()] == ["bundle"]


def test_a_destination_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / MANIFEST).write_text("{}")  # many a project has one
    (tmp_path / "file").write_text("text")
    for name in ("project", "file"):
        with pytest.raises(InputError, match="is not a bundle"):
            write_bundle(tmp_path / name)
    assert (tmp_path / "project" / MANIFEST).read_text() == "{}"


def test_an_unwritable_destination_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="--bundle"):
        write_bundle(tmp_path / "file" / "bundle")
    with pytest.raises(InputError, match="cannot write the bundle"):
        write_bundle(Path("/proc/bundle"))


def test_an_empty_directory_and_a_link_are_fine(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for seed in (1, 2):
        bundle_id = write_bundle(tmp_path / "link", seed=seed)
        assert (tmp_path / "link").is_symlink()
        assert open_bundle(tmp_path / "empty").id == bundle_id
