"""On a real GPU: the CPU's answers, the same for everyone whoever shares the batch, and the CPU where it fails."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.device.drawn import silu_graph
from bench.drawn_bundle import write_drawn_bundle
from diffcdr.bundle.reader import open_bundle
from diffcdr.device.health import DeviceHealth
from diffcdr.device.placement import place
from diffcdr.errors import DeviceError
from diffcdr.recommend.cuda_transfer import CUDA_ROWS
from diffcdr.recommend.recommender import Recommender
from diffcdr.recommend.transfer import load_transfer
from diffcdr.search.device_search import DeviceTopK
from diffcdr.search.topk import MaskedRows, TopK

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpu") / "silu"
    write_drawn_bundle(path, users=5_000, items=64_443, graph=silu_graph())
    return path


def test_vectors_are_those_of_the_processor(bundle: Path) -> None:
    opened = open_bundle(bundle)
    here, there = (load_transfer(opened, device=device)(opened.source_users.vectors) for device in ("cpu", "cuda"))
    difference = np.linalg.norm(there - here, axis=1) / np.linalg.norm(here, axis=1)
    assert difference.max() <= 1e-5


def test_a_vector_never_depends_on_company(bundle: Path) -> None:
    opened = open_bundle(bundle)
    transfer, vectors = load_transfer(opened, device="cuda:0"), opened.source_users.vectors
    assert transfer.placement.device == "cuda:0"
    alone = {user: transfer(vectors[user : user + 1])[0].tobytes() for user in (0, 1, 31, 32, 1_023, 1_024, 2_097)}
    for count in (7, 32, 33, 256, 1_000, CUDA_ROWS, 2_098, 5_000):
        together = transfer(vectors[:count])
        assert all(together[user].tobytes() == bits for user, bits in alone.items() if user < count)
    moved = transfer(np.roll(vectors, 517, axis=0))
    assert all(moved[user + 517].tobytes() == bits for user, bits in alone.items())


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize(("items", "dim"), [(64_443, 10), (64_443, 64), (5_000, 3)])
def test_lists_are_those_of_the_processor(items: int, dim: int, coarse: bool) -> None:
    """Whole numbers tie by the hundred; every user has masked items, some of them the best."""
    rng = np.random.default_rng(items + dim)

    def drawn(*shape: int) -> np.ndarray:
        values = rng.integers(-2, 3, shape) if coarse else rng.standard_normal(shape)
        return values.astype(np.float32)

    vectors, biases, users = drawn(items, dim), drawn(items), drawn(400, dim)
    users[0], users[1] = 0.0, 3e37
    exact = TopK(vectors, biases, offset=0.5)
    exact.compile()
    health = DeviceHealth()
    there = DeviceTopK(exact, (vectors, biases), place("cuda"), health=health, sample=users, forced=True)
    best, _ = exact.search(users, 50)
    masked = MaskedRows.pack([row[:: 1 + number % 5] for number, row in enumerate(best)])
    for k in (1, 20, 100):
        for mask in (None, masked):
            for found, expected in zip(
                there.search(users, k, masked=mask), exact.search(users, k, masked=mask), strict=True
            ):
                assert found.tobytes() == expected.tobytes()
    assert health.lost is None
    assert health.count("memory") == 0


def test_no_room_on_the_gpu_is_answered_by_the_processor() -> None:
    rng = np.random.default_rng(0)
    vectors, users = (rng.standard_normal((n, 10)).astype(np.float32) for n in (64_443, 3_000))
    biases, health = np.zeros(64_443, dtype=np.float32), DeviceHealth()
    exact = TopK(vectors, biases)
    there = DeviceTopK(exact, (vectors, biases), place("cuda"), health=health, sample=users, forced=True)
    hogs = []
    for size in (1 << 30, 1 << 26):
        try:
            while True:
                hogs.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            continue
    found = there.search(users, 20)[0]
    assert health.count("memory") >= 1
    np.testing.assert_array_equal(found, exact.search(users, 20)[0])
    hogs.clear()
    torch.cuda.empty_cache()
    before = health.count("memory")
    np.testing.assert_array_equal(there.search(users, 20)[0], found)
    assert (health.count("memory"), health.lost) == (before, None)


def test_bundles_are_loaded_while_others_serve(bundle: Path) -> None:
    """Recording a graph must not break off what other threads compute, nor be broken off by it."""
    opened = open_bundle(bundle)
    ids = [user.decode() for user in opened.source_users.ids.array[:3_000].tolist()]
    first = Recommender(opened, device="cuda", search_device="cuda")
    expected = first.top_rows(ids, 20).items
    with ThreadPoolExecutor(5) as pool:
        loaded = pool.submit(lambda: [Recommender(opened, device="cuda", search_device="cuda") for _ in range(4)])
        answers = [pool.submit(first.top_rows, ids, 20) for _ in range(60)]
        for answer in answers:
            np.testing.assert_array_equal(answer.result().items, expected)
        for other in loaded.result():
            np.testing.assert_array_equal(other.top_rows(ids, 20).items, expected)
            assert (other.health.lost, other.health.count("memory")) == (None, 0)
    assert (first.health.lost, first.health.count("memory")) == (None, 0)


def test_a_lost_gpu_leaves_the_process_alive(bundle: Path) -> None:
    command = [sys.executable, "-m", "tests.gpu.astray", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "survived" in done.stdout, done.stdout[-2000:] + done.stderr[-3000:]


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match="there is no GPU 99"):
        place("cuda:99")
