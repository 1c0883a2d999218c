"""httpx, as patient as tests are: its own five seconds are too few for a crowded machine.

Functions and classes as httpx's, ``timeout`` included for whoever needs another.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import Any

import httpx2 as httpx

from tests.waiting import LIMIT_SECONDS


def request(method: str, url: str, **options: Any) -> httpx.Response:
    """The answer to one request."""
    return httpx.request(method, url, **{"timeout": LIMIT_SECONDS, **options})


def get(url: str, **options: Any) -> httpx.Response:
    """The answer to one GET."""
    return request("GET", url, **options)


def post(url: str, **options: Any) -> httpx.Response:
    """The answer to one POST."""
    return request("POST", url, **options)


def put(url: str, **options: Any) -> httpx.Response:
    """The answer to one PUT."""
    return request("PUT", url, **options)


def delete(url: str, **options: Any) -> httpx.Response:
    """The answer to one DELETE."""
    return request("DELETE", url, **options)


def stream(method: str, url: str, **options: Any) -> AbstractContextManager[httpx.Response]:
    """The answer to one request, its body as it comes."""
    return httpx.stream(method, url, **{"timeout": LIMIT_SECONDS, **options})


def client(**options: Any) -> httpx.Client:
    """A client."""
    return httpx.Client(**{"timeout": LIMIT_SECONDS, **options})


def lines_without_ids(body: bytes) -> list[Any]:
    """The lines of a batch answer but for their recommendation ids, which hold the time and differ from each other."""
    lines = [json.loads(line) for line in body.splitlines()]
    ids = [line.pop("recommendation_id") for line in lines if "recommendation_id" in line]
    assert len(set(ids)) == len(ids)
    return lines
