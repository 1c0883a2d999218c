"""Attributes of items come back as they were written; tables that do not belong together are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffcdr.bundle.attributes import Attribute, ItemAttributes
from diffcdr.bundle.check import check_tables
from diffcdr.bundle.reader import Bundle, open_bundle
from diffcdr.bundle.titles import TitleTable
from diffcdr.errors import BundleError
from tests.bundles import item_attributes, write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(path, attributes=True)
    return open_bundle(path)


def test_what_was_written_is_what_opens(bundle: Bundle, tmp_path: Path) -> None:
    written, opened = item_attributes(0, 60), bundle.target_items.attributes
    assert opened.specs() == written.specs() == bundle.manifest.attributes
    for row in range(60):
        assert opened.of(row) == written.of(row)
    assert any(opened.of(row).get("genre") == ["crime", "travel"] for row in range(60))
    check_tables(bundle)
    write_bundle(tmp_path / "bare")
    assert open_bundle(tmp_path / "bare").target_items.attributes.columns == {}


def test_words_are_found_by_their_order(bundle: Bundle) -> None:
    genre = bundle.target_items.attributes.columns["genre"]
    assert [genre.place(word) for word in ("crime", "cri", "poetry", "é", "")] == [
        (0, True),
        (0, False),
        (2, True),
        (4, False),
        (0, False),
    ]


NO_WORDS = TitleTable(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint8))
SPOILT: dict[str, tuple[str, Callable[[Attribute], Attribute]]] = {
    "attribute 'price' has shape (59,)": ("price", lambda one: replace(one, values=one.values[:-1])),
    "attribute 'price' holds a value that is not": (
        "price",
        lambda one: replace(one, values=np.full(60, np.nan)),
    ),
    "attribute 'price' holds complex128": ("price", lambda one: replace(one, values=one.values.astype(complex))),
    "attribute 'price' (present) has shape (60, 1)": (
        "price",
        lambda one: replace(one, present=np.ones((60, 1), dtype=bool)),
    ),
    "attribute 'new' holds int64": ("new", lambda one: replace(one, values=one.values.astype(np.int64))),
    "attribute 'language' lacks the tables": ("language", lambda one: replace(one, words=None)),
    "attribute 'language' (words) are not those": ("language", lambda one: replace(one, words=NO_WORDS)),
    "attribute 'language' names a word that does not exist": (
        "language",
        lambda one: replace(one, values=np.full(60, 3, dtype=np.uint8), present=None),
    ),
    "attribute 'genre' (words) are not in ascending": (
        "genre",
        lambda one: replace(one, words=TitleTable.build(["a", "c", "b", "d"])),
    ),
    "attribute 'genre' does not divide": ("genre", lambda one: replace(one, indptr=np.zeros(61, dtype=np.int64))),
    "attribute 'genre' names a word that does not exist": (
        "genre",
        lambda one: replace(one, values=np.full_like(one.values, 9)),
    ),
    "attribute 'genre' does not ascend": ("genre", lambda one: replace(one, values=np.zeros_like(one.values))),
    "attribute 'available' is a number": ("available", lambda one: Attribute.numbers(np.arange(60), np.ones(60, bool))),
}


@pytest.mark.parametrize("message", SPOILT)
def test_tables_that_do_not_belong_together_are_refused_by_name(bundle: Bundle, message: str) -> None:
    name, spoil = SPOILT[message]
    columns = dict(bundle.target_items.attributes.columns)
    columns[name] = spoil(columns[name])
    items = replace(bundle.target_items, attributes=ItemAttributes(columns))
    with pytest.raises(BundleError) as refused:
        check_tables(replace(bundle, target_items=items))
    assert message in str(refused.value).replace(f" of bundle {bundle.path}", "")
