from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from diffcdr.errors import InputError
from tests.unit.training.tiny import quick_config
from training.data.domains import DomainPair
from training.experiment import embedding
from training.experiment.embedding import DIM, NFE, SOURCE, TRUE, Sample, read_sample, sample_vectors, to_bytes
from training.experiment.plan import Block, Setup
from training.experiment.report.embedding_figure import distance, embedding_figure, embedding_table, frechet, mixing
from training.experiment.runner import run_blocks
from training.models.contract import TransferModel
from training.run.fit import fit_complete_target
from training.run.prepare import Prepared, prepare
from training.run.run import Run

MODELS = ("bias", "emcdr", "diffcdr")


@pytest.fixture(scope="module")
def sample(pair: DomainPair, setup: Setup) -> Sample:
    return sample_vectors(pair, setup, MODELS, test_fraction=0.2)


def test_panels_are_those_of_the_paper(sample: Sample) -> None:
    assert [(panel.kind, panel.part) for panel in sample.panels] == [
        (kind, part) for kind in ("models", "nfe") for part in ("train", "test")
    ]
    for panel in sample.panels[:2]:
        assert set(panel.clouds) == {TRUE, "emcdr", "diffcdr", DIM}
    for panel in sample.panels[2:]:
        assert set(panel.clouds) == {TRUE, SOURCE, *(f"{nfe} NFE" for nfe in NFE)}
    for panel in sample.panels:
        sizes = {cloud.vectors.shape for cloud in panel.clouds.values()}
        assert sizes == {(12, 4)} if panel.part == "test" else len(sizes) == 1
        assert all(cloud.places.shape == (len(cloud.vectors), 2) for cloud in panel.clouds.values())


def test_true_vectors_have_seen_the_test_users_ratings_and_transferred_ones_have_not(
    pair: DomainPair, setup: Setup, sample: Sample
) -> None:
    run = Run(config=setup.config_at(0.2), seed=0, rating_range=setup.rating_range)
    prepared = prepare(pair, run)
    rows = pair.overlap_target[prepared.split.test]
    true = sample.panels[1].clouds[TRUE].vectors
    np.testing.assert_array_equal(true, fit_complete_target(prepared, run).user_vectors[rows].numpy())
    assert not np.allclose(true, prepared.problem.target_base.user_vectors[rows].numpy())
    # Other ratings of test users change where they belong, and not where they are carried to.
    mine = np.isin(pair.target.user_rows, rows)
    target = replace(pair.target, ratings=np.where(mine, 6.0 - pair.target.ratings, pair.target.ratings))
    other = sample_vectors(replace(pair, target=target), setup, ["emcdr"], test_fraction=0.2)
    assert not np.allclose(other.panels[1].clouds[TRUE].vectors, true)
    np.testing.assert_array_equal(other.panels[1].clouds["emcdr"].vectors, sample.panels[1].clouds["emcdr"].vectors)


def test_a_sample_is_kept_and_the_same_every_time(
    tmp_path: Path, pair: DomainPair, setup: Setup, sample: Sample
) -> None:
    path = tmp_path / "figure-4.npz"
    assert read_sample(path) is None
    path.write_bytes(to_bytes(sample))
    back = read_sample(path)
    assert back is not None and to_bytes(back) == to_bytes(sample)
    assert back.is_of(["diffcdr"], 0.2) and not back.is_of(["tgt"], 0.2) and not back.is_of(["diffcdr"], 0.5)
    assert not back.is_of(["diffcdr"], 0.2, users=1000)
    for content in (b"", b"PK\x03\x04", to_bytes(sample)[:-100]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="delete it to have it computed again"):
            read_sample(path)


def test_it_goes_on_from_what_a_run_of_that_split_has_made(
    pair: DomainPair, setup: Setup, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Prepared] = []
    fitted: dict[str, TransferModel] = {}

    def keep(_: Block, prepared: Prepared) -> dict[str, TransferModel]:
        made.append(prepared)
        return fitted

    block = Block(0.2, 0, tuple((model, ("cold",)) for model in MODELS))
    list(run_blocks(pair, setup, [block], jobs=1, keep=keep))
    monkeypatch.setattr(embedding, "fit_tuned", None)  # nothing is fitted again
    again = sample_vectors(pair, setup, MODELS, test_fraction=0.2, prepared=made[0], fitted=fitted)
    assert to_bytes(again) == to_bytes(sample)


def test_the_figure_and_its_numbers(sample: Sample) -> None:
    figure, table = embedding_figure(sample), embedding_table(sample)
    assert figure is not None and table is not None
    assert ElementTree.fromstring(figure.svg).tag.endswith("svg")
    assert all(f"({letter})" in figure.svg for letter in "abcd")
    assert embedding_figure(sample) == figure
    assert len(table.rows) == 2 * (3 + 1 + len(NFE))
    assert embedding_figure(Sample(0.2, (), ())) is None and embedding_table(Sample(0.2, (), ())) is None


def test_a_model_that_diverges_is_left_out(pair: DomainPair, setup: Setup) -> None:
    broken = replace(setup, config=quick_config("emcdr.lr=1e30"))
    assert sample_vectors(pair, broken, ["emcdr"], test_fraction=0.2).panels == ()


def test_numbers_against_hand_worked_values() -> None:
    true = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])  # spread: sqrt(2)
    moved = true + [3.0, 4.0]
    assert distance(moved, true) == pytest.approx(5 / np.sqrt(2))
    assert frechet(moved, true) == pytest.approx(25 / 2)
    # Twice as wide around the mean: sigma 2s against s in each of two dimensions, s^2 = 4/3.
    assert frechet(1 + 2 * (true - 1), true) == pytest.approx(2 * (4 / 3) / 2)
    assert distance(true, true) == 0.0
    assert frechet(true, true) == pytest.approx(0.0, abs=1e-6)


def test_mixing_is_nothing_for_clouds_apart_and_half_for_the_same_distribution() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(300, 5)), rng.normal(size=(300, 5))
    assert mixing(first + 100, second) == 0.0
    assert mixing(first, second) == pytest.approx(0.5, abs=0.03)
