from __future__ import annotations

import asyncio
import csv
from pathlib import Path

import pytest

from diffcdr.errors import InputError
from service.commands import erasures
from service.state.opening import open_store


async def fill(url: str, users: list[str]) -> None:
    store = open_store(url, bundle=Path())
    for user in users:
        await store.erase(user)
    await store.set_opt_out("only opted out", True)
    await store.close()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_erasures_lists_who_is_to_be_left_out(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:{tmp_path / 'state'}" if kind == "sqlite" else str(request.getfixturevalue("redis_url"))
    asyncio.run(fill(url, ["b", 'quoted ", id', "line\nbreak"]))
    erasures(url, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["user_id"] for row in rows} == {"b", 'quoted ", id', "line\nbreak"}
    assert all(len(row["receipt"]) == 32 and row["erased_at"].endswith("+00:00") for row in rows)
    assert "3 users" in capsys.readouterr().out


def test_what_cannot_be_read_or_written_is_said_and_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    for url in (f"unix://{tmp_path / 'nothing.sock'}", "", "mysql://x", f"sqlite:{tmp_path / 'typo'}"):
        with pytest.raises(InputError):
            erasures(url, out)
    assert out.read_text() == "old"
    assert not (tmp_path / "typo").exists()
    asyncio.run(fill(f"sqlite:{tmp_path / 'state'}", ["a"]))
    with pytest.raises(InputError, match="--out"):
        erasures(f"sqlite:{tmp_path / 'state'}", tmp_path / "missing" / "out.csv")
