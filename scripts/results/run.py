"""``make results``: every published comparison, from the rating files to the pages in ``docs/results/``.

Each comparison is one ``diffcdr experiment`` into ``results/PAIR-PRESET``; a stopped run goes on where it was, and
what is there already is not computed again. The pages are written from whatever is there.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from pydantic import TypeAdapter

from diffcdr.errors import DiffCDRError, InputError
from scripts.results.diversity_study import DiversityFigures, diversity_study
from scripts.results.goal_pages import ranking_page, robust_page
from scripts.results.goals import PairResults
from scripts.results.overview import overview_page
from scripts.results.sampler_study import SamplerFigures, sampler_study, samplers_page
from training.config import load_preset
from training.data.domains import DomainPair
from training.experiment.report.render import MARKDOWN, Report, as_markdown
from training.experiment.results import RESULTS, ResultsFile
from training.run.fit import fit_model
from training.run.prepare import DomainFile, load_pair, prepare
from training.run.run import Run

ROOT = Path(__file__).resolve().parents[2]
DIFFCDR = Path(sys.executable).with_name("diffcdr")
RATING_RANGE = (1.0, 5.0)
DIVERSITY = TypeAdapter(list[DiversityFigures])
SAMPLER_FIGURES = TypeAdapter(list[SamplerFigures])


@dataclass(frozen=True)
class Pair:
    """Two rating files below the data directory, without their ``.parquet``."""

    name: str
    label: str
    source: str
    target: str


PAIRS = (
    Pair("movies-music", "Amazon movies → music", "amazon_movies_music/movies", "amazon_movies_music/music"),
    Pair("books-movies", "Amazon books → movies", "amazon_books_movies/books", "amazon_books_movies/movies"),
    Pair("douban", "Douban books → music", "douban_books_music/books", "douban_books_music/music"),
    Pair("epinions-ab", "Epinions a → b", "epinions/domain_a", "epinions/domain_b"),
    Pair("epinions-ac", "Epinions a → c", "epinions/domain_a", "epinions/domain_c"),
)
MODELS = {"robust": "mean,bias,popular,diffcdr", "ranking": "all", "reference": "all", "paper": "all"}
"""By preset, in the order in which they run."""
PUBLISHED = ("reference", "paper")
"""Presets whose reports are pages of their own, with an overview of them all."""
READING = "reading.md"
"""Written by hand."""
DIVERSE = "diversity"
"""What diverse lists cost, preset ranking: one split of each pair, seed 0, with the preset's test fraction."""
SAMPLERS = "samplers"
"""Steps against quality, preset reference, on the first pair."""
SAMPLER_SEEDS = (0, 1)
NOT_RUN = {("epinions-ac", "reference"), ("epinions-ac", "paper")}


@dataclass(frozen=True)
class Comparison:
    """One preset on one pair."""

    pair: Pair
    preset: str

    @property
    def name(self) -> str:
        """Its directory's name."""
        return f"{self.pair.name}-{self.preset}"


COMPARISONS = tuple(
    Comparison(pair, preset) for preset in MODELS for pair in PAIRS if (pair.name, preset) not in NOT_RUN
)


def main(
    data: Annotated[Path, typer.Option(envvar="DIFFCDR_DATA", help="Directory with the rating files.")] = (
        ROOT.parent / "shared" / "data"
    ),
    out: Annotated[Path, typer.Option(help="Directory of the runs; what is there goes on.")] = Path("results"),
    docs: Annotated[Path, typer.Option(help="Directory of the pages.")] = Path("docs/results"),
    only: Annotated[
        list[str] | None, typer.Option(help="PAIR-PRESET, diversity or samplers; repeatable. Else all.")
    ] = None,
    report_only: Annotated[bool, typer.Option("--report-only", help="Run no comparison; write the pages.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Splits per test fraction.")] = 5,
    test_fractions: Annotated[str, typer.Option(metavar="SHARES", help="Shares of users held out.")] = "0.2,0.5,0.8",
    jobs: Annotated[int, typer.Option(min=1, help="Processes of each comparison.")] = 2,
) -> None:
    """Run every comparison that is not there yet, and write the pages."""
    for comparison in () if report_only else chosen(only):
        source, target = rating_files(comparison.pair, data)
        options = ["--preset", comparison.preset, "--models", MODELS[comparison.preset], "--warm"]
        options += ["--test-fractions", test_fractions, "--seeds", str(seeds), "--jobs", str(jobs)]
        typer.echo(f"results: {comparison.name}", err=True)
        files = ["--source", str(source), "--target", str(target), "--out", str(out / comparison.name)]
        done = subprocess.run([DIFFCDR, "experiment", *files, *options], check=False)
        if done.returncode:
            raise DiffCDRError(f"{comparison.name} was not computed, for the reason above; run this again to go on")
    study = not report_only and (only is None or DIVERSE in only)
    diverse = {pair.label: study_diversity(pair, data, out, run=study) for pair in PAIRS}
    pages = ResultsFile(docs)
    sampled = study_samplers(PAIRS[0], data, out, run=not report_only and (only is None or SAMPLERS in only))
    write_page(samplers_page(sampled, label=PAIRS[0].label), "samplers.md", pages)
    write_page(robust_page(list(results_of("robust", out))), "robust.md", pages)
    write_page(ranking_page(list(results_of("ranking", out)), diverse), "ranking.md", pages)
    links = [*publish_reports(out, docs), "- [robust](robust.md), [ranking](ranking.md): the presets meant for use"]
    links.append("- [Samplers](samplers.md): steps against quality")
    if (docs / READING).is_file():
        links.insert(0, f"- [What to make of it]({READING})")
    presets = {preset: list(results_of(preset, out)) for preset in PUBLISHED}
    write_page(overview_page(presets, links=links), "README.md", pages)


def chosen(only: Sequence[str] | None) -> list[Comparison]:
    """The comparisons named, all without names. Raises InputError where there is no such comparison."""
    names = [*(comparison.name for comparison in COMPARISONS), DIVERSE, SAMPLERS]
    for name in only or ():
        if name not in names:
            raise InputError(f"there is no comparison {name!r}; there are: {', '.join(names)}")
    return [comparison for comparison in COMPARISONS if only is None or comparison.name in only]


def rating_files(pair: Pair, data: Path) -> tuple[Path, Path]:
    """Both files of ``pair``. Raises InputError where one is not there."""
    source, target = (data / f"{name}.parquet" for name in (pair.source, pair.target))
    for path in (source, target):
        if not path.is_file():
            raise InputError(f"there is no {path}; name the directory of the rating files with --data or DIFFCDR_DATA")
    return source, target


def results_of(preset: str, out: Path) -> Iterator[PairResults]:
    """What has been computed with ``preset``, pair by pair."""
    for comparison in COMPARISONS:
        if comparison.preset == preset and (out / comparison.name / RESULTS).is_file():
            results = ResultsFile(out / comparison.name).read()
            yield PairResults(comparison.pair.name, comparison.pair.label, results)


def publish_reports(out: Path, docs: Path) -> Iterator[str]:
    """Put each report on the paper's systems, and its figures, into ``docs``; yields links to them."""
    for comparison in COMPARISONS:
        report = out / comparison.name / MARKDOWN
        if comparison.preset in PUBLISHED and report.is_file():
            pages = ResultsFile(docs / comparison.name)
            text = report.read_text(encoding="utf-8")
            pages.write_text(MARKDOWN, text)
            for figure in re.findall(r"\]\(([\w-]+\.svg)\)", text):
                pages.write_text(figure, report.with_name(figure).read_text(encoding="utf-8"))
            yield f"- [{comparison.pair.label}, {comparison.preset}]({comparison.name}/{MARKDOWN})"


def study_diversity(pair: Pair, data: Path, out: Path, *, run: bool) -> list[DiversityFigures]:
    """What diverse lists of ``pair`` cost; computed where it is not there yet and ``run`` says so."""
    path = out / f"diversity-{pair.name}.json"
    if path.is_file():
        return DIVERSITY.validate_json(path.read_bytes())
    if not run:
        return []
    settings = Run(config=load_preset("ranking", ()), seed=0, rating_range=RATING_RANGE)
    prepared = prepare(read_pair(pair, data), settings)
    found = diversity_study(fit_model("diffcdr", prepared, settings).model, prepared)
    ResultsFile(out).write_text(path.name, DIVERSITY.dump_json(found, indent=2).decode())
    return found


def study_samplers(pair: Pair, data: Path, out: Path, *, run: bool) -> list[SamplerFigures]:
    """Steps against quality on ``pair``; computed where it is not there yet and ``run`` says so."""
    path = out / f"{SAMPLERS}.json"
    if path.is_file():
        return SAMPLER_FIGURES.validate_json(path.read_bytes())
    if not run:
        return []
    settings = Run(config=load_preset("reference", ()), seed=0, rating_range=RATING_RANGE)
    found = list(sampler_study(read_pair(pair, data), settings, seeds=SAMPLER_SEEDS))
    ResultsFile(out).write_text(path.name, SAMPLER_FIGURES.dump_json(found, indent=2).decode())
    return found


def read_pair(pair: Pair, data: Path) -> DomainPair:
    """The files of ``pair``; what follows runs on one thread."""
    source, target = rating_files(pair, data)
    torch.set_num_threads(1)
    return load_pair(DomainFile(source), DomainFile(target), rating_range=RATING_RANGE)


def write_page(page: Report, name: str, pages: ResultsFile) -> None:
    """The page and its figures, each whole or not at all."""
    for figure in page.figures:
        pages.write_text(f"{figure.name}.svg", figure.svg)
    typer.echo(f"results: wrote {pages.write_text(name, as_markdown(page))}", err=True)


if __name__ == "__main__":
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    application.command()(main)
    try:
        application()
    except DiffCDRError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
