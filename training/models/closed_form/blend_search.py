"""The blend's settings, chosen one after the other by cross-validation over training and validation users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from diffcdr.arrays import Float32Array, Float64Array
from training.evaluation.judging import list_qualities
from training.models.closed_form.blend_config import BlendDiffCDRConfig
from training.models.closed_form.blend_folds import Fold
from training.models.closed_form.neighbour_head import NeighbourTable, RegressionTable, Table, member_weight
from training.models.closed_form.row_chain import RowChain
from training.models.closed_form.row_path import RowPath

Chains = dict[tuple[float, int], RowChain]


@dataclass(frozen=True)
class BlendChoice:
    """What was chosen.

    ``identity_prior`` None leaves the ALM out. Scores are (1 - ``popularity_share``) (transferred ones +
    ``neighbour_weight`` times the neighbour head's) + ``popularity_weight`` times the share of users with an item.
    """

    raw_share: float
    ridge_strength: float
    target_dim: int
    guidance_scale: float = 1.0
    identity_prior: float | None = None
    neighbour_table: Table | None = None
    neighbour_share: float = 0.0
    neighbour_weight: float = 0.0
    popularity_share: float = 0.0
    popularity_weight: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """The choice's judgement by cross-validation (:func:`list_qualities`), and that of what it contains.

    ``transferred``: without neighbours and popular list, ``plain``: also without guidance and ALM, ``popular``: the
    popular list; means over ``users`` judged users.
    """

    quality: float
    transferred: float
    plain: float
    popular: float
    users: int


def dense_scores(
    config: BlendDiffCDRConfig, path: RowPath, placed: Float64Array, choice: BlendChoice, chains: Chains
) -> Float32Array:
    """Transferred scores [q, m] of users with ``placed`` conditions; ``chains`` keeps what other choices can use."""
    space = path.space(choice.ridge_strength, choice.target_dim)
    key = (choice.ridge_strength, choice.target_dim)
    if key not in chains:
        chains[key] = RowChain(config, path, space, choice.ridge_strength)
    chain = chains[key]
    vectors = placed @ chain.matrix(chain.guided(choice.guidance_scale), choice.identity_prior)
    scores: Float32Array = (vectors @ space.loading.T).astype(np.float32) @ path.products
    return scores + path.mean.astype(np.float32)


class BlendSearch:
    """One search over given folds."""

    def __init__(self, config: BlendDiffCDRConfig, folds: Sequence[Fold]) -> None:
        self._config, self._folds = config, folds

    def choose(self) -> tuple[BlendChoice, Evidence]:
        """Share and strength by the ridge answers, dimensions, guidance, ALM, neighbours, and the popular list."""
        config = self._config
        paths, share, strength = self._coarse()
        chosen, plain = self._best(paths, self._beside(BlendChoice(share, strength, config.target_dims[0])))
        chosen, transferred = self._method(paths, chosen)
        chosen, beside = self._neighbours(chosen, self._dense(paths, chosen), best=float(transferred.mean()))
        if beside:
            # With neighbours in the blend, the rest has less to say of single items: it is chosen once more.
            chosen, _ = self._best(paths, self._beside(chosen), beside)
            chosen, _ = self._method(paths, chosen, beside)
        scores = self._dense(paths, chosen, beside)
        del paths
        chosen, quality, popular = self._popularity(chosen, scores)
        evidence = Evidence(quality, float(transferred.mean()), float(plain.mean()), popular, len(plain))
        return chosen, evidence

    def _method(
        self, paths: Sequence[RowPath], start: BlendChoice, beside: Sequence[Float32Array] = ()
    ) -> tuple[BlendChoice, Float64Array]:
        """Guidance, then the ALM behind the best."""
        scales = [replace(start, guidance_scale=scale, identity_prior=None) for scale in self._config.guidance_scales]
        chosen, _ = self._best(paths, scales, beside)
        aligned = [chosen, *(replace(chosen, identity_prior=prior) for prior in self._config.identity_priors)]
        return self._best(paths, aligned, beside)

    def _coarse(self) -> tuple[list[RowPath], float, float]:
        """The paths of the best share, that share, and the best strength: of equals, the strongest."""
        best: tuple[float, list[RowPath], float, float] | None = None
        for share in self._config.raw_shares:
            paths = [RowPath(fold.conditions, fold.rows.mixed(share)) for fold in self._folds]
            for strength in sorted(self._config.ridge_strengths, reverse=True):
                qualities = [
                    list_qualities(path.answers(fold.placed, strength) + path.mean.astype(np.float32), fold.relevant)
                    for path, fold in zip(paths, self._folds, strict=True)
                ]
                quality = float(np.concatenate(qualities).mean())
                if best is None or quality > best[0]:
                    best = quality, paths, share, strength
        assert best is not None
        return best[1:]

    def _beside(self, start: BlendChoice) -> list[BlendChoice]:
        """``start`` with every number of directions, at its strength and those beside it in the grid."""
        grid = sorted(self._config.ridge_strengths, reverse=True)
        place = grid.index(start.ridge_strength)
        near = [start.ridge_strength, *grid[max(place - 1, 0) : place], *grid[place + 1 : place + 2]]
        return [
            replace(start, ridge_strength=strength, target_dim=dim)
            for strength in near
            for dim in self._config.target_dims
        ]

    def _best(
        self, paths: Sequence[RowPath], candidates: Sequence[BlendChoice], beside: Sequence[Float32Array] = ()
    ) -> tuple[BlendChoice, Float64Array]:
        """The candidate with the best mean, of equals the first, and its quality for every judged user.

        ``beside``: what every candidate's scores are added to, fold by fold.
        """
        judged: list[list[Float64Array]] = [[] for _ in candidates]
        for number, (path, fold) in enumerate(zip(paths, self._folds, strict=True)):
            chains: Chains = {}
            for candidate, found in zip(candidates, judged, strict=True):
                scores = dense_scores(self._config, path, fold.placed, candidate, chains)
                found.append(list_qualities(scores + beside[number] if beside else scores, fold.relevant))
        qualities = [np.concatenate(found) for found in judged]
        best = int(np.argmax([each.mean() for each in qualities]))
        return candidates[best], qualities[best]

    def _dense(
        self, paths: Sequence[RowPath], choice: BlendChoice, beside: Sequence[Float32Array] = ()
    ) -> list[Float32Array]:
        """The scores of every fold's judged users."""
        dense = [
            dense_scores(self._config, path, fold.placed, choice, {})
            for path, fold in zip(paths, self._folds, strict=True)
        ]
        return [a + b for a, b in zip(dense, beside, strict=True)] if beside else dense

    def _neighbours(
        self, start: BlendChoice, dense: list[Float32Array], *, best: float
    ) -> tuple[BlendChoice, list[Float32Array]]:
        """The table at a middle share, then the share, and what it adds to the scores of each fold, nothing for none.

        ``best``: the quality without.
        """
        shares = sorted({share for share in self._config.neighbour_shares if share > 0.0})
        tables: list[Table] = [NeighbourTable(*each) for each in self._config.neighbour_tables]
        tables += [RegressionTable(*each) for each in self._config.regression_tables]
        if not shares or not tables:
            return start, []
        middle = shares[len(shares) // 2]
        tried: dict[tuple[Table, float], float] = {}

        def blended(table: Table, share: float) -> tuple[BlendChoice, list[Float32Array]]:
            beside = [fold.head.scores(table, fold.histories) for fold in self._folds]
            weight = member_weight(share, beside=dense, member=beside)
            added = [np.float32(weight) * each for each in beside]
            choice = replace(start, neighbour_table=table, neighbour_share=share, neighbour_weight=weight)
            tried[table, share] = float(self._judge(a + b for a, b in zip(dense, added, strict=True)).mean())
            return choice, added

        for table in tables:
            blended(table, middle)
        chosen = max(tables, key=lambda table: tried[table, middle])
        for share in shares:
            if share != middle:
                blended(chosen, share)
        share = max(shares, key=lambda share: tried[chosen, share])
        without = 0.0 in self._config.neighbour_shares and tried[chosen, share] <= best
        return (start, []) if without else blended(chosen, share)

    def _popularity(self, start: BlendChoice, scores: Sequence[Float32Array]) -> tuple[BlendChoice, float, float]:
        """The popular list's share by the lower bound of the gain over it, so that few users make it larger.

        Returns the choice, its quality, and that of the popular list.
        """
        lists = [
            np.broadcast_to(fold.popularity.astype(np.float32), each.shape)
            for fold, each in zip(self._folds, scores, strict=True)
        ]
        popular = self._judge(lists)
        best: tuple[float, BlendChoice, float] | None = None
        for share in sorted(self._config.popularity_shares, reverse=True):
            weight = member_weight(share, beside=list(scores), member=lists) if share < 1.0 else 1.0
            blended = ((1.0 - share) * a + np.float32(weight) * b for a, b in zip(scores, lists, strict=True))
            qualities = self._judge(blended)
            gain = qualities - popular
            error = float(gain.std(ddof=1)) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
            bound = float(gain.mean()) - self._config.caution * error
            if best is None or bound > best[0]:
                choice = replace(start, popularity_share=share, popularity_weight=weight)
                best = bound, choice, float(qualities.mean())
        assert best is not None
        return best[1], best[2], float(popular.mean())

    def _judge(self, scores: Iterable[Float32Array]) -> Float64Array:
        qualities = [list_qualities(each, fold.relevant) for each, fold in zip(scores, self._folds, strict=True)]
        return np.concatenate(qualities)
