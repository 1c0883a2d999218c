"""Help in a window of 80 columns: whole examples, options in groups, nothing that speaks to programmers."""

from __future__ import annotations

import inspect

import pytest

from diffcdr.cli import commands, load_command
from diffcdr.help import GROUPS, GroupedHelp
from tests.command import run

COMMANDS = sorted(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_line_fits_and_every_option_is_there_whole(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(name, "--help") == 0
    shown = capsys.readouterr().out
    command = load_command(commands()[name])
    assert isinstance(command, GroupedHelp)
    assert max(map(len, shown.splitlines())) <= 80
    for word in ("Raises:", "Args:", "Returns:"):
        assert word not in shown
    words = " ".join(shown.split())
    for param in command.params:
        assert " ".join((param.help or "").split()) in words, param.name
        if param.param_type_name == "option":
            assert f"  {param.opts[0]}" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_groups_name_options_that_there_are_each_once(name: str) -> None:
    function = commands()[name].load()
    named = [option for names in getattr(function, GROUPS, {}).values() for option in names]
    assert len(named) == len(set(named))
    assert set(named) <= set(inspect.signature(function).parameters)


def test_the_long_commands_leave_no_option_without_a_group() -> None:
    for name in ("train", "experiment", "score"):
        function = commands()[name].load()
        named = {option for names in getattr(function, GROUPS).values() for option in names}
        assert named == set(inspect.signature(function).parameters), name
