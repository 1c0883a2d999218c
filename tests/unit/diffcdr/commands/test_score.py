"""Bulk scoring gives the service's lists, in the users' order, whatever the threads and interruptions."""

from __future__ import annotations

import gzip
import io
import resource
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from rich.console import Console

import diffcdr.score
from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import InputError
from diffcdr.files.users import read_users
from diffcdr.filtering.item_filter import ItemFilter
from diffcdr.progress import Reporter
from diffcdr.recommend.list_table import ScoreOptions
from diffcdr.recommend.recommender import Query, Recommendation, Recommender
from diffcdr.score import ScoreReport, all_users, score_users
from tests.bundles import write_bundle
from tests.command import run as command_line

PLAIN = ScoreOptions()
USERS = ["u00250", "nobody", "u00001", "v00002", "ü", "u00000"]


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(path, users=300, items=70)
    return Recommender(open_bundle(path))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffcdr.score, "BATCH_USERS", 16)
    monkeypatch.setattr(diffcdr.score, "PART_ROWS", 200)


def run(
    recommender: Recommender,
    users: list[str] | pl.Series,
    out: Path,
    *,
    options: ScoreOptions = PLAIN,
    resume: bool = False,
    threads: int = 1,
) -> ScoreReport:
    reporter = Reporter(Console(file=io.StringIO()))
    series = users if isinstance(users, pl.Series) else pl.Series("user_id", users)
    return score_users(recommender, series, out, options=options, reporter=reporter, resume=resume, threads=threads)


@pytest.mark.parametrize("layout", ["long", "lists"])
def test_who_opted_out_gets_the_popular_list_and_keeps_the_place(
    recommender: Recommender, tmp_path: Path, layout: Literal["long", "lists"]
) -> None:
    users, out = pl.Series("user_id", USERS), tmp_path / "out.parquet"
    options, reporter = ScoreOptions(k=5, layout=layout), Reporter(Console(file=io.StringIO()))
    away = pl.Series("user_id", ["u00250", "v00002", "never-seen"])
    score_users(recommender, users, out, options=options, reporter=reporter, opted_out=away)
    refused = pl.read_parquet(out)
    assert refused["user_id"].unique(maintain_order=True).to_list() == USERS
    score_users(recommender, users, out, options=options, reporter=reporter)
    plain, theirs = pl.read_parquet(out), pl.col("user_id").is_in(away.implode())
    assert refused.filter(~theirs).equals(plain.filter(~theirs))
    nobody = plain.filter(pl.col("user_id") == "nobody").drop("user_id")
    for user in ("u00250", "v00002"):
        assert refused.filter(pl.col("user_id") == user).drop("user_id").equals(nobody)


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("k", [3, 100])
def test_the_lists_are_the_services(recommender: Recommender, tmp_path: Path, k: int, exclude_seen: bool) -> None:
    out = tmp_path / "out.parquet"
    report = run(recommender, USERS, out, options=ScoreOptions(k=k, exclude_seen=exclude_seen))
    wanted = []
    for user, answer in zip(
        USERS, recommender.answer([Query(user, k=k, exclude_seen=exclude_seen) for user in USERS]), strict=True
    ):
        assert isinstance(answer, Recommendation)
        ranked = zip(answer.item_ids, answer.scores, strict=True)
        wanted += [(user, place, item, score, answer.strategy) for place, (item, score) in enumerate(ranked, 1)]
    frame = pl.read_parquet(out)
    assert frame.columns == ["user_id", "rank", "item_id", "score", "strategy"]
    assert frame.rows() == wanted
    assert report == ScoreReport(
        users=6, rows=len(wanted), parts_reused=0, strategies={"transfer": 1, "popular": 2, "warm": 3}
    )
    assert [found.name for found in tmp_path.iterdir()] == ["out.parquet"]


def test_diverse_lists_are_the_services_too(recommender: Recommender, tmp_path: Path) -> None:
    run(recommender, USERS, tmp_path / "out.parquet", options=ScoreOptions(k=5, layout="lists", diversity=0.3))
    answers = recommender.answer([Query(user, k=5, diversity=0.3) for user in USERS])
    lists = pl.read_parquet(tmp_path / "out.parquet")["item_ids"].to_list()
    assert lists == [answer.item_ids for answer in answers if isinstance(answer, Recommendation)]
    run(recommender, USERS, tmp_path / "plain.parquet", options=ScoreOptions(k=5, layout="lists"))
    assert lists != pl.read_parquet(tmp_path / "plain.parquet")["item_ids"].to_list()


def test_one_row_per_user(recommender: Recommender, tmp_path: Path) -> None:
    run(recommender, USERS, tmp_path / "long.parquet", options=ScoreOptions(k=5))
    run(recommender, USERS, tmp_path / "lists.parquet", options=ScoreOptions(k=5, layout="lists"))
    lists = pl.read_parquet(tmp_path / "lists.parquet")
    assert lists["user_id"].to_list() == USERS
    long = lists.explode("item_ids", "scores").select("user_id", item_id="item_ids", score="scores")
    assert long.equals(pl.read_parquet(tmp_path / "long.parquet").select("user_id", "item_id", "score"))


def test_a_user_with_nothing_left_has_an_empty_list(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", items=5)  # warm users have seen all five
    recommender = Recommender(open_bundle(tmp_path / "bundle"))
    options = ScoreOptions(layout="lists")
    run(recommender, ["u00001", "u00020"], tmp_path / "lists.parquet", options=options)
    assert pl.read_parquet(tmp_path / "lists.parquet")["item_ids"].list.len().to_list() == [0, 5]


def test_threads_do_not_show_in_the_file(recommender: Recommender, tmp_path: Path) -> None:
    users = all_users(recommender)
    assert users.to_list() == [f"u{row:05d}" for row in range(300)]
    for threads in (1, 3):
        run(recommender, users, tmp_path / f"{threads}.parquet", threads=threads)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "3.parquet").read_bytes()
    assert pl.read_parquet(tmp_path / "1.parquet")["user_id"].unique(maintain_order=True).equals(users)


def test_resume_equals_an_uninterrupted_run(
    recommender: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, out = all_users(recommender), tmp_path / "out.parquet"
    run(recommender, users, tmp_path / "whole.parquet")
    write, left = diffcdr.score._write_whole, [4]

    def stop_after_four(frame: pl.LazyFrame, path: Path) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(frame, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(diffcdr.score, "_write_whole", stop_after_four)
        run(recommender, users, out)
    assert not out.exists()
    with pytest.raises(InputError, match="other options"):
        run(recommender, users, out, resume=True, options=ScoreOptions(k=21))
    with pytest.raises(InputError, match="other users"):
        run(recommender, users[:-1], out, resume=True)
    assert run(recommender, users, out, resume=True).parts_reused == 4
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert run(recommender, users, out).parts_reused == 0


def test_a_full_disk_keeps_the_old_file(recommender: Recommender, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    out.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, hard))
    try:
        with pytest.raises(InputError, match="--resume"):
            run(recommender, all_users(recommender), out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert out.read_bytes() == b"old"
    run(recommender, all_users(recommender), out, resume=True)
    assert pl.read_parquet(out).height == 300 * 20


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("users.txt", b"b\n007\n\nb\n\xc3\xbc"),
        ("users.txt", b"\xef\xbb\xbfuser_id\r\nb\r\n007\r\nb\r\n\xc3\xbc"),
        ("users", b"b\n007\nb\n\xc3\xbc"),
        ("users.csv", b"user_id,age\nb,1\n007,2\nb,3\n\xc3\xbc,4\n,5\n"),
        ("users.tsv", b"age\tuser_id\n1\tb\n2\t007\n3\tb\n4\t\xc3\xbc\n"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_users_from_files(tmp_path: Path, name: str, content: bytes, zipped: bool) -> None:
    path = tmp_path / (f"{name}.gz" if zipped else name)
    path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    users, left_out = read_users(path)
    assert users.to_list() == ["b", "007", "ü"]
    assert left_out >= 1


def test_an_empty_file_has_no_users(tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_bytes(b"")
    users, left_out = read_users(tmp_path / "users.txt")
    assert (users.to_list(), left_out) == ([], 0)


def test_users_from_parquet(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [7, 3, 7], "x": [0, 0, 0]}).write_parquet(tmp_path / "users.parquet")
    assert read_users(tmp_path / "users.parquet")[0].to_list() == ["7", "3"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("users.csv", b"who,age\na,1\n", "no column known as user"),
        ("users.csv", b"", "cannot read users"),
        ("users.parquet", b"PAR1", "cannot read users"),
        ("users.txt", b"caf\xe9\n", "not UTF-8.*--encoding latin-1"),
        ("users.txt.gz", gzip.compress(b"a\n" * 1000, mtime=0)[:-9], "cannot read users"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_users(tmp_path / name)


def test_bad_arguments(recommender: Recommender, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read users"):
        read_users(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match="no users"):
        run(recommender, pl.Series("user_id", [], dtype=pl.String), tmp_path / "out.parquet")
    with pytest.raises(InputError, match="k must be"):
        run(recommender, USERS, tmp_path / "out.parquet", options=ScoreOptions(k=0))
    with pytest.raises(InputError, match="is a directory"):
        run(recommender, USERS, tmp_path)
    with pytest.raises(InputError, match="cannot write"):
        run(recommender, USERS, Path("/proc/out.parquet"))


def test_filtered_lists_are_those_of_the_recommender_and_a_run_of_another_filter_is_not_gone_on_with(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path / "bundle", items=70, attributes=True)
    known = Recommender(open_bundle(tmp_path / "bundle"))
    wanted = '{"where": {"genre": {"any": ["crime"]}}}'
    (tmp_path / "users.txt").write_text("u00020\nnobody\n")
    command = ["score", "--bundle", f"{tmp_path / 'bundle'}", "--users", f"{tmp_path / 'users.txt'}", "--k", "4"]
    command += ["--out", f"{tmp_path / 'out.parquet'}", "--filter"]
    assert command_line(*command, wanted) == 0
    found = pl.read_parquet(tmp_path / "out.parquet")
    for user in ("u00020", "nobody"):
        mine = found.filter(pl.col("user_id") == user)["item_id"].to_list()
        assert mine == known.recommend(user, k=4, filter={"where": {"genre": {"any": ["crime"]}}}).item_ids
    assert command_line(*command, '{"where": {"colour": {"eq": "red"}}}') == InputError.exit_code
    assert command_line(*command, "{") == InputError.exit_code
    said = capfd.readouterr().err
    assert "filter/where/colour: the bundle has no such attribute" in said and "filter: Invalid JSON" in said
    assert command_line(*command, '{"items": []}') == 0
    assert "the filter allows no item" in " ".join(capfd.readouterr().err.split())
    assert command_line(*command[:-1], "--caps", '{"genre": 1}') == 0
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["item_id"][:4].to_list() == known.recommend("u00020", k=4, caps={"genre": 1}).item_ids
    capfd.readouterr()
    for caps, why in (
        ('{"x": 1}', "caps/x: the bundle has no such"),
        ("{", "caps: this is no JSON"),
        ("[]", "an object"),
    ):
        assert command_line(*command[:-1], "--caps", caps) == InputError.exit_code
        assert why in " ".join(capfd.readouterr().err.split())
    users = pl.Series("user_id", ["u00020"])
    plans = [
        diffcdr.score.make_plan("b", users, ScoreOptions(filter=ItemFilter.of(each)), opted_out=None)
        for each in (None, {"items": ["a"]}, {"items": ["b"]})
    ]
    assert len({plan.filter for plan in plans}) == 3
