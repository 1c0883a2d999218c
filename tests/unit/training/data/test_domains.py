from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from diffcdr.errors import InputError
from training.data.domains import MIN_OVERLAP, Domain, load_domain, pair_domains
from training.data.titles import TitleFile


def domain_of(folder: Path, users: list[str], name: str = "r.csv") -> Domain:
    (folder / name).write_text("user,item,rating\n" + "".join(f"{user},i1,3\n{user},i2,4\n" for user in users))
    return load_domain(folder / name)


def test_a_domain_by_hand(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user,item,rating,time\nb,y,2,5\nB,y,3,6\na,x,5,7\na,z,9,8\na,x,4,6\n")
    (tmp_path / "t.csv").write_text("item_id,title\ny,Second Y\ny,First Y\nq,Unknown\n")
    domain = load_domain(tmp_path / "r.csv", titles=TitleFile(tmp_path / "t.csv"))
    assert domain.users.take(np.arange(3)) == ["B", "a", "b"]
    assert domain.items.take(np.arange(2)) == ["x", "y"]
    assert domain.user_rows.tolist() == [0, 1, 2]
    assert domain.item_rows.tolist() == [1, 0, 1]
    assert domain.ratings.tolist() == [3.0, 5.0, 2.0]
    assert domain.timestamps is not None and domain.timestamps.tolist() == [6, 7, 5]
    assert domain.titles == ["", "First Y"]
    assert (domain.file.name, domain.file.rows_read, domain.file.rows_kept) == ("r.csv", 5, 3)
    assert domain.file.cleaning == {"rating_out_of_range": 1, "duplicate": 1}
    assert (domain.user_rows.dtype, domain.item_rows.dtype, domain.ratings.dtype) == (np.int64, np.int64, np.float32)


def test_times_are_dropped_where_some_are_missing(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user,item,rating,time\na,x,5,7\na,y,5,\n")
    assert load_domain(tmp_path / "r.csv").timestamps is None


def test_the_core_is_taken_over_and_over(tmp_path: Path) -> None:
    # d goes for its single rating, which leaves z one rating, which leaves c one; {a, b} x {x, y} stays.
    text = "user,item,rating\na,x,1\na,y,2\nb,x,3\nb,y,4\nc,x,5\nc,z,5\nd,z,5\n"
    (tmp_path / "r.csv").write_text(text)
    domain = load_domain(tmp_path / "r.csv", min_ratings=2)
    assert domain.users.take(np.arange(len(domain.users))) == ["a", "b"]
    assert domain.items.take(np.arange(len(domain.items))) == ["x", "y"]
    assert domain.ratings.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert domain.file.cleaning == {"below_min_ratings": 3}
    with pytest.raises(InputError, match="choose a smaller minimum"):
        load_domain(tmp_path / "r.csv", min_ratings=3)


def test_overlap_users_are_the_same_people_on_both_sides(tmp_path: Path) -> None:
    shared = [f"u{number}" for number in range(12)]
    source = domain_of(tmp_path, ["a", *shared, "u0-longer-than-all-others"])
    target = domain_of(tmp_path, ["z", *reversed(shared), "zz", "zzz"], "t.csv")
    pair = pair_domains(source, target)
    assert pair.overlap_ids() == sorted(shared) == target.users.take(pair.overlap_target)
    assert (pair.source_only_users, pair.target_only_users) == (2, 3)
    assert "12 users in both domains; 2 only in r.csv, 3 only in t.csv" in pair.summary()


def test_no_overlap_shows_ids_of_both_sides(tmp_path: Path) -> None:
    source, target = domain_of(tmp_path, ["1", "2", "3"]), domain_of(tmp_path, ["01", "02"], "t.csv")
    with pytest.raises(
        InputError, match=r"no user occurs in both .*'1', '2'; t\.csv .*'01', '02'.*2 ids would match if zeros"
    ):
        pair_domains(source, target)


def test_one_user_files_and_too_small_an_overlap_are_refused(tmp_path: Path) -> None:
    users = [f"u{number}" for number in range(MIN_OVERLAP)]
    with pytest.raises(InputError, match=r"only 1 user\(s\) .* at least 10"):
        pair_domains(domain_of(tmp_path, ["u0"]), domain_of(tmp_path, ["u0"], "t.csv"))
    with pytest.raises(InputError, match=r"only 9 user\(s\)"):
        pair_domains(domain_of(tmp_path, users[1:]), domain_of(tmp_path, users, "t.csv"))
    assert len(pair_domains(domain_of(tmp_path, users), domain_of(tmp_path, users, "t.csv")).overlap_source) == 10


def test_row_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user": rng.integers(40, size=600),
            "item": rng.integers(30, size=600),
            "rating": rng.choice([1.1, 2.7, 4.3], size=600),
        }
    )
    frame.write_parquet(tmp_path / "a.parquet")
    frame.sample(fraction=1.0, shuffle=True, seed=1).write_parquet(tmp_path / "b.parquet")
    first, second = load_domain(tmp_path / "a.parquet"), load_domain(tmp_path / "b.parquet")
    assert first.file.cleaning["duplicate"] > 0
    for name in ("user_rows", "item_rows", "ratings"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    order = np.lexsort((first.item_rows, first.user_rows))
    assert (order == np.arange(len(order))).all()
