"""Weights of event types: as they are written, and what they come to on a scale."""

from __future__ import annotations

import pytest

from diffcdr.errors import InputError
from diffcdr.event_weights import EventWeights


def test_types_are_the_built_in_ones_and_those_that_are_named() -> None:
    weights = EventWeights.parse(" click=0.4,wish_list=1 , purchase=0", name="X")
    assert weights.types == ["rating", "click", "impression", "purchase", "wish_list"]
    assert weights.ratings((1.0, 5.0)) == {"click": pytest.approx(2.6), "wish_list": 5.0}
    assert weights.ratings((0.0, 10.0)) == {"click": 4.0, "wish_list": 10.0}
    assert EventWeights.parse("", name="X").ratings(None) == {"purchase": 1.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("click", "not a TYPE=WEIGHT"),
        ("Click=1", "not a TYPE=WEIGHT"),
        ("a b=1", "not a TYPE=WEIGHT"),
        ("=1", "not a TYPE=WEIGHT"),
        ("rating=1", "rating takes no weight"),
        ("click=2", "from 0 to 1"),
        ("click=-0.1", "from 0 to 1"),
        ("click=nan", "from 0 to 1"),
        ("click=much", "from 0 to 1"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        EventWeights.parse(f"purchase=1,{text}", name="DIFFCDR_EVENT_WEIGHTS")
    assert str(refused.value).startswith("DIFFCDR_EVENT_WEIGHTS: ")
