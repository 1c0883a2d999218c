from __future__ import annotations

import pytest

from service.edge.same_origin import CrossOrigin, check_origin

HOST = "127.0.0.1:8000"


def passes(method: str = "POST", *, loopback: bool = True, host: str = HOST, **headers: str) -> bool:
    sent = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        check_origin(method, [(name.encode(), value.encode()) for name, value in sent.items()], loopback=loopback)
    except CrossOrigin:
        return False
    return True


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "post"])
def test_programs_pass_and_pages_of_others_do_not(method: str) -> None:
    assert passes(method)
    assert not passes(method, origin="https://evil.example")
    assert not passes(method, sec_fetch_site="cross-site")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_is_for_everybody(method: str) -> None:
    assert passes(method, origin="https://evil.example", sec_fetch_site="cross-site")


@pytest.mark.parametrize(
    ("site", "expected"),
    [("same-origin", True), ("none", True), ("same-site", False), ("cross-site", False), ("", False)],
)
def test_what_the_browser_says_of_the_site_is_final(site: str, expected: bool) -> None:
    assert passes(sec_fetch_site=site) is expected
    # A proxy in between may have changed the host.
    assert passes(sec_fetch_site=site, origin="https://shop.example") is expected


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        ("http://127.0.0.1:8000", HOST, True),
        ("http://LOCALHOST:8000", "localhost:8000", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://127.0.0.1:3000", HOST, False),
        ("http://127.0.0.1", HOST, False),
        ("null", HOST, False),
        ("", HOST, False),
        ("", "", False),
        ("file://127.0.0.1:8000", HOST, False),
        ("http://[::1", HOST, False),
    ],
)
def test_a_page_s_origin_has_to_be_the_address_that_was_asked(origin: str, host: str, expected: bool) -> None:
    assert passes(origin=origin, host=host) is expected


def test_a_foreign_name_that_points_to_loopback_is_no_page_of_ours() -> None:
    name = "evil.example:8000"
    assert not passes(origin=f"http://{name}", host=name)
    assert passes(origin=f"http://{name}", host=name, loopback=False), "where other machines ask, it may be ours"
