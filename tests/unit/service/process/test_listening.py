"""Unix sockets: who may use them, what they may replace, and what is left of them."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from diffcdr.errors import InputError
from service.process.listening import bind_file, listening, shown, turn_away
from service.settings import Settings


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
    with bind_file(path, mode=0o600), pytest.raises(InputError, match="another process listens on .*--uds"):
        bind_file(path, mode=0o600)
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
        client.connect(str(path))
        turn_away(listener)
        with socket.socket(socket.AF_UNIX) as late, pytest.raises(FileNotFoundError):
            late.connect(str(path))
        accepted, _ = listener.accept()
        with accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
