"""Nothing that one request carries holds the event loop for long, or takes much more memory than it has bytes.

On an idle machine every body below holds the loop for less than 50 ms (docs/performance/load.md; ``-s`` prints the
figures). Tests run on busy ones, where any process is stopped for longer than that now and then. So the time that
passes has a wide bound here; what it is there to find took from 3 to 120 seconds. The processor time of the loop's own
thread says what the service itself does, and has a narrow one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests import web
from tests.servers import Server
from tests.serving import metric

HOLD_SECONDS = 1.5
OWN_HOLD_SECONDS = 0.1
"""Twice what is promised: on a busy machine the same work takes more processor time."""
TIMES_ITS_SIZE = 4.0
SPARE_BYTES = 24 << 20
"""What the allocator and the interpreter may take beside, whatever is asked."""
BULK = 16_000_000
"""Just below the largest body of embeddings and events."""
SINGLE = 1_000_000
"""Just below that of a request about one user."""

EMBEDDINGS, EVENTS, ONE, BATCH = "/v1/embeddings", "/v1/events", "/v1/recommendations", "/v1/recommendations/batch"
ITEMS = "/v1/items"


def filled(start: bytes, part: bytes, end: bytes, *, size: int) -> bytes:
    """``start``, as many of ``part`` as fit into ``size`` bytes, one more without its last byte, ``end``."""
    return start + part * ((size - len(start) - len(end)) // len(part) - 1) + part[:-1] + end


def keys(count: int) -> bytes:
    return b",".join(b'"k%d":0' % number for number in range(count))


def batch_of_numbers() -> bytes:
    line = b'{"user_id":"u00001","exclude_items":[' + b"1," * 32_000 + b"1]}\n"
    return line * (BULK // len(line))


BODIES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "vectors of empty texts": (EMBEDDINGS, lambda: filled(b'{"vectors":[[', b'"",', b"]]}", size=BULK)),
    "user ids that are numbers": (EMBEDDINGS, lambda: filled(b'{"user_ids":[', b"null,", b"]}", size=BULK)),
    "user ids without end": (EMBEDDINGS, lambda: filled(b'{"user_ids":[', b'"a",', b"]}", size=BULK)),
    "one vector of millions": (EMBEDDINGS, lambda: filled(b'{"vectors":[[', b"0,", b"]]}", size=BULK)),
    "vectors of many numbers": (
        EMBEDDINGS,
        lambda: filled(b'{"vectors":[', b"[" + b"0.125," * 2500 + b"1],", b"]}", size=BULK),
    ),
    "vectors as long as they may be": (
        EMBEDDINGS,
        lambda: b'{"vectors":[' + b",".join([b"[" + b"0," * 4095 + b"0]"] * 1024) + b"]}",
    ),
    "a number of millions of digits": (EMBEDDINGS, lambda: b'{"vectors":[[' + b"1" * BULK + b"]]}"),
    "a text of millions of escapes": (EVENTS, lambda: filled(b'{"events":"', b"\\u0041", b'"}', size=BULK)),
    "events with other keys": (
        EVENTS,
        lambda: b'{"events":[' + b",".join([b"{" + keys(1200) + b"}"] * 1000) + b"]}",
    ),
    "events that are numbers": (EVENTS, lambda: filled(b'{"events":[', b"0,", b"]}", size=BULK)),
    "many keys": (EVENTS, lambda: b"{" + keys(1_250_000) + b"}"),
    "the same key again": (EVENTS, lambda: filled(b"{", b'"events":[],', b"}", size=BULK)),
    "open brackets": (EVENTS, lambda: b"[" * BULK),
    "open brackets within": (EVENTS, lambda: b'{"events":' + b"[" * BULK),
    "blanks": (EVENTS, lambda: b'{"events":' + b" " * BULK + b"[]}"),
    "excluded numbers": (ONE, lambda: filled(b'{"user_id":"u00001","exclude_items":[', b"null,", b"]}", size=SINGLE)),
    "excluded commas": (ONE, lambda: filled(b'{"user_id":"u00001","exclude_items":[', b'",,,,",', b"]}", size=SINGLE)),
    "a history of nothing": (ONE, lambda: filled(b'{"user_id":"u00001","history":[', b"{},", b"]}", size=SINGLE)),
    "many keys about one user": (ONE, lambda: b"{" + keys(80_000) + b"}"),
    "a batch of lists of numbers": (BATCH, batch_of_numbers),
    "a batch of empty lines": (BATCH, lambda: b"\n" * BULK),
    "a batch of brackets": (BATCH, lambda: b"[" * BULK),
    "a batch of lines of brackets": (BATCH, lambda: (b"[" * 65_000 + b"\n") * 200),
    "a batch of lines of keys": (BATCH, lambda: (b"{" + keys(5000) + b"}\n") * 200),
}

RATED = [{"item_id": f"s{number % 40:05d}", "rating": 4} for number in range(1000)]
RIGHT: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "as many changes of items as there may be": (
        ITEMS,
        lambda: {"items": [{"item_id": f"x{n}", "available": True, "tags": [f"{n}"] * 20} for n in range(10_000)]},
    ),
    "as many events as there may be": (
        EVENTS,
        lambda: {"events": [{"event_id": f"e{n}", "user_id": f"n{n}"} | rated for n, rated in enumerate(RATED)]},
    ),
    "a long list, explained by a long history": (ONE, lambda: {"k": 500, "explain": True, "history": RATED}),
    "many ids": (EMBEDDINGS, lambda: {"user_ids": [f"u{number:05d}" for number in range(1024)]}),
}
"""Bodies that nothing is wrong with."""


def hold(client: httpx.Client, name: str) -> None:
    """Check how long the loop has been held; tell it, after the request ``name``."""
    held, own = (metric(client, f"diffcdr_loop_longest_{kind}_seconds") for kind in ("hold", "own_hold"))
    print(f"{1000 * held:6.0f} ms, {1000 * own:4.0f} ms of them the loop's own: the longest until after {name}")
    assert held < HOLD_SECONDS, f"the loop was held for {held:.2f} s"
    assert own < OWN_HOLD_SECONDS, f"the loop worked for {own:.2f} s without letting anyone else have it"


def peak(server: Server, *, reset: bool = False) -> int:
    """The most memory that the process had at a time since the last ``reset``, in bytes."""
    folder = Path("/proc") / str(server.process.pid)
    if reset:
        (folder / "clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text())
    assert found
    return int(found[1]) << 10


@pytest.mark.parametrize("name", BODIES)
def test_one_request_neither_freezes_the_service_nor_fills_its_memory(attacked: Server, name: str) -> None:
    address, make = BODIES[name]
    body = make()
    kind = "application/json" if not body.endswith(b"\n") else "application/x-ndjson"
    with web.client(base_url=attacked.address) as client:
        before = peak(attacked, reset=True)
        response = client.post(address, content=body, headers={"Content-Type": kind})
        taken = peak(attacked) - before
        hold(client, name)
    # A batch answers each bad line, so it answers 200.
    assert response.status_code in ((200, 400, 422) if address == BATCH else (400, 422)), response.text[:300]
    assert taken < TIMES_ITS_SIZE * len(body) + SPARE_BYTES, f"{taken / len(body):.1f} times its size"
    if response.status_code == 422:
        assert len(response.json()["errors"]) <= 20


@pytest.mark.parametrize("name", RIGHT)
def test_the_largest_that_is_right_does_not_freeze_the_service_either(attacked: Server, name: str) -> None:
    address, make = RIGHT[name]
    with web.client(base_url=attacked.address) as client:
        response = client.request("PUT" if address == ITEMS else "POST", address, json=make())
        assert response.status_code == 200, response.text[:300]
        hold(client, name)


def test_what_is_large_and_right_is_answered_as_in_small_parts(attacked: Server) -> None:
    """Vectors enough to be read in pieces: the same numbers as one by one, and the same faults."""
    vectors = [[(row * 8 + column) / 1000 for column in range(8)] for row in range(1024)]
    text = json.dumps({"vectors": vectors}).encode()
    with web.client(base_url=attacked.address) as client:
        large = client.post(EMBEDDINGS, content=text)
        assert large.status_code == 200, large.text[:300]
        found = [entry["vector"] for entry in large.json()["embeddings"]]
        assert [entry["index"] for entry in large.json()["embeddings"]] == list(range(1024))
        for row in (0, 511, 1023):
            one = client.post(EMBEDDINGS, json={"vectors": [vectors[row]]}).json()["embeddings"][0]["vector"]
            assert found[row] == one
        vectors[1000][3] = "x"  # type: ignore[call-overload]
        wrong = client.post(EMBEDDINGS, json={"vectors": vectors})
        assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/vectors/1000/3")
