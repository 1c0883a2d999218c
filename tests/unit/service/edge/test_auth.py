from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from diffcdr.errors import InputError
from service.edge import auth
from service.edge.auth import (
    Forbidden,
    KeyRing,
    Scope,
    Unauthenticated,
    is_loopback,
    key_ring,
    parse_keys,
    required_scope,
)
from service.settings import Settings


def line(key: str, scopes: str) -> str:
    return f"{scopes}:{hashlib.sha256(key.encode()).hexdigest()}"


def test_a_key_opens_its_scopes_and_nothing_else() -> None:
    ring = KeyRing(inline=f"# comment\n\n{line('one', 'read,write')}  web shop\n{line('two', 'admin')}")
    assert ring.check("one", "read") == ring.check("one", "write") != ring.check("two", "admin")
    with pytest.raises(Forbidden, match="admin"):
        ring.check("one", "admin")
    with pytest.raises(Forbidden, match="read"):
        ring.check("two", "read")
    for stranger in ("three", "", "\udcff"):
        with pytest.raises(Unauthenticated):
            ring.check(stranger, "read")
    with pytest.raises(Unauthenticated):
        ring.check(None, "read")


def test_a_bad_line_is_named_without_its_content() -> None:
    for content in ("read:short", "fly:" + "0" * 64, "secret-key", ":" + "0" * 64):
        with pytest.raises(InputError, match="keys.txt, line 2") as refused:
            parse_keys(f"# comment\n{content}", origin="keys.txt")
        assert content not in str(refused.value)


def test_a_changed_file_is_read_again_and_a_broken_one_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(auth, "RELOAD_SECONDS", 0.0)
    file = tmp_path / "keys"
    file.write_text(line("old", "read"))
    ring = KeyRing(file=file)
    ring.check("old", "read")
    file.write_text(line("new", "read,write"))
    ring.check("new", "write")
    with pytest.raises(Unauthenticated):
        ring.check("old", "read")
    file.write_text("nonsense that is no key")
    with caplog.at_level(logging.ERROR):
        ring.check("new", "write")
    file.unlink()
    ring.check("new", "write")
    assert "nonsense" not in caplog.text


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="DIFFCDR_API_KEYS_FILE"):
        KeyRing(file=tmp_path / "missing")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/recommendations", "read"),
        ("POST", "/v1/recommendations/batch", "read"),
        ("POST", "/v1/embeddings", "read"),
        ("GET", "/v1/users/u/recommendations", "read"),
        ("GET", "/v1/models", "read"),
        ("GET", "/v1/admin/anything", "admin"),
        ("POST", "/v1/admin/models/load", "admin"),
        ("PUT", "/v1/users/u/opt-out", "write"),
        ("DELETE", "/v1/users/u", "write"),
        ("POST", "/v1/events", "write"),
        ("POST", "/v1/something-new", "write"),
        ("GET", "/livez", None),
        ("GET", "/metrics", None),
        ("GET", "/docs", None),
    ],
)
def test_what_each_request_needs(method: str, path: str, scope: Scope | None) -> None:
    assert required_scope(method, path) == scope


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_what_loopback_is(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def opens(**settings: Any) -> set[Scope]:
    ring = key_ring(Settings.read(bundle="b", **settings))
    scopes: set[Scope] = set()
    for scope in auth.SCOPES:
        try:
            ring.check(None, scope)
            scopes.add(scope)
        except Unauthenticated:
            pass
    return scopes


def test_without_keys_only_this_machine_is_trusted(caplog: pytest.LogCaptureFixture) -> None:
    assert opens(host="127.0.0.1") == {"read", "write", "admin"}
    with pytest.raises(InputError, match="DIFFCDR_ALLOW_ANONYMOUS"):
        opens(host="0.0.0.0")
    with caplog.at_level(logging.WARNING):
        assert opens(host="0.0.0.0", allow_anonymous=True) == {"read", "write"}
    assert "without API keys" in caplog.text
    keys = f"{line('one', 'read')};{line('two', 'admin')}"
    assert opens(host="127.0.0.1", api_keys=keys) == set()
    key_ring(Settings.read(bundle="b", api_keys=keys)).check("two", "admin")


def test_keys_do_not_show_where_settings_are_printed() -> None:
    settings = Settings.read(bundle="b", api_keys=line("one", "read"))
    assert line("one", "read") not in f"{settings!r}{settings.model_dump()}"


def test_a_key_file_of_the_same_size_and_time_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.edge.auth.RELOAD_SECONDS", 0.0)
    file = tmp_path / "keys"
    file.write_text(f"read:{hashlib.sha256(b'one').hexdigest()}\n")
    before = file.stat()
    ring = KeyRing(file=file)
    ring.check("one", "read")
    file.write_text(f"read:{hashlib.sha256(b'two').hexdigest()}\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    ring.check("two", "read")
    with pytest.raises(Unauthenticated):
        ring.check("one", "read")
