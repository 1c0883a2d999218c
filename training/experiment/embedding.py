"""Figure 4: a sample of transferred user vectors, stored in ``figure-4.npz`` next to the results.

As in the paper (section 4.4), a user's true target vector is that of a base model which has seen the held-out users'
ratings too, begun from the same random tables. Nothing is chosen by it, and no other figure comes from it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch

from diffcdr.arrays import Float32Array
from diffcdr.errors import DiffCDRError, InputError
from training.data.domains import DomainPair
from training.experiment.plan import Setup
from training.models.contract import TransferModel
from training.models.network.model import DiffCDR
from training.run.fit import fit_complete_target
from training.run.prepare import Prepared, prepare
from training.run.run import Run
from training.run.tuning import fit_tuned

SAMPLE = "figure-4.npz"
USERS = 200
"""Users of each part at most, unless told otherwise; the paper shows 1,000, which hide each other."""
PERPLEXITY = 30
NFE = (5, 15, 20, 30)
"""Those of the paper's legend."""
SEED = 0
DIM = "diffcdr, DIM alone"
"""DiffCDR before its alignment module, which is what the paper shows."""

COMPARABLE = ("tgt", "ridge", "emcdr", "sscdr", "lacdr", "ptupcdr", "diffcdr")
"""Models that score with the target base model's items, in most presets: the vectors of others mean something else."""

Part = Literal["train", "test"]
PARTS: tuple[Part, ...] = ("train", "test")
Kind = Literal["models", "nfe"]
PANELS: tuple[tuple[Part, Kind], ...] = (("train", "models"), ("test", "models"), ("train", "nfe"), ("test", "nfe"))
"""(a) to (d) of the figure."""


@dataclass(frozen=True)
class Cloud:
    """Vectors of one group of users, float32 [U, k], and where t-SNE puts them, float32 [U, 2]."""

    vectors: Float32Array
    places: Float32Array


@dataclass(frozen=True)
class Panel:
    """One t-SNE: ``clouds`` by name, the same users in the same order in each; ``true`` is where they belong."""

    part: Part
    kind: Kind
    clouds: Mapping[str, Cloud]


@dataclass(frozen=True)
class Sample:
    """Figure 4 as numbers. ``models``: those asked for, whether they could be shown or not; ``users``: at most so many.

    ``users`` is 0 in a file of before, whose evaluations are other ones too.
    """

    test_fraction: float
    models: tuple[str, ...]
    panels: tuple[Panel, ...]
    users: int = USERS

    def is_of(self, models: Sequence[str], test_fraction: float, *, users: int = USERS) -> bool:
        """Whether this sample fits a grid of ``models`` with the smallest test fraction ``test_fraction``."""
        return set(models) <= set(self.models) and (test_fraction, users) == (self.test_fraction, self.users)


TRUE, SOURCE = "true", "source"


def sample_vectors(
    pair: DomainPair,
    setup: Setup,
    models: Sequence[str],
    *,
    test_fraction: float,
    users: int = USERS,
    prepared: Prepared | None = None,
    fitted: Mapping[str, TransferModel] | None = None,
) -> Sample:
    """Fit ``models`` on the split of seed 0, and sample their transferred user vectors.

    ``users``: at most so many of each part.
    ``prepared``: that split with its base models, where they are there already; ``fitted``: what is fitted on it.

    Of those, :data:`COMPARABLE` are fitted, and shown where they do score with the target base model's items. One that
    cannot be trained is left out, as its cells are.

    Raises:
        InputError: the split or a base model is not possible.
    """
    run = Run(
        config=setup.config_at(test_fraction),
        seed=SEED,
        rating_range=setup.rating_range,
        source_range=setup.source_range,
    )
    prepared = prepared or prepare(pair, run)
    truth = fit_complete_target(prepared, run).user_vectors
    drawn = {part: _draw(prepared, part, users) for part in PARTS}
    clouds: dict[tuple[Part, str], dict[str, Float32Array]] = {}
    for part in PARTS:
        true = truth[torch.from_numpy(pair.overlap_target[drawn[part]])].numpy()
        source = prepared.problem.source_base.user_vectors[torch.from_numpy(pair.overlap_source[drawn[part]])].numpy()
        clouds[part, "models"] = {TRUE: true}
        clouds[part, "nfe"] = {TRUE: true} | ({SOURCE: source} if source.shape == true.shape else {})
    for name in (each for each in models if each in COMPARABLE):
        try:
            model = (fitted or {}).get(name) or fit_tuned(name, prepared, run, setup.grids).fitted.model
        except DiffCDRError:
            continue
        for part in PARTS:
            rows = torch.from_numpy(pair.overlap_source[drawn[part]])
            for kind, found in _carried(model, name, prepared, rows).items():
                clouds[part, kind] |= found
    # What is there besides the true vectors is what a panel is for.
    panels = [
        Panel(part, kind, _places(found)) for part, kind in PANELS if set(found := clouds[part, kind]) - {TRUE, SOURCE}
    ]
    return Sample(test_fraction, tuple(models), tuple(panels), users)


def _draw(prepared: Prepared, part: Part, users: int) -> npt.NDArray[np.int64]:
    """Positions of sampled users in the overlap order, ascending."""
    everyone = prepared.split.train if part == "train" else prepared.split.test
    rng = np.random.default_rng(np.random.SeedSequence(entropy=SEED, spawn_key=tuple(f"figure-4 {part}".encode())))
    return np.sort(rng.choice(everyone, size=min(users, len(everyone)), replace=False))


def _carried(
    model: TransferModel, name: str, prepared: Prepared, rows: torch.Tensor
) -> dict[str, dict[str, Float32Array]]:
    """By kind of panel and name: where ``model`` carries source users ``rows``; empty where it cannot be compared."""
    if not torch.equal(model.head().item_vectors, prepared.problem.target_base.item_vectors):
        return {}
    with torch.no_grad():
        vectors = model.source_vectors()[rows]
        found = {name: model.transfer(vectors).numpy()}
        steps = {}
        if name == DiffCDR.name and isinstance(model, DiffCDR):
            found[DIM] = model.diffuse(vectors, nfe=model.config.nfe).numpy()
            # A sampler that draws keeps noise for its own evaluations, and no more.
            most = model.config.nfe if model.draws else max(NFE)
            steps = {f"{nfe} NFE": model.diffuse(vectors, nfe=nfe).numpy() for nfe in NFE if nfe <= most}
    return {kind: _finite(clouds) for kind, clouds in (("models", found), ("nfe", steps))}


def _finite(clouds: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
    return {name: vectors for name, vectors in clouds.items() if np.isfinite(vectors).all()}


def _places(clouds: Mapping[str, Float32Array]) -> dict[str, Cloud]:
    """One t-SNE for all clouds together, so that distances between them can be seen."""
    from sklearn.manifold import TSNE  # noqa: PLC0415 - takes a second to load; most experiments do without

    everything = np.concatenate([vectors.astype(np.float64) for vectors in clouds.values()])
    perplexity = min(PERPLEXITY, (len(everything) - 1) / 3)
    tsne = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=SEED, n_jobs=1)
    places = tsne.fit_transform(everything).astype(np.float32)
    ends = np.cumsum([len(vectors) for vectors in clouds.values()])[:-1]
    return {
        name: Cloud(vectors.astype(np.float32), place)
        for (name, vectors), place in zip(clouds.items(), np.split(places, ends), strict=True)
    }


def to_bytes(sample: Sample) -> bytes:
    """As ``.npz``, arrays of numbers and text alone; the same sample gives the same bytes."""
    arrays: dict[str, Any] = {
        "test_fraction": np.float64(sample.test_fraction),
        "users": np.int64(sample.users),
        "models": np.array(sample.models, dtype=np.str_),
    }
    for number, panel in enumerate(sample.panels):
        arrays[f"{number}/about"] = np.array([panel.part, panel.kind, *panel.clouds], dtype=np.str_)
        arrays[f"{number}/vectors"] = np.stack([cloud.vectors for cloud in panel.clouds.values()])
        arrays[f"{number}/places"] = np.stack([cloud.places for cloud in panel.clouds.values()])
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def read_sample(path: Path) -> Sample | None:
    """What :func:`to_bytes` wrote to ``path``; None where there is no such file.

    Raises:
        InputError: it is something else.
    """
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            count = sum(name.endswith("/about") for name in arrays)
            return Sample(
                float(arrays["test_fraction"]),
                tuple(arrays["models"].tolist()),
                tuple(
                    _panel(*(arrays[f"{number}/{part}"] for part in ("about", "vectors", "places")))
                    for number in range(count)
                ),
                int(arrays["users"]) if "users" in arrays else 0,
            )
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise InputError(f"{path} is not a sample of vectors; delete it to have it computed again") from error


def _panel(about: npt.NDArray[np.str_], vectors: Float32Array, places: Float32Array) -> Panel:
    part, kind, *names = about.tolist()
    clouds = {name: Cloud(*both) for name, *both in zip(names, vectors, places, strict=True)}
    return Panel(part, kind, clouds)
