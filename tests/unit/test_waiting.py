"""Tests wait for things, never for a time: the helper they do it by, and that they all use it."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest
from hypothesis import settings

from tests import waiting
from tests.waiting import async_until, until

TESTS = Path(waiting.__file__).parent


def sleeps(tree: ast.AST) -> list[int]:
    """Lines that sleep for a time, or turn in a circle until something has come."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("sleep"):
            # sleep(0) only lets others run.
            found += [node.lineno] if ast.unparse(node.args[0]) != "0" else []
        elif isinstance(node, ast.While) and isinstance(node.body[0], ast.Pass):
            found.append(node.lineno)
    return found


def impatient(tree: ast.AST) -> list[int]:
    """Lines that ask with httpx's own five seconds, or give whom they ask or start less than ``LIMIT_SECONDS``."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = [each.value for each in node.keywords if each.arg == "timeout"]
            of_httpx = re.fullmatch(r"httpx\.(get|post|put|delete|head|patch|request|stream|Client|AsyncClient)", name)
            short = name.startswith(("web.", "httpx.", "subprocess.", "socket."))
            if (of_httpx and not given) or (short and any(seconds(each) < waiting.LIMIT_SECONDS for each in given)):
                found.append(node.lineno)
    return found


def seconds(value: ast.expr) -> float:
    """What is written as a number, else no limit."""
    return float(value.value) if isinstance(value, ast.Constant) and isinstance(value.value, (int, float)) else inf


def in_tests(look: Callable[[ast.AST], list[int]], *, but: set[str]) -> dict[str, list[int]]:
    """Files of the tests, less those named, and the lines that ``look`` finds there, where it finds any."""
    files = {str(path.relative_to(TESTS)): path for path in TESTS.rglob("*.py")}
    assert len(files) > 100
    found = {name: look(ast.parse(path.read_text("utf-8"))) for name, path in files.items() if name not in but}
    return {name: lines for name, lines in found.items() if lines}


def test_no_test_sleeps_where_it_waits() -> None:
    assert in_tests(sleeps, but={"waiting.py"}) == {}, "use tests.waiting.until, or elapse for a pace"


def test_no_test_gives_up_early() -> None:
    # A connection that nobody is to accept is waited for in vain.
    excused = {"web.py", "integration/service/test_stop_under_load.py"}
    assert in_tests(impatient, but=excused) == {}, "use tests.web, or LIMIT_SECONDS"


@pytest.mark.parametrize("code", ["httpx.get(url)", "web.get(url, timeout=5)", "subprocess.run(c, timeout=30)"])
def test_giving_up_early_is_found(code: str) -> None:
    assert impatient(ast.parse(code)) == [1]
    assert impatient(ast.parse("web.get(address); subprocess.run(c); subprocess.run(c, timeout=240)")) == []


@pytest.mark.parametrize("code", ["time.sleep(0.5)", "await asyncio.sleep(1)", "sleep(pause)", "while busy(): pass"])
def test_sleeping_is_found(code: str) -> None:
    assert sleeps(ast.parse(f"async def test(): {code}" if "while" not in code else code)) == [1]
    assert sleeps(ast.parse("async def test(): await asyncio.sleep(0)")) == []


def test_what_comes_is_returned_and_what_does_not_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.0)
    coming = iter([0, None, "", "there"])
    assert until(lambda: next(coming)) == "there"

    async def late() -> int:
        return next(numbers)

    numbers = iter([0, 0, 3])
    assert asyncio.run(async_until(late)) == 3
    monkeypatch.setattr(waiting, "LIMIT_SECONDS", 0.0)
    with pytest.raises(AssertionError, match="it stood still"):
        until(lambda: False, why=lambda: "it stood still")
    with pytest.raises(AssertionError):
        asyncio.run(async_until(lambda: False))


def test_no_example_of_hypothesis_has_a_deadline() -> None:
    assert settings().deadline is None


def test_what_is_raised_while_waiting_is_borne_until_the_end_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.0)
    left = [ConnectionError("not yet"), ConnectionError("not yet")]

    def look() -> str:
        if left:
            raise left.pop()
        return "there"

    assert until(look, while_raising=(ConnectionError,)) == "there"
    left.append(ConnectionError("of another kind"))
    with pytest.raises(ConnectionError):
        until(look)
    monkeypatch.setattr(waiting, "LIMIT_SECONDS", 0.0)
    left.append(ConnectionError("to the end"))
    with pytest.raises(ConnectionError, match="to the end"):
        until(look, while_raising=(ConnectionError,))
