"""The map of rooms says what the code is, and no room has outgrown itself."""

from __future__ import annotations

import pytest

from scripts.rooms_page import PAGE, ROOT, imports, page, rooms
from scripts.walk_pictures import WALKS, picture, uses


def test_the_page_is_what_the_code_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "python -m scripts.rooms_page makes it again"


@pytest.mark.parametrize("name", WALKS)
def test_a_picture_of_a_walk_is_what_the_code_says(name: str) -> None:
    assert (PAGE.parent / name).read_text(encoding="utf-8") == picture(name), (
        "python -m scripts.rooms_page makes it again"
    )


def test_a_box_holds_its_text() -> None:
    for _, steps in WALKS.values():
        for step in steps:
            assert len(uses(step.module)) <= 3 and len(step.does) <= 42, step


def test_every_room_says_what_lives_there() -> None:
    assert len(rooms()) > 25
    assert all(rooms().values())


def test_no_two_rooms_import_each_other() -> None:
    used = imports()
    both = {(a, b) for a in used for b in used[a] if a < b and not b.startswith(f"{a}/") and a in used[b]}
    assert both == set()


def test_a_room_is_no_hall() -> None:
    crowded = {room: n for room in rooms() if (n := len(list((ROOT / room).glob("*.py"))) - 1) > 17}
    assert crowded == {}
