from __future__ import annotations

import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcdr.files.id_rule import INEXACT, LARGEST_WHOLE, apply_rule, normal_id
from diffcdr.files.users import closest

RULE: dict[str, str | None] = {
    "u1": "u1",
    " u1\t": "u1",
    "\u00a0u1\u2003": "u1",
    "Ann Lee": "Ann Lee",
    "U1": "U1",
    "007": "007",
    "Jose\u0301": "José",
    "NULL": None,
    "nan": None,
    "\\N": None,
    "<NA>": None,
    "7.0": "7",
    "-7.00": "-7",
    "007.0": "007.0",
    "7.5": "7.5",
    "1e5": "1e5",
    "1e+05": "100000",
    "1.0000000e+02": "100",
    "1.5E7": "15000000",
    "1.23457E+11": None,
    "1e+17": None,
    "9007199254740993": "9007199254740993",
    "12345678901234567.0": None,
    "a@b.com": "a@b.com",
    "10.1145/37.0x": "10.1145/37.0x",
}


@pytest.mark.parametrize("text", RULE)
def test_the_rule(text: str) -> None:
    assert normal_id(text)[0] == RULE[text]


def test_a_column_is_what_each_id_is() -> None:
    column = pl.Series("user", [*RULE, None])
    rule = apply_rule(column)
    assert rule.ids.to_list() == [*RULE.values(), None]
    assert rule.inexact is not None
    assert column.filter(rule.inexact).to_list() == ["1.23457E+11", "1e+17", "12345678901234567.0"]


def test_numbers_are_their_digits() -> None:
    floats = apply_rule(pl.Series("user", [7.0, -0.0, 7.5, float("nan"), float("inf"), None, 2.0**53, 2.0**54]))
    assert floats.ids.to_list() == ["7", "0", "7.5", None, None, None, str(LARGEST_WHOLE), None]
    assert floats.inexact is not None
    assert floats.changed[INEXACT] == 1
    assert apply_rule(pl.Series("user", [2**60 + 1, None])).ids.to_list() == [str(2**60 + 1), None]
    with pytest.raises(TypeError):
        apply_rule(pl.Series("user", [[1]]))


@given(st.lists(st.text(max_size=8) | st.sampled_from(list(RULE)), max_size=20))
def test_the_quick_look_overlooks_nothing_and_the_rule_is_done_after_once(texts: list[str]) -> None:
    texts = [text for text in texts if "\ud800" not in text]
    column = pl.Series("user", texts, dtype=pl.String)
    once = apply_rule(column).ids
    assert once.to_list() == [normal_id(text)[0] for text in texts]
    assert apply_rule(once).ids.equals(once)
    assert all(unicodedata.is_normalized("NFC", text) for text in once.drop_nulls().to_list())


@pytest.mark.parametrize(
    ("missing", "known", "said"),
    [
        (["ANN", "bob"], ["ann", "bob"], "1 id would match if upper and lower case were the same"),
        (["007", "008"], ["7", "8"], "2 ids would match if zeros at the front did not count"),
        (["user_7"], ["7"], "1 id would match if only digits counted ('user_7' is '7')"),
        (["7@a", "08@a"], ["u7", "u8"], "2 ids would match if only digits counted ('08@a' is 'u8')"),
        (["A3SGX7", "A1B2", "AB12"], ["B37", "A12"], None),  # digits among letters are the same by chance
        (["u1", "u2", "u3", "x9"], ["u1", "u2", "u3", "y9"], None),  # most match as they are
        (["x"], ["y"], None),
    ],
)
def test_what_keeps_ids_from_matching_is_said(missing: list[str], known: list[str], said: str | None) -> None:
    hint = closest(missing, known)
    assert hint is None if said is None else hint is not None and hint.startswith(said)
