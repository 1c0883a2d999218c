"""Pages are cut from one list: put together they are that list, whatever their lengths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffcdr
from diffcdr.errors import InputError
from diffcdr.recommend.paging import PAGED, whole
from diffcdr.recommend.query import Query
from diffcdr.recommend.recommender import Recommendation, Recommender
from tests.bundles import write_bundle

ITEMS = 60


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    path = tmp_path_factory.mktemp("paged") / "bundle"
    write_bundle(path, items=ITEMS)
    return diffcdr.load(path)


@given(
    user=st.sampled_from(["u00003", "u00025", "nobody"]),
    diversity=st.sampled_from([0.0, 0.3]),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
)
def test_pages_put_together_are_the_list(
    recommender: Recommender, user: str, diversity: float, lengths: list[int]
) -> None:
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    queries = [Query(user, k=k, offset=start, diversity=diversity) for start, k in zip(starts, lengths, strict=True)]
    (listed,) = recommender.answer([Query(user, k=PAGED, diversity=diversity)])
    assert isinstance(listed, Recommendation)
    pages = recommender.answer(queries)
    found = [item for page in pages if isinstance(page, Recommendation) for item in page]
    assert found == list(listed)[: sum(lengths)]
    assert [page.offset for page in pages if isinstance(page, Recommendation)] == starts
    # And neither does it matter who else is asked.
    assert [recommender.answer([query])[0] for query in queries] == pages


def test_where_length_shows_all_pages_are_cut_from_one_length() -> None:
    assert whole(Query("a", k=20), prefixes=False) == Query("a", k=20)
    assert whole(Query("a", k=20, offset=0), prefixes=False) == Query("a", k=PAGED)
    assert whole(Query("a", k=20, offset=40), prefixes=True) == Query("a", k=60)
    assert whole(Query("a", k=20, offset=40, diversity=0.1), prefixes=True) == Query("a", k=PAGED, diversity=0.1)
    assert whole(Query("a", k=20, offset=PAGED), prefixes=False) == Query("a", k=PAGED + 20)


def test_an_offset_below_zero_is_refused(recommender: Recommender) -> None:
    with pytest.raises(InputError, match="offset"):
        recommender.recommend("u00003", offset=-1)
