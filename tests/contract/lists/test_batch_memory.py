"""What a batch took is let go of at once: a garbage collector that runs seldom finds nothing of it."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.serving import metric, serving
from tests.waiting import until

ADDRESS = "/v1/recommendations/batch"
NDJSON = {"Content-Type": "application/x-ndjson"}
PARTS = ("Spool", "Bulk", "BatchResponse", "_Entry", "Problem", "ClientDisconnect")
# Every third entry is refused, and a refusal is an exception.
LINES = [json.dumps({"user_id": f"u{number % 3000:05d}", "k": 50 if number % 3 else 0}) for number in range(6000)]


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is collected meanwhile."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> dict[str, int]:
    found = Counter(type(each).__name__ for each in gc.get_objects())
    return {name: found[name] for name in PARTS}


def answered(client: httpx.Client) -> float:
    return metric(client, "diffcdr_requests_total", route=ADDRESS)


@pytest.mark.parametrize("stays", [True, False])
def test_nothing_of_a_batch_stays_whether_its_client_does_or_not(
    bundle_path: Path, uncollected: None, stays: bool
) -> None:
    with serving(bundle_path) as client:
        before = alive()
        with client.stream("POST", ADDRESS, content="\n".join(LINES), headers=NDJSON) as response:
            lines = response.iter_lines()
            next(lines)
            assert alive() != before
            if stays:
                assert sum(1 for _ in lines) == len(LINES) - 1
        until(lambda: answered(client) and alive() == before, why=alive)
