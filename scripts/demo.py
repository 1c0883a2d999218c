"""From two rating files to a recommendation over REST, with the commands one would type oneself.

Reads these environment variables, all optional:

    SOURCE, TARGET   rating files of your own (both or neither); without them two domains are generated
    PRESET           training preset (ranking)
    PORT             port of the service (8000)
    DEMO_ONCE        1: ask the service, print the answer, stop
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl
from rich.table import Table

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import DiffCDRError, InputError
from scripts.demo_commands import (
    code_fingerprint,
    file_fingerprint,
    once_per,
    out,
    require_free_port,
    start_service,
    stop,
    wait_until_ready,
)
from training.data.readers import read_ratings

HOME = Path(".demo")
BUNDLE = HOME / "bundle"
DATA = HOME / "data"
LOG = HOME / "service.log"
SYNTH_OPTIONS = ("--users", "5000", "--items", "2000", "--seed", "0")


@dataclass(frozen=True)
class Options:
    """What the environment asks for. ``source`` and ``target`` are both None for generated data."""

    source: Path | None
    target: Path | None
    preset: str
    port: int
    once: bool

    @classmethod
    def read(cls, environment: dict[str, str]) -> Options:
        """Raises InputError where a variable cannot be used."""
        source, target = environment.get("SOURCE", ""), environment.get("TARGET", "")
        if bool(source) != bool(target):
            raise InputError("SOURCE and TARGET go together: name both rating files, or neither for generated data")
        for name, value in (("SOURCE", source), ("TARGET", target)):
            if value and not Path(value).exists():
                raise InputError(f"{name}={value} does not exist; name a rating file")
        port = environment.get("PORT", "") or "8000"
        if not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise InputError(f"PORT={port} is not a port; give a number from 1 to 65535")
        return cls(
            source=Path(source) if source else None,
            target=Path(target) if target else None,
            preset=environment.get("PRESET", "") or "ranking",
            port=int(port),
            once=environment.get("DEMO_ONCE", "") not in ("", "0"),
        )


@dataclass(frozen=True)
class ColdUser:
    """A user with source ratings and none in the target's training, and the best of what they rated."""

    id: str
    liked: list[str]
    held_out: bool
    """Has target ratings after all, which training was not shown."""


def main() -> int:
    """Run the demo; the exit code is 0, or that of the error (see ``diffcdr.errors``), or 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, _stop_like_ctrl_c)
    try:
        run(Options.read(dict(os.environ)))
    except KeyboardInterrupt:
        return 130
    except DiffCDRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except subprocess.CalledProcessError as error:
        # The command has already said why.
        return int(error.returncode)
    return 0


def run(options: Options) -> None:
    """Data, training, service, question. Raises what :func:`main` turns into exit codes."""
    require_free_port(options.port)
    HOME.mkdir(exist_ok=True)
    source, target = rating_files(options)
    train(source, target, preset=options.preset)
    user = find_cold_user(source, target)
    # polars leaves a handler of its own behind, which swallows Ctrl-C while nothing of it runs.
    signal.signal(signal.SIGINT, _stop_like_ctrl_c)
    address = f"http://127.0.0.1:{options.port}"
    service = start_service(BUNDLE, port=options.port, log=LOG)
    try:
        wait_until_ready(service, address, bundle=open_bundle(BUNDLE, verify=False).id, log=LOG)
        introduce(user, address)
        if options.once:
            show_answer(ask(address, user.id))
        else:
            out.print("\nCtrl-C stops the service.")
            if service.wait() != 0:
                raise DiffCDRError(f"the service ended by itself; its log is {LOG}")
    finally:
        stop(service)


def rating_files(options: Options) -> tuple[Path, Path]:
    """The two rating files: the user's own, or generated ones."""
    if options.source is not None and options.target is not None:
        return options.source, options.target
    source, target = DATA / "films.parquet", DATA / "books.parquet"
    once_per(
        {"options": SYNTH_OPTIONS, "code": code_fingerprint()},
        stamp=HOME / "data.stamp",
        products=(source, target),
        command=["synth", "--out", str(DATA), *SYNTH_OPTIONS],
    )
    return source, target


def train(source: Path, target: Path, *, preset: str) -> None:
    """Train and publish the bundle, unless the same files, settings and code have made the one there is."""
    command = ["train", "--source", str(source), "--target", str(target), "--preset", preset, "--bundle", str(BUNDLE)]
    # Besides the baselines the ridge map: in lists and on the console's map it is the one to beat.
    command += ["--models", "ridge"]
    for option, path in (("--source-titles", titles_of(source)), ("--target-titles", titles_of(target))):
        if path is not None:
            command += [option, str(path)]
    inputs = [source, target, *filter(None, (titles_of(source), titles_of(target)))]
    once_per(
        {"command": command, "files": [file_fingerprint(path) for path in inputs], "code": code_fingerprint()},
        stamp=HOME / "bundle.stamp",
        products=(BUNDLE / "manifest.json",),
        command=command,
    )


def titles_of(ratings: Path) -> Path | None:
    """The titles beside a rating file: for ``films.parquet``, ``film_items.parquet`` or ``films_items.parquet``."""
    stem = ratings.stem
    for name in (f"{stem.removesuffix('s')}_items", f"{stem}_items"):
        path = ratings.with_name(f"{name}{ratings.suffix}")
        if path.is_file():
            return path
    return None


def find_cold_user(source: Path, target: Path) -> ColdUser:
    """Of the users who rated in the source alone, the one with the most ratings (ties: the first id).

    Where every source user is known in the target, one held out of training for the test: cold to the model.
    """
    ratings = read_ratings(source).frame.drop_nulls(["user_id", "item_id", "rating"])
    bundle = open_bundle(BUNDLE, verify=False)
    candidates = ratings.group_by("user_id").len().sort(["len", "user_id"], descending=[True, False])
    elsewhere = read_ratings(target).frame.select("user_id")
    unseen = candidates.join(elsewhere, on="user_id", how="anti", maintain_order="left")
    for held_out, ids in ((False, unseen["user_id"].to_list()), (True, candidates["user_id"].to_list())):
        known = bundle.source_users.ids.rows(ids) >= 0
        warm = bundle.target_users.ids.rows(ids) >= 0
        cold = [text for text, here, there in zip(ids, known, warm, strict=True) if here and not there]
        if cold:
            own = ratings.filter(pl.col("user_id") == cold[0]).sort(["rating", "item_id"], descending=[True, False])
            rows = bundle.source_items.ids.rows(own["item_id"].to_list())
            titles = bundle.source_items.titles
            liked = [
                (titles[row] if titles and row >= 0 else None) or item
                for row, item in zip(rows, own["item_id"], strict=True)
            ]
            return ColdUser(cold[0], liked[:5], held_out)
    raise InputError("every source user has target ratings in training; there is no cold-start user to ask for")


def introduce(user: ColdUser, address: str) -> None:
    """Print where the service is and the one command that shows what it does."""
    view = f"#/try?user={urllib.parse.quote(user.id, safe='')}"
    out.print(f"\n[bold]The console is at {address}/console/{view}[/]  (interactive documentation: {address}/docs)")
    known = "has target ratings, which training was not shown" if user.held_out else "has rated nothing in the target"
    out.print(f"{user.id} {known}. Best rated in the source: {', '.join(user.liked)}")
    body = shlex.quote(json.dumps({"user_id": user.id, "k": 20}))
    out.print("\nTheir top 20 in the target:\n")
    # Not through rich: a line to copy must not be wrapped or marked up.
    print(f"curl -s {address}/v1/recommendations -H 'content-type: application/json' -d {body}", flush=True)


def ask(address: str, user_id: str) -> dict[str, Any]:
    """The answer to the printed curl."""
    request = urllib.request.Request(
        f"{address}/v1/recommendations",
        data=json.dumps({"user_id": user_id, "k": 20}).encode(),
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        raise DiffCDRError(f"the service answered {error.code}: {error.read().decode(errors='replace')}") from error
    return answer


def show_answer(answer: dict[str, Any]) -> None:
    """Print the items as a table, and what the JSON looks like."""
    table = Table("rank", "title", "score", box=None, pad_edge=False)
    for item in answer["items"]:
        table.add_row(str(item["rank"]), item.get("title") or item["item_id"], f"{item['score']:.3f}")
    out.print()
    out.print(table)
    out.print("\nThe same as JSON, first item only:\n")
    print(json.dumps({**answer, "items": answer["items"][:1]}, indent=2, ensure_ascii=False), flush=True)


def _stop_like_ctrl_c(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
