"""Sockets: from when on they listen; of Unix ones, who may use them, what they may replace, and what is left."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from diffcdr.errors import InputError
from service.app import create_app
from service.components import Lifecycle
from service.process.listening import bind, bind_file, listening, shown, turn_away
from service.process.server import make_server
from service.settings import Settings
from tests.bundles import write_bundle
from tests.serving import gated_model
from tests.waiting import LIMIT_SECONDS, until


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "planted"
    write_bundle(path)
    return path


def modes(folder: Path) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()]


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_the_file_has_the_permissions_that_were_asked_for_whatever_the_mask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with bind_file(tmp_path / "own", mode=0o660) as listener:
            assert (modes(tmp_path), shown(listener)) == ([0o660], f"unix:{tmp_path / 'own'}")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


def test_what_a_killed_service_left_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "own"
    bind_file(path, mode=0o600).close()  # the file stays
    with bind_file(path, mode=0o600) as listener:
        for _ in range(2):
            with pytest.raises(InputError, match="another process listens on .*--uds"):
                bind_file(path, mode=0o600)
            listener.listen()  # at first it loads still
    path.unlink()
    path.write_text("somebody's")
    with pytest.raises(InputError, match="is not a socket, so it is not replaced"):
        bind_file(path, mode=0o600)
    assert path.read_text() == "somebody's"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is not a socket"):
        bind_file(path, mode=0o600)


@pytest.mark.parametrize("name", ["missing/own", "x" * 120])
def test_where_none_can_be_made_it_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot listen on the socket .*; choose another --uds"):
        bind_file(tmp_path / name, mode=0o600)


def test_the_file_goes_with_the_service_and_that_of_another_stays(tmp_path: Path) -> None:
    path = tmp_path / "own"
    settings = Settings.read(bundle="b", uds=path, uds_mode="600")
    with listening(settings) as listener:
        assert path.is_socket()
        turn_away(listener)
        assert not path.exists()
        with bind_file(path, mode=0o600):
            pass
    assert path.is_socket()
    path.unlink()
    with listening(settings):
        pass
    assert not path.exists()


def test_whoever_connected_before_the_service_turned_others_away_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "own"
    with bind_file(path, mode=0o600) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.listen()
        client.connect(str(path))
        turn_away(listener)
        with socket.socket(socket.AF_UNIX) as late, pytest.raises(FileNotFoundError):
            late.connect(str(path))
        accepted, _ = listener.accept()
        with accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"


def connect(listener: socket.socket) -> None:
    with socket.socket(listener.family) as client:
        client.connect(listener.getsockname())


@pytest.mark.parametrize("kind", ["port", "uds"])
def test_nobody_can_connect_until_the_bundle_is_warmed_up(bundle: Path, tmp_path: Path, kind: str) -> None:
    settings = Settings.read(bundle=bundle, port=0, uds=tmp_path / "own" if kind == "uds" else None)
    model, gate = gated_model(bundle)
    lifecycle = Lifecycle()
    server = make_server(create_app(settings, model=model, lifecycle=lifecycle), settings, lifecycle)
    with listening(settings) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        with gate.held():
            thread.start()
            until(lambda: gate.calls or not thread.is_alive())  # warming up has begun, and cannot end
            with pytest.raises(ConnectionRefusedError):
                connect(listener)
        until(lambda: server.started or not thread.is_alive())
        connect(listener)
        server.should_exit = True
        thread.join(LIMIT_SECONDS)
        assert not thread.is_alive()


def test_an_address_that_another_service_took_meanwhile_is_said(bundle: Path) -> None:
    settings, lifecycle = Settings.read(bundle=bundle), Lifecycle()
    server = make_server(create_app(settings, lifecycle=lifecycle), settings, lifecycle)
    with bind("127.0.0.1", 0) as mine:
        port = mine.getsockname()[1]
        with bind("127.0.0.1", port) as other:
            other.listen()
            with pytest.raises(InputError, match=rf"port {port}: Address already in use; choose another --port"):
                server.run(sockets=[mine])
