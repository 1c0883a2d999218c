"""What a service is asked in a day, mixed: every kind of question, good, bad and broken off, and what may be answered.

Whoever it has to remember is drawn from small fixed sets, so that after a minute there is nothing more to remember: the
same people opt out and in, the same newcomers rate, the same few are erased.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

SINGLE, BATCH = "/v1/recommendations", "/v1/recommendations/batch"
JSON, NDJSON = "application/json", "application/x-ndjson"
BATCH_USERS = 200
LEFT_USERS = 5_000
"""A batch that nobody waits for is large enough not to be done before its client has left."""
FEW = 40
"""How many people there are of each kind that the service has to remember."""
TOO_LARGE = (4 << 20) + 1


@dataclass(frozen=True)
class Question:
    """One request, and the statuses that are right. ``leaves``: the client goes once the answer has begun."""

    kind: str
    method: str
    path: str
    expected: frozenset[int]
    body: bytes = b""
    content_type: str = JSON
    key: str | None = None
    """An ``Idempotency-Key``."""
    leaves: bool = False


@dataclass(frozen=True)
class Population:
    """Ids in the bundle that is asked: ``u0000000``, … and ``s0000000``, … and ``t0000000``, …"""

    users: int
    source_items: int
    target_items: int

    def user(self, rng: Random) -> str:
        """Anyone whom the bundle knows, and whom no other kind of question is about."""
        return f"u{rng.randrange(2 * FEW, self.users):07d}"

    def ratings(self, rng: Random, letter: str, count: int) -> list[dict[str, Any]]:
        """``count`` ratings of source (``s``) or target (``t``) items."""
        items = self.source_items if letter == "s" else self.target_items
        return [{"item_id": f"{letter}{rng.randrange(items):07d}", "rating": rng.randint(1, 5)} for _ in range(count)]


Maker = Callable[[Population, Random], Question]


def questions(population: Population, *, seed: int) -> Iterator[Question]:
    """Questions without end, the same for the same ``seed``."""
    rng = Random(seed)
    makers, weights = zip(*KINDS, strict=True)
    while True:
        (make,) = rng.choices(makers, weights)
        yield make(population, rng)


def _single(kind: str, *, expected: Sequence[int] = (200,), **body: Any) -> Question:
    return Question(kind, "POST", SINGLE, frozenset(expected), json.dumps(body).encode())


def _known(population: Population, rng: Random) -> Question:
    return _single("known", user_id=population.user(rng), k=rng.randint(1, 100), diversity=rng.choice((0.0, 0.0, 0.3)))


def _explained(population: Population, rng: Random) -> Question:
    return _single("explained", user_id=population.user(rng), k=rng.randint(1, 30), explain=True)


def _by_address(population: Population, rng: Random) -> Question:
    return _get("by address", f"/v1/users/{population.user(rng)}/recommendations?k={rng.randint(1, 100)}")


def _filtered(population: Population, rng: Random) -> Question:
    items = [rated["item_id"] for rated in population.ratings(rng, "t", rng.choice((3, 300)))]
    wanted = rng.choice(
        ({"items": items}, {"where": {"tags": {"none": ["sale"]}}}, {"where": {"tags": {"any": ["sale"]}}})
    )
    caps = rng.choice(({}, {"tags": 3}))
    return _single("filtered", user_id=population.user(rng), k=rng.randint(1, 100), filter=wanted, caps=caps)


def _stranger(population: Population, rng: Random) -> Question:
    denied = rng.random() < 0.3
    user, fallback = f"nobody-{rng.randrange(10**9)}", "deny" if denied else "allow"
    return _single("stranger", user_id=user, fallback=fallback, expected=(404,) if denied else (200,))


def _fold_in(population: Population, rng: Random) -> Question:
    return _single("fold-in", history=population.ratings(rng, "s", rng.randint(1, 50)))


def _warm(population: Population, rng: Random) -> Question:
    return _single("warm", user_id=population.user(rng), target_history=population.ratings(rng, "t", 5))


def _opted_out(population: Population, rng: Random) -> Question:
    return _single("opted out", user_id=f"u{rng.randrange(FEW):07d}")


def _hurried(population: Population, rng: Random) -> Question:
    return _single("hurried", user_id=population.user(rng), timeout_ms=1, expected=(200, 503, 504))


def _newcomer(population: Population, rng: Random) -> Question:
    return _single("newcomer", user_id=f"newcomer-{rng.randrange(FEW)}")


def _entries(population: Population, rng: Random, count: int) -> list[dict[str, Any]]:
    return [{"user_id": population.user(rng), "k": rng.choice((5, 20, 0))} for _ in range(count)]


def _batch(population: Population, rng: Random) -> Question:
    entries = _entries(population, rng, BATCH_USERS)
    if rng.random() < 0.5:
        return Question("batch, list", "POST", BATCH, frozenset({200}), json.dumps(entries).encode())
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    return Question("batch, lines", "POST", BATCH, frozenset({200}), text.encode(), content_type=NDJSON)


def _left(population: Population, rng: Random) -> Question:
    text = "".join(json.dumps(entry) + "\n" for entry in _entries(population, rng, LEFT_USERS))
    return Question("left", "POST", BATCH, frozenset({200}), text.encode(), content_type=NDJSON, leaves=True)


def _embeddings(population: Population, rng: Random) -> Question:
    users = [population.user(rng) for _ in range(rng.randint(1, 200))]
    body = {"user_ids": users, "encoding": rng.choice(("float", "base64"))}
    return Question("embeddings", "POST", "/v1/embeddings", frozenset({200}), json.dumps(body).encode())


def _events(population: Population, rng: Random) -> Question:
    user, domain = f"newcomer-{rng.randrange(FEW)}", rng.choice(("source", "target"))
    events = [
        {"event_id": f"{rng.getrandbits(64):x}", "user_id": user, "domain": domain, **rating}
        for rating in population.ratings(rng, domain[0], rng.randint(1, 20))
    ]
    kind = rng.choice(("rating", "rating", "impression", "click", "purchase"))
    for event in events if kind != "rating" else ():
        event |= {"type": kind, "rating": None, "position": rng.randint(1, 20)}
    key = f"{rng.getrandbits(64):x}" if rng.random() < 0.5 else None
    body = json.dumps({"events": events}).encode()
    return Question("events", "POST", "/v1/events", frozenset({200}), body, key=key)


def _opt_out(population: Population, rng: Random) -> Question:
    method = rng.choice(("PUT", "PUT", "DELETE"))
    return Question("opt-out", method, f"/v1/users/u{rng.randrange(FEW):07d}/opt-out", frozenset({204}))


def _item_change(population: Population, rng: Random) -> Question:
    items = [f"t{rng.randrange(FEW):07d}", f"t{FEW + rng.randrange(FEW):07d}"]
    change = {"available": rng.choice((True, False, None)), "tags": rng.choice((["sale"], None))}
    if rng.random() < 0.5:
        body = json.dumps(change).encode()
        return Question("item change", "PUT", f"/v1/items/{items[0]}", frozenset({204}), body)
    body = json.dumps({"items": [{"item_id": item, **change} for item in items]}).encode()
    return Question("item changes", "PUT", "/v1/items", frozenset({200}), body)


def _item_list(population: Population, rng: Random) -> Question:
    path = f"/v1/lists/{rng.choice(('spring', 'summer'))}"
    items = [rated["item_id"] for rated in population.ratings(rng, "t", 300)]
    upload = Question("list", "PUT", path, frozenset({204}), json.dumps({"items": items}).encode())
    named = {"user_id": population.user(rng), "filter": {"list": path.rpartition("/")[2]}}
    questions = (
        upload,
        Question("list deleted", "DELETE", path, frozenset({204})),
        _get("list read", path, 200, 404),
        _get("lists", "/v1/lists"),
        Question("listed", "POST", SINGLE, frozenset({200, 422}), json.dumps(named).encode()),
    )
    return rng.choice(questions)


def _erase(population: Population, rng: Random) -> Question:
    return Question("erasure", "DELETE", f"/v1/users/u{rng.randrange(FEW, 2 * FEW):07d}", frozenset({202}))


def _get(kind: str, path: str, *expected: int) -> Question:
    return Question(kind, "GET", path, frozenset(expected or (200,)))


def _look(population: Population, rng: Random) -> Question:
    digits = rng.randrange(10**3)
    paths = (
        f"/v1/items/popular?k={rng.randint(1, 100)}",
        "/v1/models",
        f"/v1/users?prefix=u0{digits:03d}",
        f"/v1/items?q=t0{digits:03d}",
        f"/v1/items/t{rng.randrange(population.target_items):07d}",
        f"/v1/items?domain=source&q={digits}",
        "/v1/activity",
        "/v1/experiments",
        "/metrics",
        "/livez",
        "/readyz",
        "/openapi.json",
    )
    path = rng.choice(paths)
    return _get("item" if path.startswith("/v1/items/t") else path.partition("?")[0], path)


def _similar(population: Population, rng: Random) -> Question:
    domain, letter = rng.choice((("source", "s"), ("target", "t")))
    to = rng.choice(("", "&to=source", "&to=target"))
    (item,) = population.ratings(rng, letter, 1)
    return _get("similar", f"/v1/items/{item['item_id']}/similar?domain={domain}&k={rng.randint(1, 100)}{to}")


def _absent(population: Population, rng: Random) -> Question:
    user = population.user(rng)
    paths = ("/v2", "/v1/models/none", "/v1/map", f"/v1/users/{user}/map", f"/v1/users/{user}/history", "/console/none")
    return _get("absent", rng.choice(paths), 404)


def _bad(population: Population, rng: Random) -> Question:
    user = json.dumps({"user_id": population.user(rng)}).encode()
    bad = (
        Question("not JSON", "POST", SINGLE, frozenset({400}), user[:-1]),
        Question("against the schema", "POST", SINGLE, frozenset({422}), user[:-1] + b', "k": "many"}'),
        Question("too large", "POST", SINGLE, frozenset({413}), b" " * TOO_LARGE),
        Question("another type", "POST", SINGLE, frozenset({415}), user, content_type="text/plain"),
        Question("another method", "PATCH", SINGLE, frozenset({405}), user),
        Question("broken list", "POST", BATCH, frozenset({400, 422}), b'{"user_id": "ann"}'),
        Question("wrong query", "GET", "/v1/items/popular?k=none", frozenset({422})),
        Question("another model", "POST", SINGLE, frozenset({404}), user[:-1] + b', "model": "none"}'),
    )
    return rng.choice(bad)


KINDS: Sequence[tuple[Maker, float]] = (
    (_known, 26.0),
    (_explained, 2.0),
    (_filtered, 2.0),
    (_by_address, 6.0),
    (_stranger, 6.0),
    (_fold_in, 8.0),
    (_warm, 5.0),
    (_opted_out, 4.0),
    (_hurried, 2.0),
    (_newcomer, 5.0),
    (_batch, 2.0),
    (_left, 1.0),
    (_embeddings, 3.0),
    (_events, 6.0),
    (_opt_out, 4.0),
    (_erase, 1.0),
    (_item_change, 1.0),
    (_item_list, 1.0),
    (_look, 7.0),
    (_similar, 2.0),
    (_absent, 2.0),
    (_bad, 4.0),
)
"""Who asks what, and how often, in parts of a hundred."""
