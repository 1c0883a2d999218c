"""Prepared tables: two cleaned domains as arrays, and the split of their shared users.

    tables.json                         what they were made from, cleaning counts, the division
    source/ target/  users items        ids, byte-sorted
                     user_rows item_rows ratings [timestamps]    ordered by (user, item)
    overlap_source overlap_target       rows of the shared users, ordered by id
    train validation test               positions among them

All but the first are ``.npy``, mapped into memory when opened. Whatever engine writes them, the bytes are the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from diffcdr.atomic import replacing_directory
from diffcdr.bundle.ids import IdTable
from diffcdr.bundle.manifest import InputFile
from diffcdr.errors import InputError
from training.data.domains import Domain, DomainPair, pair_domains
from training.data.doubts import all_done
from training.data.findings import CleaningReport
from training.data.splits import Split, split_overlap
from training.data.titles import TitleFile, item_titles

FACTS = "tables.json"


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DomainFacts(_Facts):
    """The origin of one domain's ratings. ``first_bad_row`` counts from 1, with its key of ``REASONS``.

    ``warnings``: what is to be said of the file.
    """

    file: InputFile
    first_bad_row: int | None = None
    first_bad_reason: str | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, file: InputFile, report: CleaningReport, warnings: Sequence[str] = ()) -> DomainFacts:
        """What is kept of a reading."""
        return cls(
            file=file,
            first_bad_row=report.first_bad_row,
            first_bad_reason=report.first_bad_reason,
            warnings=tuple(warnings),
        )

    def report(self) -> CleaningReport:
        """The cleaning report again."""
        file = self.file
        return CleaningReport(
            file.name,
            file.rows_read,
            file.rows_kept,
            file.cleaning,
            self.first_bad_row,
            self.first_bad_reason,
            file.noted,
            file.how,
        )


class Division(_Facts):
    """The split of the shared users: the arguments of :func:`~training.data.splits.split_overlap`."""

    seed: int
    test_fraction: float
    validation_fraction: float
    min_validation_users: int = 0

    def split(self, pair: DomainPair) -> Split:
        """The division of ``pair``'s shared users. Raises InputError as ``split_overlap``."""
        return split_overlap(
            pair.overlap_ids(),
            test_fraction=self.test_fraction,
            validation_fraction=self.validation_fraction,
            min_validation_users=self.min_validation_users,
            seed=self.seed,
        )


class TablesFacts(_Facts):
    """All of ``tables.json``; ``users``: how many are shared, and how many of them are in each part."""

    version: Literal[1] = 1
    rating_range: tuple[float, float]
    source_range: tuple[float, float] | None = None
    """Where it is not ``rating_range``, which is the target's then."""
    division: Division
    source: DomainFacts
    target: DomainFacts
    users: dict[str, int]


@dataclass(frozen=True)
class Tables:
    """Open tables. ``id``: SHA-256 (hex) of ``tables.json``."""

    path: Path
    id: str
    facts: TablesFacts
    pair: DomainPair
    split: Split


class DomainWriter:
    """Writes one domain's arrays to ``folder``, its rows in pieces of any size, in order."""

    def __init__(self, folder: Path, *, users: IdTable, items: IdTable, rows: int, timed: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "users.npy", users.array)
        np.save(folder / "items.npy", items.array)
        kinds: dict[str, type[np.generic]] = {"user_rows": np.int64, "item_rows": np.int64, "ratings": np.float32}
        if timed:
            kinds["timestamps"] = np.int64
        self._columns = {name: _reserved(folder / f"{name}.npy", kind, rows) for name, kind in kinds.items()}
        self._written = 0

    def append(self, **columns: npt.NDArray[Any]) -> None:
        """Add rows: parallel ``user_rows``, ``item_rows``, ``ratings`` and, of a timed domain, ``timestamps``."""
        stop = self._written + len(columns["ratings"])
        for name, table in self._columns.items():
            table[self._written : stop] = columns[name]
        self._written = stop

    def close(self) -> None:
        """Bring everything to the disk."""
        for table in self._columns.values():
            table.flush()


def _reserved(path: Path, kind: type[np.generic], rows: int) -> np.memmap[Any, Any]:
    """A new mapped array whose bytes are on the disk already: writing to a map on a full disk kills the process."""
    table = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(rows,))
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, path.stat().st_size))
    return table


DomainMaker = Callable[[Path], DomainFacts]
"""Writes one domain's arrays to a folder that is not there yet, with a :class:`DomainWriter`."""


def domain_maker(load: Callable[[], Domain]) -> DomainMaker:
    """The maker for a domain that fits into memory."""

    def make(folder: Path) -> DomainFacts:
        domain = load()
        writer = DomainWriter(
            folder,
            users=domain.users,
            items=domain.items,
            rows=len(domain.ratings),
            timed=domain.timestamps is not None,
        )
        times = {} if domain.timestamps is None else {"timestamps": domain.timestamps}
        writer.append(user_rows=domain.user_rows, item_rows=domain.item_rows, ratings=domain.ratings, **times)
        writer.close()
        return DomainFacts.of(domain.file, domain.report, domain.warnings)

    return make


def write_tables(
    out: Path,
    *,
    source: DomainMaker,
    target: DomainMaker,
    division: Division,
    rating_range: tuple[float, float],
    source_range: tuple[float, float] | None = None,
    check: Callable[[DomainPair], None] = lambda pair: None,
) -> Tables:
    """Make both domains, pair them, divide the shared users, and publish all of it at ``out`` in one step.

    Tables already there are replaced; where anything fails, they stay and nothing else does. ``check`` may raise.

    Raises:
        InputError: as the makers, ``check``, :func:`pair_domains` and ``split_overlap``; or ``out`` cannot be written.
    """
    with staged(out) as staging:
        makers = [partial(source, staging / "source"), partial(target, staging / "target")]
        made = dict(zip(("source", "target"), all_done(makers), strict=True))
        first, second = (_open_domain(staging / name, facts, titles=None) for name, facts in made.items())
        pair = pair_domains(first, second)
        check(pair)
        split = division.split(pair)
        arrays = {
            "overlap_source": pair.overlap_source,
            "overlap_target": pair.overlap_target,
            "train": split.train,
            "validation": split.validation,
            "test": split.test,
        }
        for name, values in arrays.items():
            np.save(staging / f"{name}.npy", values)
        facts = TablesFacts(
            rating_range=rating_range,
            source_range=source_range if source_range != rating_range else None,
            division=division,
            users={"shared": len(pair.overlap_source), **split.counts()},
            source=made["source"],
            target=made["target"],
        )
        (staging / FACTS).write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")
        del first, second, pair
    return open_tables(out)


def open_tables(
    path: Path, *, source_titles: TitleFile | None = None, target_titles: TitleFile | None = None
) -> Tables:
    """Map the tables at ``path``, and read titles where files of them are given.

    Arrays of ratings are mapped copy-on-write: torch takes them as they are, and nothing reaches the files.

    Raises:
        InputError: there are no tables, or a file is missing, damaged or of another version.
    """
    try:
        text = (path / FACTS).read_bytes()
        facts = TablesFacts.model_validate_json(text)
        source = _open_domain(path / "source", facts.source, titles=source_titles)
        target = _open_domain(path / "target", facts.target, titles=target_titles)
        arrays = {name: _mapped(path / f"{name}.npy") for name in ("train", "validation", "test")}
        pair = DomainPair(source, target, *(_mapped(path / f"overlap_{name}.npy") for name in ("source", "target")))
    except ValidationError as error:
        raise InputError(f"{path / FACTS} was written by another version; run diffcdr prepare again") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} holds no prepared tables that can be read ({error}); make them with: diffcdr prepare --out DIR"
        ) from error
    for domain, table in ((source, facts.source), (target, facts.target)):
        if not len(domain.user_rows) == len(domain.item_rows) == len(domain.ratings) == table.file.rows_kept:
            raise InputError(f"tables in {path} are cut short; run diffcdr prepare again")
    return Tables(path, hashlib.sha256(text).hexdigest(), facts, pair, Split(**arrays))


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A new directory beside ``out`` that takes its place when the block ends well, and goes when it does not.

    Raises:
        InputError: it cannot be written, or ``out`` holds something else than tables.
    """
    out = out.resolve()
    try:
        if out.exists() and not (out / FACTS).is_file() and not (out.is_dir() and not any(out.iterdir())):
            raise InputError(f"{out} exists and holds no prepared tables; choose another --out")
        with replacing_directory(out) as staging:
            yield staging
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error


def _open_domain(folder: Path, facts: DomainFacts, *, titles: TitleFile | None) -> Domain:
    items = IdTable(np.load(folder / "items.npy", mmap_mode="r"))
    named = None if titles is None else item_titles(titles, items)
    times = folder / "timestamps.npy"
    return Domain(
        users=IdTable(np.load(folder / "users.npy", mmap_mode="r")),
        items=items,
        user_rows=_mapped(folder / "user_rows.npy"),
        item_rows=_mapped(folder / "item_rows.npy"),
        ratings=_mapped(folder / "ratings.npy"),
        timestamps=_mapped(times) if times.exists() else None,
        titles=None if named is None else named.titles,
        file=facts.file,
        report=facts.report(),
        warnings=(*facts.warnings, *(() if named is None else named.warnings)),
        items_file=None if named is None else named.file,
    )


def _mapped(path: Path) -> npt.NDArray[Any]:
    # As a plain array: indexing the memmap subclass runs Python code for every element taken.
    return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
