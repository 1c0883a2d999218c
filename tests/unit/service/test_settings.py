from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from pydantic import ValidationError

from diffcdr.errors import InputError
from service.commands import serve
from service.settings import OPTIONS, Settings


def test_arguments_win_over_the_environment_and_none_is_no_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFCDR_BUNDLE", "/from/environment")
    monkeypatch.setenv("DIFFCDR_PORT", "9000")
    read = Settings.read(port=9001, bundle=None)
    assert (read.bundle, read.port, read.host) == (Path("/from/environment"), 9001, "127.0.0.1")


def test_settings_do_not_change_after_they_are_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings.read(bundle="b").port = 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "70000"), ("PORT", "http"), ("DEVICE", "tpu"), ("QUEUE_ROWS", "0"), ("LOG_FORMAT", "xml")],
)
def test_a_bad_value_is_named_with_every_way_to_set_it(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"DIFFCDR_{name}", value)
    with pytest.raises(InputError) as refused:
        Settings.read(bundle="b")
    message = str(refused.value)
    assert f"DIFFCDR_{name}" in message
    assert (f"--{name.lower().replace('_', '-')}" in message) is (name != "QUEUE_ROWS")
    assert value in message


def test_a_missing_bundle_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIFFCDR_BUNDLE", raising=False)
    with pytest.raises(InputError, match="--bundle or set DIFFCDR_BUNDLE"):
        Settings.read()


def test_the_options_are_those_of_the_command() -> None:
    assert set(inspect.signature(serve).parameters) == OPTIONS <= set(Settings.model_fields)
