"""What makes no sense is refused with its remedy, and goes through where the caller says that it is meant."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest

from diffcdr.errors import InputError
from diffcdr.files.reading import Reading
from training.config import load_preset
from training.data.domains import Domain, load_domain, pair_domains
from training.data.doubts import DOUBTS, Doubt, Rules
from training.data.titles import TitleFile
from training.run.data_checks import check_data, check_prepared
from training.run.prepare import DomainFile, load_pair

USERS, ITEMS = 60, 12


def write(path: Path, *, prefix: str, low: int = 1, high: int = 5, user: str = "u{}", seed: int = 0) -> Path:
    draw = random.Random(f"{prefix}{seed}")
    rows = [
        f"{user.format(u)},{prefix}{i},{draw.randint(low, high)},{1_500_000_000 + u}"
        for u in range(USERS)
        for i in draw.sample(range(ITEMS), 6)
    ]
    path.write_text("user_id,item_id,rating,timestamp\n" + "\n".join(rows) + "\n")
    return path


def checked(source: Domain, target: Domain, *accepted: str) -> list[str]:
    config = load_preset("ranking", [])
    return check_data(
        pair_domains(source, target), config, models=["mean"], test_fractions=[0.2], seeds=[0], accepted=accepted
    )


@pytest.mark.parametrize(("low", "high", "proposed"), [(0, 10, "0,10"), (1, 10, "1,10"), (1, 100, "1,100")])
def test_ratings_of_another_scale(tmp_path: Path, low: int, high: int, proposed: str) -> None:
    path = write(tmp_path / "r.csv", prefix="f", low=low, high=high)
    with pytest.raises(Doubt, match=rf"did you mean --source-range {proposed}\?.*--accept out-of-range") as caught:
        load_domain(path)
    assert f"they go from {low} to {high}" in str(caught.value)
    accepted = Rules(accepted=frozenset(["out-of-range"]))
    if low < 5:
        assert "lie outside 1 to 5" in load_domain(path, rules=accepted).warnings[0]
    assert load_domain(path, rating_range=(low, high)).warnings == ()


def test_a_range_that_was_given_is_doubted_later(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", prefix="f", low=0, high=10)
    given = load_domain(path, rating_range=(1, 5), rules=Rules(range_given=True))
    assert re.search("lie outside 1 to 5", given.warnings[0])
    wide = write(tmp_path / "wide.csv", prefix="f", low=0, high=50)
    with pytest.raises(Doubt):
        load_domain(wide, rating_range=(50, 51), rules=Rules(range_given=True))


def test_every_message_names_the_options_of_its_own_file(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", prefix="f", low=2, high=10)
    (tmp_path / "none.csv").write_text("user_id,item_id,rating\nu,i,90\n")
    (tmp_path / "words.csv").write_text("user_id,item_id,rating\nu,i,good\n")
    for side, other in (("source", "target"), ("target", "source")):
        rules = Rules(side)
        for file, option in (
            (path, "range 1,10"),
            (tmp_path / "none.csv", "range 1,100"),
            (tmp_path / "words.csv", ""),
        ):
            with pytest.raises(InputError) as caught:
                load_domain(file, rules=rules)
            assert f"--{side}-{option}" in str(caught.value) and f"--{other}" not in str(caught.value)


@pytest.mark.parametrize(
    ("low", "high", "given", "said"),
    [
        (1, 5, (1, 10), "did you mean --target-range 1,5?"),
        (0, 1, (0, 5), "did you mean --target-range 0,1?"),
        (3, 5, (1, 5), None),
        (1, 7, (1, 10), None),
        (2, 10, (1, 10), None),
        (4, 4, (1, 100), None),
    ],
)
def test_a_range_far_wider_than_the_ratings(
    tmp_path: Path, low: int, high: int, given: tuple[float, float], said: str | None
) -> None:
    path = write(tmp_path / "r.csv", prefix="f", low=low, high=high)
    domain = load_domain(path, rating_range=given, rules=Rules("target", range_given=True))
    assert (domain.file.rating_range, domain.file.found_range) == (given, (low, high))
    assert [text.endswith(str(said)) for text in domain.warnings] == ([] if said is None else [True])
    assert load_domain(path, rating_range=given, rules=Rules("target")).warnings == ()  # the default is no one's choice


def test_what_is_wrong_with_each_file_is_said_at_once(tmp_path: Path) -> None:
    wide = DomainFile(write(tmp_path / "a.csv", prefix="f", high=10))
    (tmp_path / "b.csv").write_text("who,item_id,stars\nu,i,3\n")
    other = DomainFile(tmp_path / "b.csv", reading=Reading(option="--target-columns"), rules=Rules("target"))
    with pytest.raises(InputError) as caught:
        load_pair(wide, other)
    first, second = str(caught.value).splitlines()
    assert "--source-range 1,10" in first
    assert second.endswith(
        "no column known as user; it has 'who', 'item_id', 'stars' (recognised: item 'item_id', rating 'stars'); "
        "name the columns with --target-columns user=NAME (without a header: user=column_1)"
    )


def test_records_that_cannot_be_parsed(tmp_path: Path) -> None:
    good = '{"user": "u", "item": "i", "rating": 3}\n'
    (tmp_path / "r.jsonl").write_text(good * 2 + "{broken\n" * 3)
    with pytest.raises(Doubt, match="3 of its 5 records cannot be parsed; the first is row 3: '{broken'"):
        load_domain(tmp_path / "r.jsonl")


def test_one_file_twice(tmp_path: Path) -> None:
    source = load_domain(write(tmp_path / "a.csv", prefix="f"))
    (tmp_path / "b.csv").write_text((tmp_path / "a.csv").read_text() + "new,f1,3,1500000000\n")
    target = load_domain(tmp_path / "b.csv")
    pair = pair_domains(source, target)
    with pytest.raises(Doubt, match="hold the same ratings"):
        check_prepared(pair, accepted=())
    assert check_prepared(pair, accepted=["same-ratings"])
    with pytest.raises(Doubt, match="items of a.csv"):
        checked(source, target, "same-ratings")


def test_ratings_that_are_all_the_same_and_users_that_are_numbers(tmp_path: Path) -> None:
    source = load_domain(write(tmp_path / "a.csv", prefix="f", user="{}"))
    equal = load_domain(write(tmp_path / "b.csv", prefix="b", low=4, high=4, user="{}"))
    with pytest.raises(Doubt, match="every rating is 4"):
        checked(source, equal)
    with pytest.raises(Doubt, match="same number the same person"):
        checked(source, equal, "equal-ratings")
    assert len(checked(source, equal, "equal-ratings", "same-numbers")) == 2


def test_titles_of_other_items(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", prefix="f")
    (tmp_path / "t.csv").write_text("item_id,title\n" + "".join(f"F{i},T\n" for i in range(ITEMS)))
    with pytest.raises(Doubt, match=r"none of its 12 titles.*'F0'.*'f0'.*12 ids would match if upper and lower case"):
        load_domain(path, titles=TitleFile(tmp_path / "t.csv"))
    (tmp_path / "some.csv").write_text("item_id,title\nf0,T\n")
    assert "titles for 1 of 12 items" in load_domain(path, titles=TitleFile(tmp_path / "some.csv")).warnings[0]


def test_times_that_are_not_understood_zero_or_to_come(tmp_path: Path) -> None:
    rows = ["u,i,1,some day", "u,j,2,0", "u,k,3,4000000000", "u,l,4,1500000000000", "u,l,5,1500000001", "u,m,3,"]
    (tmp_path / "r.csv").write_text("user,item,rating,time\n" + "\n".join(rows) + "\n")
    domain = load_domain(tmp_path / "r.csv")
    assert domain.file.noted == {"time_not_understood": 1, "time_in_future": 1, "time_zero": 1, "time_missing": 1}
    said = " ".join(domain.warnings)
    for part in ("1 of 6 times are not understood, such as 'some day'", "future", "zero", "several units"):
        assert part in said
    assert domain.ratings[domain.items.row("l")] == np.float32(5)  # milliseconds are not later for being more


def test_every_doubt_has_a_name_that_a_page_explains() -> None:
    page = (Path(__file__).parents[4] / "docs" / "how-to" / "own-data.md").read_text()
    assert all(f"`{name}`" in page for name in DOUBTS)
