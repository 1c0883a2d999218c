"""Fits the robust form, and chooses its settings on the validation users."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse

from diffcdr.arrays import Float64Array
from diffcdr.bundle.manifest import HistorySpec
from training.base_models.als import draw_seed, interactions
from training.models.baselines.bias import Bias, BiasConfig
from training.models.closed_form.dim import GaussianDIM, Spread
from training.models.contract import SourceFold
from training.models.diffusion.schedule import make_schedule
from training.models.diffusion.solver import fast_plan
from training.models.history import HistoryMap
from training.models.robust.condition import SHAPE_DIM, RatingShapes
from training.models.robust.config import RobustDiffCDRConfig
from training.models.robust.maps import LevelMap, Standardised, fit_levels, own_tastes, taste_maps
from training.models.robust.target import JointBiases, taste_items
from training.models.table_model import Tables
from training.problem import HeldOut, ScoringHead, TransferProblem

TASTE_PENALTY = 20.0
"""Of a training user's own residual taste, in squared rating points."""


@dataclass(frozen=True)
class Choice:
    """What was chosen. ``gate`` 0 is the ``bias`` model; ``taste_penalty`` None leaves the residual taste out."""

    item_shrinkage: float
    slope_penalty: float
    effect_ratio: float
    shape_penalty: float
    history_penalty: float
    taste_penalty: float | None
    guidance_scale: float
    gate: float


@dataclass(frozen=True)
class _ValidationErrors:
    """Clipped RMSE on the validation users; without their ratings, all is judged equal."""

    held_out: HeldOut
    rating_range: tuple[float, float]

    def error(self, predictions: Float64Array) -> float:
        ratings = self.held_out.ratings.values
        if not len(ratings):
            return 0.0
        return float(np.sqrt(np.mean((np.clip(predictions, *self.rating_range) - ratings) ** 2)))

    def predict(self, vectors: Float64Array, items: Float64Array, biases: Float64Array) -> Float64Array:
        """Of each validation rating, from the users' ``vectors`` [U, k] and tables of all items; [R]."""
        users, rated = self.held_out.ratings.users, self.held_out.ratings.items
        predictions: Float64Array = biases[rated] + np.einsum("rk,rk->r", vectors[users], items[rated])
        return predictions


@dataclass(frozen=True)
class _Scorer:
    """vector = x @ ``matrix`` + ``offset``; score = ``biases``[j] + ``items``[j] . vector. x: raw features.

    ``targets`` [n, k]: the training overlap users' own vectors. ``left_out`` [n, k]: predicted without each.
    """

    matrix: Float64Array
    offset: Float64Array
    items: Float64Array
    biases: Float64Array
    targets: Float64Array
    left_out: Float64Array


class RobustSearch:
    """The choices, one after the other, each the best on the validation users; of equals, the first of its grid."""

    def __init__(self, config: RobustDiffCDRConfig, problem: TransferProblem, generator: torch.Generator) -> None:
        self._config, self._problem, self._bias = config, problem, Bias(BiasConfig())
        self._target = problem.target
        self._validation = _ValidationErrors(problem.validation, problem.rating_range)
        self._training = problem.overlap_source.numpy()
        self._overlap = problem.overlap_target.numpy()
        self._numbers = self._target.user_sums()[self._overlap]
        history_seed, self._taste_seed = draw_seed(generator), draw_seed(generator)
        self._shapes = RatingShapes.fit(problem.source, rating_range=problem.source_range or problem.rating_range)
        items = interactions(problem.source)
        self.history = HistoryMap.fit(items, dim=config.history_dim, vector_weight=0.0, seed=history_seed)
        features = self.history.conditions(items, np.zeros((items.shape[0], 0)))
        # As float32, the precision they are served with.
        self._features = np.hstack([self._shapes.users, features]).astype(np.float32).astype(np.float64)
        self._scaling = Standardised.of(self._features[self._training], first=SHAPE_DIM)
        self._inputs = self._scaling.apply(self._features[self._training])

    def solve(self) -> tuple[Tables, Choice]:
        """Target base and level, taste, guidance, gate."""
        level, biases, slope_penalty, item_shrinkage = self._choose_level()
        slopes = biases.slopes(self._target, penalty=slope_penalty)
        taste_penalty, scorer = self._choose_taste(self._level_scorer(level, biases, slopes), biases, slopes)
        plain = self._bias.solve(self._problem, generator=torch.Generator())
        guidance_scale, gate, scorer = self._choose_gate(scorer, self._predict_plain(plain))
        choice = Choice(
            item_shrinkage=item_shrinkage,
            slope_penalty=slope_penalty,
            effect_ratio=level.ratio,
            shape_penalty=level.shape_penalty,
            history_penalty=level.history_penalty,
            taste_penalty=taste_penalty,
            guidance_scale=guidance_scale,
            gate=gate,
        )
        return self._mixed(plain, scorer, mean=biases.mean, gate=gate), choice

    def source_fold(self) -> SourceFold:
        """The bias, rating shape and history of anyone's source ratings, as of the users of training."""
        plain = self._bias.source_fold()
        history = HistorySpec(dim=self.history.dim, vector_weight=0.0)
        return SourceFold(
            plain.spec.model_copy(update={"history": history, "shape": self._shapes.spec}),
            item_vectors=plain.item_vectors,
            item_biases=plain.item_biases,
            level_biases=torch.from_numpy(self._shapes.level_biases),
        )

    def _mixed(self, plain: Tables, scorer: _Scorer, *, mean: float, gate: float) -> Tables:
        """Both models side by side: vectors and item biases weighted by the gate, item vectors one after the other."""
        features = torch.from_numpy(self._features).float()
        matrix = np.zeros((1 + scorer.matrix.shape[0], 1 + scorer.matrix.shape[1]))
        matrix[:1, :1] = (1.0 - gate) * plain.matrix.double().numpy()
        matrix[1:, 1:] = gate * scorer.matrix
        offset = np.concatenate([[0.0], gate * scorer.offset])
        biases = (1.0 - gate) * plain.head.item_biases.double().numpy() + gate * (scorer.biases - mean)
        return Tables(
            source_vectors=torch.cat([plain.source_vectors, features], dim=1),
            matrix=torch.from_numpy(matrix),
            offset=torch.from_numpy(offset),
            head=ScoringHead(
                item_vectors=torch.cat([plain.head.item_vectors, torch.from_numpy(scorer.items).float()], dim=1),
                item_biases=torch.from_numpy(biases).float(),
                offset=(1.0 - gate) * plain.head.offset + gate * mean,
            ),
        )

    def _predict_plain(self, plain: Tables) -> Float64Array:
        rows = self._problem.validation.source_rows
        return self._validation.predict(
            (plain.source_vectors[rows] @ plain.matrix).double().numpy(),
            plain.head.item_vectors.double().numpy(),
            plain.head.item_biases.double().numpy() + plain.head.offset,
        )

    def _choose_level(self) -> tuple[LevelMap, JointBiases, float, float]:
        """(level map, biases, slope penalty, item shrinkage), penalties of the map by leave-one-out."""
        config, target = self._config, self._target
        bases = [
            JointBiases.fit(target, item_shrinkage=shrinkage, user_shrinkage=config.user_shrinkage)
            for shrinkage in config.item_shrinkages
        ]
        levels = [target.user_sums(base.item_residuals(target))[self._overlap] for base in bases]
        maps = fit_levels(
            self._inputs,
            np.stack(levels, axis=1) / np.maximum(self._numbers, 1.0)[:, None],
            self._numbers,
            shapes=SHAPE_DIM,
            ratios=config.effect_ratios,
            shape_penalties=config.shape_penalties,
            history_penalties=config.history_penalties,
        )
        candidates = [
            (level, base, penalty, shrinkage)
            for level, base, shrinkage in zip(maps, bases, config.item_shrinkages, strict=True)
            for penalty in config.slope_penalties
        ]

        def error(candidate: tuple[LevelMap, JointBiases, float, float]) -> float:
            level, base, penalty, _ = candidate
            return self._error(self._level_scorer(level, base, base.slopes(target, penalty=penalty)))

        return min(candidates, key=error)

    def _level_scorer(self, level: LevelMap, biases: JointBiases, slopes: Float64Array) -> _Scorer:
        matrix, offset = self._scaling.unfold(level.weights[:, None], np.array([level.offset]))
        residuals = self._target.user_sums(biases.item_residuals(self._target))[self._overlap]
        return _Scorer(
            matrix=matrix,
            offset=offset,
            items=1.0 + slopes[:, None],
            biases=biases.mean + biases.items,
            targets=(residuals / (self._numbers + self._config.user_shrinkage))[:, None],
            left_out=level.left_out[:, None],
        )

    def _choose_taste(self, scorer: _Scorer, biases: JointBiases, slopes: Float64Array) -> tuple[float | None, _Scorer]:
        """The scorer with the taste appended, and its penalty; as it was, and None, where the taste does not help."""
        target, config = self._target, self._config
        left = biases.item_residuals(target) - (1.0 + slopes[target.items]) * biases.users[target.users]
        items = taste_items(target, left, dim=config.taste_dim, seed=self._taste_seed)
        own = sparse.csr_array(target.matrix(left)[self._overlap])
        history = self._inputs[:, SHAPE_DIM:]
        targets = np.hstack([scorer.targets, own_tastes(own, items, penalty=TASTE_PENALTY)])
        best = self._error(scorer)
        found: tuple[float | None, _Scorer] = (None, scorer)
        for penalty, taste in taste_maps(history, own, items, penalties=config.taste_penalties):
            padded = np.vstack([np.zeros((SHAPE_DIM, taste.shape[1])), taste])
            matrix, offset = self._scaling.unfold(padded, np.zeros(taste.shape[1]))
            candidate = _Scorer(
                matrix=np.hstack([scorer.matrix, matrix]),
                offset=np.concatenate([scorer.offset, offset]),
                items=np.hstack([scorer.items, items]),
                biases=scorer.biases,
                targets=targets,
                left_out=np.hstack([scorer.left_out, history @ taste]),
            )
            error = self._error(candidate)
            if error < best:
                best, found = error, (penalty, candidate)
        return found

    def _choose_gate(self, scorer: _Scorer, by_plain: Float64Array) -> tuple[float, float, _Scorer]:
        """(guidance scale, gate, guided scorer); the gate stays at 0 unless there is a gain to speak of."""
        config = self._config
        best, found = self._validation.error(by_plain) * (1.0 - config.smallest_gain), (1.0, 0.0, scorer)
        for scale in config.guidance_scales:
            guided = self._guided(scorer, scale)
            predictions = self._predict(guided)
            for gate in config.gates:
                error = self._validation.error((1.0 - gate) * by_plain + gate * predictions)
                if error < best:
                    best, found = error, (scale, gate, guided)
        return found

    def _guided(self, scorer: _Scorer, scale: float) -> _Scorer:
        """Behind the diffusion: deviations from the average user times F."""
        config = self._config
        schedule = make_schedule(config.schedule)
        dim = GaussianDIM(
            mean=scorer.targets.mean(axis=0),
            targets=Spread.of(scorer.targets),
            residuals=Spread.of(scorer.targets - scorer.left_out),
            schedule=schedule,
            plan=fast_plan(
                schedule, nfe=config.nfe, order=config.solver_order, skip=config.skip, end_time=config.end_time
            ),
        )
        factor = dim.fold(guidance_scale=scale)
        offset = (scorer.offset - dim.mean) @ factor + dim.mean
        return replace(scorer, matrix=scorer.matrix @ factor, offset=offset)

    def _predict(self, scorer: _Scorer) -> Float64Array:
        rows = self._problem.validation.source_rows.numpy()
        return self._validation.predict(
            self._features[rows] @ scorer.matrix + scorer.offset, scorer.items, scorer.biases
        )

    def _error(self, scorer: _Scorer) -> float:
        return self._validation.error(self._predict(scorer))
