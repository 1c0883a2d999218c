"""``diffcdr bench``: rows for people and for programs, floors, and mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.benches import BENCHES, FULL_ONLY
from bench.harness import Bench, Point, Row, Size, figure, make_row
from tests.command import run


def _bench(ratio: float) -> Bench:
    def rows(size: Size) -> Iterator[Row]:
        assert torch.get_num_threads() == 1
        yield make_row("quick", f"a {size} case", ours=ratio, baseline=1.0, floor=2.0, unit="users/s")

    return rows


@pytest.fixture(autouse=True)
def two_benches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``fast`` is above its floor, ``slow`` below."""
    threads = torch.get_num_threads()
    monkeypatch.setitem(BENCHES, "fast", _bench(3.0))
    monkeypatch.setitem(BENCHES, "slow", _bench(1.5))
    yield
    torch.set_num_threads(threads)


def test_json_is_one_object_a_line_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "fast", "--json", "--short") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["case"] for line in lines] == ["a short case"]


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "fast") == 0
    assert "a full case" in capsys.readouterr().out


def test_check_fails_below_a_floor_and_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "fast", "--check") == 0
    assert run("bench", "slow") == 0
    assert run("bench", "slow", "--check") == 1
    assert "below their floors: quick, a full case: 1.5 < 2" in capsys.readouterr().err


def test_the_short_form_of_all_leaves_out_what_needs_a_machine_to_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in BENCHES:
        monkeypatch.setitem(BENCHES, name, _bench(3.0))
    shown = {}
    for size in ("--short", "--json"):
        assert run("bench", "all", "--json", size) == 0
        shown[size] = len(capsys.readouterr().out.splitlines())
    assert shown == {"--short": len(BENCHES) - len(FULL_ONLY), "--json": len(BENCHES)}


def test_a_figure_has_a_panel_for_each_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(size: Size) -> Iterator[Row]:
        yield make_row("topk", "no part of a sweep", ours=1.0, baseline=1.0, floor=None, unit="users/s")
        for panel, axis in (("256 users", "items"), ("10 items", "users at once")):
            for x in (1.0, 10.0, 100.0):
                point = Point(panel, axis, x, limit=4.0)
                yield make_row("topk", panel, ours=2.0, baseline=1.0, floor=None, unit="users/s", point=point)

    monkeypatch.setitem(BENCHES, "topk", rows)
    assert run("bench", "topk", "--figure", str(tmp_path / "new"), "--json") == 0
    assert "point" not in json.loads(capsys.readouterr().out.splitlines()[-1])
    svg = (tmp_path / "new" / "topk.svg").read_text()
    for text in ("256 users", "10 items", "users at once", "ms per user", "reference", "floor"):
        assert text in svg
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["topk.svg"]


@pytest.mark.parametrize("args", [("serve",), ("all", "--short"), ("topk", "--short")])
def test_a_figure_of_what_has_no_sweep_is_refused_before_measuring(
    args: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("bench", *args, "--figure", str(tmp_path / "new")) == 2
    assert "--figure draws sweeps" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "status", "says"), [("topk", 4, "no CUDA device"), ("start", 2, "processor only")])
def test_a_device_that_is_not_there_or_of_no_use_is_refused(
    name: str, status: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: name != "topk")
    assert run("bench", name, "--device", "cuda") == status
    shown = capsys.readouterr()
    assert says in shown.err
    assert not shown.out


def test_an_unknown_name_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "topkk") == 2
    assert "topk" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.1234, "0.123"), (3.0, "3"), (512.0, "512"), (15_690, "15.7 K"), (15_690_000, "15.7 M"), (2.5e9, "2,500 M")],
)
def test_figures_have_three_digits(value: float, shown: str) -> None:
    assert figure(value) == shown
